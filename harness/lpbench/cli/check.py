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
    record are folders of 6 runs or more, times, rates and joules are gated too:
    red is what is worse by more than 1 % for sure, and in the runs of --confirm
    again. Where nothing ran (--executor roofline) every figure is deterministic.

    Exit codes: 0 as good, 2 not comparable, 3 a figure differs or got worse, 4
    it seems worse but is not confirmed, 5 DRAM bytes, times, rates or joules that
    the baseline has are not valid here, a rate of 0 among them.
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
    written = (junit, summary, github_benchmark, vllm)
    if len(runs) > 1:
        if any(written) or update_baseline or record is None:
            msg = "a baseline of several runs takes RECORD and --confirm, folders of runs, alone"
            raise InputError(msg)
        _check_times(runs, record, confirm)
        return
    if confirm is not None:
        raise InputError("--confirm goes with a baseline of several runs, a folder of them")
    replaced = _replaceable(baseline) if update_baseline else None
    for path in filter(None, (*written, replaced)):
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
    if replaced is not None and not verdict.void:
        write_atomically(replaced, after.to_json())
        console().print(f"check: {replaced.name} is now what was checked")
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
    from lpbench.errors import InputError
    from lpbench.record.store import read_runs

    if record is not None:
        runs = read_runs(record)
        if len(runs) > 1:
            raise InputError(f"{record} holds {len(runs)} runs, the baseline one")
        return runs[0]
    from lpbench.bench.rerun import rerun
    from lpbench.cli.render import progress_bar

    check_exact(before, name="baseline")
    with progress_bar(shown=not no_progress) as progress:
        return rerun(before, progress)


def _replaceable(baseline: Path) -> Path:
    """Return the file of the baseline.

    Raises:
        InputError: it is a folder of runs.
    """
    from lpbench.errors import InputError

    if baseline.is_file():
        return baseline
    if (file := baseline / "run.json").exists():
        return file
    raise InputError(f"--update-baseline: {baseline} is no record and no run's folder")


def _check_times(baseline: "Sequence[Record]", record: Path, confirm: Path | None) -> None:
    """Gate times, rates and joules over processes.

    Raises:
        typer.Exit: something got worse, confirmed or not.
    """
    from lpbench.analysis.comparable import inexact
    from lpbench.analysis.gate import gate
    from lpbench.analysis.regression import confirmed, regressions
    from lpbench.cli.render import console
    from lpbench.errors import InputError, InvalidMeasurementError
    from lpbench.record.store import read_runs
    from lpbench.report.gate import change_lines, gate_lines

    if confirm is not None and confirm.resolve() == record.resolve():
        raise InputError("--confirm names the runs that it should confirm; give other ones")
    runs = read_runs(record)
    found = regressions(baseline, runs)
    again = () if confirm is None else regressions(baseline, read_runs(confirm)).changes
    worse = confirmed(found.changes, again)
    said = list(change_lines(found, worse))
    differ = False
    if why := inexact(baseline[0]):
        said.append(f"check: counts are not compared, {why}")
    else:
        counts = [gate(baseline[0], run) for run in runs]
        worst = max(counts, key=lambda one: len(one.differences))
        differ = bool(worst.differences)
        said += gate_lines(worst, baseline="the baseline")
    for line in said:
        console().print(line)
    if worse or differ:
        raise typer.Exit(REGRESSION)
    if found.void:
        raise InvalidMeasurementError(
            "times, rates or joules that the baseline has are not valid here"
        )
    if any(one.is_red for one in found.changes):
        raise typer.Exit(INCONCLUSIVE)
