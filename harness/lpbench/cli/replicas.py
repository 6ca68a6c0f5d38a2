"""`--num-runs`: the same command in several processes, one after the other.

Owns: the processes' command line and folders, what is said in between.
Must not know: what a command measures.

Blocks of one process share its luck, so what is claimed of the code is judged over processes.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lpbench.errors import INTERRUPTED, InputError

MOST = 1000
"""More processes nobody waits for."""

GRACE_S = 5.0
"""So long a process that was interrupted may take to close its record."""

OWN = ("--num-runs", "--output", "--json")
"""Options that are this file's, and no process's."""


def run_replicas(num_runs: int, *, output: Path | None, json: str | None, quiet: bool) -> None:
    """Run this command line so often, each in a folder of its own, and compare the arms.

    Raises:
        InputError: there is no folder for the runs, or it is not empty.
        SystemExit: with the code of the process that failed, which has said why.
    """
    if output is None:
        raise InputError(f"--num-runs {num_runs} needs --output DIR: a folder a run")
    if json is not None:
        raise InputError("--num-runs writes no --json: every run has a record of its own in DIR")
    from lpbench.analysis.verdict import DELTA
    from lpbench.analysis.versus import compare_arms_of
    from lpbench.cli.render import console, print_table
    from lpbench.record.store import RunStore, read_runs
    from lpbench.report.compare import verdict_notes, verdict_table

    RunStore(output=output, json=None)  # refuses a folder that is not empty
    common = without_options(sys.argv[1:], OWN)
    for at in range(1, num_runs + 1):
        folder = output / f"run-{at:0{len(str(num_runs))}}"
        sys.stderr.write(f"lpbench: run {at} of {num_runs}\n")
        command = (sys.executable, "-m", "lpbench", *common, "--output", str(folder))
        if code := _run(command):
            raise SystemExit(code if code > 0 else 1)
    runs = read_runs(output)
    if len(runs[0].own_arms) == 1:
        return  # nothing to compare
    verdicts = compare_arms_of(runs)
    print_table(verdict_table(verdicts))
    for line in () if quiet else verdict_notes(verdicts, delta=DELTA):
        console().print(line)


def _run(command: Sequence[str]) -> int:
    """Run a process to its end and return its exit code; it does not outlive this one's."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - our own
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            return process.wait()
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):  # a terminal's Ctrl-C reaches it as well
                process.wait(timeout=GRACE_S)
            process.terminate()
            if process.wait() == INTERRUPTED:
                return INTERRUPTED  # and has said so
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


def without_options(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return a command line without some options and their values, `--name value` or `--name=`."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in names:
            skip = True
        elif argument.partition("=")[0] not in names:
            kept.append(argument)
    return kept
