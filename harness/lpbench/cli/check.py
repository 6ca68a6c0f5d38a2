"""`lpbench check`: the regression gate."""

from pathlib import Path
from typing import Annotated

import typer

REGRESSION = 3


def check(
    record: Annotated[
        Path | None,
        typer.Argument(
            help="Record to check; absent: run what the baseline ran.", show_default=False
        ),
    ] = None,
    *,
    baseline: Annotated[
        Path, typer.Option(help="The record to compare with, such as results/baselines/*.json.")
    ],
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
) -> None:
    """Compare the deterministic figures with a baseline, exactly.

    Exit codes: 0 equal, 2 not comparable, 3 a figure differs.
    """
    from lpbench.analysis.gate import check_exact, gate
    from lpbench.cli.render import console, progress_bar
    from lpbench.record.store import read_record
    from lpbench.report.gate import gate_lines

    before = read_record(baseline)
    if record is not None:
        after = read_record(record)
    else:
        from lpbench.bench.rerun import rerun

        check_exact(before, name="baseline")
        with progress_bar(shown=not no_progress) as progress:
            after = rerun(before, progress)
    verdict = gate(before, after)
    for line in gate_lines(verdict, baseline=baseline.name):
        console().print(line)
    if verdict.differences:
        raise typer.Exit(REGRESSION)
