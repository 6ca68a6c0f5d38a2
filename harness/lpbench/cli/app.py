"""The entry point: the commands, and the one place where an error becomes a line and a code.

Owns: the Typer application and the exit codes.
Must not know: what a command does.
"""

import os
import signal
import sys
from typing import Annotated, cast

import typer

from lpbench import __version__
from lpbench.cli import (
    bench_engine,
    calibrate,
    catalogue,
    check,
    compare,
    doctor,
    energy,
    latency,
    plan,
    report,
    reproduce,
    sweep,
    trace,
    traffic,
    tune,
)
from lpbench.errors import INTERRUPTED, InputError, LpbenchError, RunError, UnavailableError

_USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What Typer raises for a wrong option or argument: the base of its errors, which it keeps to
itself."""

app = typer.Typer(
    name="lpbench",
    help="The referee for prefill schedules of Mixture-of-Experts language models.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="traffic")(traffic.traffic)
app.command(name="energy")(energy.energy)
app.command(name="latency")(latency.latency)
app.command(name="sweep")(sweep.sweep)
app.command(name="reproduce")(reproduce.reproduce)
app.command(name="bench-engine")(bench_engine.bench_engine)
app.command(name="tune")(tune.tune)
app.command(name="calibrate")(calibrate.calibrate)
app.command(name="trace")(trace.trace)
app.command(name="plan")(plan.plan)
app.command(name="compare")(compare.compare)
app.command(name="check")(check.check)
app.command(name="report")(report.report)
app.command(name="doctor")(doctor.doctor)
app.command(name="list")(catalogue.list_)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(InputError.exit_code)


def main() -> None:
    """Run the command line and exit: results on stdout, one line on stderr for an error."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a CI that cancels is no worse
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except LpbenchError as error:
        code = _say(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "lpbench"}:
            raise
        missing = f"package {package!r} is not installed; lpbench doctor says what to do about it"
        code = _say(missing, UnavailableError.exit_code)
    except BrokenPipeError:
        code = _nowhere_to_write()
    except OSError as error:
        code = _say(f"{error.strerror}: {error.filename or 'output'}", RunError.exit_code)
        _nowhere_to_write()
    except _USAGE_ERROR as error:
        code = _say(cast("typer.BadParameter", error).format_message(), InputError.exit_code)
    if code == INTERRUPTED:  # Typer turns Ctrl-C into this code
        _say("interrupted", INTERRUPTED)
    sys.exit(code)


def _nowhere_to_write() -> int:
    """Keep Python from complaining, on its way out, about what stdout did not take."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return RunError.exit_code


def _say(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"lpbench: {line}\n".encode(errors="backslashreplace").decode())
    return code
