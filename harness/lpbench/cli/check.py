"""`lpbench check`: the regression gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpbench.analysis.gate import Gate
    from lpbench.record.schema import Record

REGRESSION, INCONCLUSIVE = 3, 4


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
    confirm: Annotated[
        Path | None,
        typer.Option(
            help="A second folder of runs, which must show a regression too.", show_default=False
        ),
    ] = None,
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
    github_benchmark: Annotated[
        Path | None,
        typer.Option(help="Write the figures for github-action-benchmark.", show_default=False),
    ] = None,
    vllm: Annotated[
        Path | None,
        typer.Option(
            help="Write the latencies as vLLM's result lines, one a schedule.", show_default=False
        ),
    ] = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
) -> None:
    """Compare a run with a baseline.

    Deterministic figures must be equal; DRAM bytes, where both measured them
    on the same machine by the same instrument, within 2 %. Where baseline and
    record are folders of 6 runs or more, times and joules are gated too: red is
    what is slower by more than 1 % for sure, and in the runs of --confirm again.

    Exit codes: 0 as good, 2 not comparable, 3 a figure differs or got worse, 4
    it seems worse but is not confirmed, 5 DRAM bytes that the baseline has were
    measured without success.
    """
    from lpbench.analysis.gate import gate
    from lpbench.cli.render import console
    from lpbench.errors import InputError
    from lpbench.record.store import (
        append_text,
        check_writable,
        read_runs,
        write_atomically,
    )
    from lpbench.report import export
    from lpbench.report.gate import gate_junit, gate_lines, gate_summary

    runs = read_runs(baseline)
    if len(runs) > 1:
        if any((junit, summary, github_benchmark, vllm, update_baseline)) or record is None:
            msg = "a baseline of several runs takes RECORD and --confirm, folders of runs, alone"
            raise InputError(msg)
        _check_times(runs, record, confirm)
        return
    if confirm is not None:
        raise InputError("--confirm goes with a baseline of several runs, a folder of them")
    for path in filter(None, (junit, summary, github_benchmark, vllm)):
        check_writable(path)
    (before,) = runs
    after = _checked(before, record, no_progress=no_progress)
    verdict = gate(before, after)
    for line in gate_lines(verdict, baseline=baseline.name):
        console().print(line)
    for target, text in (
        (junit, gate_junit(verdict)),
        (github_benchmark, export.github_benchmark(after)),
        (vllm, export.vllm_results(after)),
    ):
        if target is not None:
            write_atomically(target, text)
    if summary is not None:
        append_text(summary, gate_summary(verdict, baseline=baseline.name))
    if update_baseline:
        _replace(baseline, after)
        return
    _end(verdict)


def _end(verdict: "Gate") -> None:
    """End with the code of the verdict.

    Raises:
        typer.Exit: a figure differs.
        InvalidMeasurementError: DRAM bytes were measured in vain.
    """
    from lpbench.errors import InvalidMeasurementError

    if verdict.differences:
        raise typer.Exit(REGRESSION)
    if verdict.void:
        raise InvalidMeasurementError("DRAM bytes that the baseline has are not valid here")


def _checked(before: "Record", record: Path | None, *, no_progress: bool) -> "Record":
    """Return the record to check: the one that was given, or a new run of the baseline's spec."""
    from lpbench.analysis.gate import check_exact
    from lpbench.record.store import read_record

    if record is not None:
        return read_record(record)
    from lpbench.bench.rerun import rerun
    from lpbench.cli.render import progress_bar

    check_exact(before, name="baseline")
    with progress_bar(shown=not no_progress) as progress:
        return rerun(before, progress)


def _replace(baseline: Path, after: "Record") -> None:
    """Have the baseline be what was checked."""
    from lpbench.cli.render import console
    from lpbench.record.store import write_atomically

    file = baseline / "run.json" if baseline.is_dir() else baseline
    write_atomically(file, after.to_json())
    console().print(f"check: {file.name} is now what was checked")


def _check_times(baseline: "Sequence[Record]", record: Path, confirm: Path | None) -> None:
    """Gate times and joules over processes.

    Raises:
        typer.Exit: something got worse, confirmed or not.
    """
    from lpbench.analysis.regression import confirmed, regressions
    from lpbench.cli.render import console
    from lpbench.record.store import read_runs
    from lpbench.report.gate import change_lines

    changes = regressions(baseline, read_runs(record))
    again = () if confirm is None else regressions(baseline, read_runs(confirm))
    worse = confirmed(changes, again)
    for line in change_lines(changes, worse):
        console().print(line)
    if worse:
        raise typer.Exit(REGRESSION)
    if any(one.is_red for one in changes):
        raise typer.Exit(INCONCLUSIVE)
