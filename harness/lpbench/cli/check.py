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
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Replace the baseline by what was checked.")
    ] = False,
    junit: Annotated[
        Path | None,
        typer.Option(help="Write a JUnit file, a test case a figure.", show_default=False),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Append a summary in Markdown, as to $GITHUB_STEP_SUMMARY.", show_default=False
        ),
    ] = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
) -> None:
    """Compare a run with a baseline.

    Deterministic figures must be equal; DRAM bytes, where both measured them
    on the same machine by the same instrument, within 2 %.

    Exit codes: 0 equal, 2 not comparable, 3 a figure differs, 5 DRAM bytes
    that the baseline has were measured without success.
    """
    from lpbench.analysis.gate import check_exact, gate
    from lpbench.cli.render import console, progress_bar
    from lpbench.errors import InvalidMeasurementError
    from lpbench.record.store import append_text, check_writable, read_record, write_atomically
    from lpbench.report.gate import gate_junit, gate_lines, gate_summary

    before = read_record(baseline)
    for path in (junit, summary):
        if path is not None:
            check_writable(path)
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
    if junit is not None:
        write_atomically(junit, gate_junit(verdict))
    if summary is not None:
        append_text(summary, gate_summary(verdict, baseline=baseline.name))
    if update_baseline:
        file = baseline / "run.json" if baseline.is_dir() else baseline
        write_atomically(file, after.to_json())
        console().print(f"check: {file.name} is now what was checked")
        return
    if verdict.differences:
        raise typer.Exit(REGRESSION)
    if verdict.void:
        raise InvalidMeasurementError("DRAM bytes that the baseline has are not valid here")
