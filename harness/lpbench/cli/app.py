"""The entry point: the commands, and the one place where an error becomes a line and a code.

Owns: the Typer application and the exit codes.
Must not know: what a command does.
"""

import os
import sys
from typing import Annotated, cast

import typer

from lpbench import __version__
from lpbench.cli import catalogue, check, plan, traffic
from lpbench.errors import InputError, LpbenchError

INTERRUPTED = 130
_USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What Typer raises for a wrong option or argument: the base of its errors, which it keeps to
itself."""

app = typer.Typer(
    name="lpbench",
    help="The referee for prefill schedules of Mixture-of-Experts language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="traffic")(traffic.traffic)
app.command(name="plan")(plan.plan)
app.command(name="check")(check.check)
app.command(name="list")(catalogue.list_)


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line and exit: results on stdout, one line on stderr for an error."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except LpbenchError as error:
        code = _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        code = _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except _USAGE_ERROR as error:
        code = _say(cast("typer.BadParameter", error).format_message(), InputError.exit_code)
    sys.exit(code)


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"lpbench: {' '.join(message.split())}\n")
    return code
