"""Many runs side by side: one table, TTFT against TBT, SLO attainment against rate.

Owns: which runs may stand in one chart, what the table is cut to.
Must not know: what a run says for itself.
"""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import fmean

from lpbench.analysis.comparable import differing_conditions, is_modelled
from lpbench.record.schema import Arm, Reading
from lpbench.report.page import charts, told
from lpbench.report.page.charts import Point
from lpbench.report.page.charts.arms import valid
from lpbench.report.page.number import number
from lpbench.report.page.picture import drawable
from lpbench.report.page.run import Run
from lpbench.report.page.section import Block, Section
from lpbench.report.table import Table

MOST_LINES = 400
"""Lines of the table."""

COLUMNS = {
    "expert GB": ("expert_bytes", 1e-9),
    "TTFT mean, ms": ("ttft_ms_mean", 1.0),
    "TBT mean, ms": ("tbt_ms_mean", 1.0),
    "SLO, %": ("slo_attainment", 100.0),
    "J per token": ("joules_per_total_token", 1.0),
}
"""Metrics of the table, by heading, with the factor to the unit there."""


def experiment(run: Run) -> tuple[str, str, str]:
    """Return what runs of one experiment have in common."""
    return run.record.spec_hash, run.record.command, run.record.status


def overview(runs: Sequence[Run], *, most_detailed: int) -> Section:
    """Put all runs in one table, and those that compare in charts.

    Args:
        runs: two at least.
        most_detailed: experiments that have a section of their own.
    """
    compared = [run for run in runs if not told.why_not_comparable(run.record)]
    is_one = _are_of_one_machine(compared)
    drawn = compared if is_one else [run for run in compared if is_modelled(run.record)]
    pareto = charts.pareto(
        _points(drawn),
        name="pareto",
        caption=f"A point is a schedule of a run ({len(drawn)} runs; "
        f"{' and '.join(_methods(drawn))}).",
    )
    slo = charts.attainment(list(_attained(drawn)), name="attainment")
    pictures = tuple(one for one in (pareto, slo) if one is not None)
    rows = [_row(run, arm) for run in runs for arm in run.record.own_arms]
    said = []
    if len(rows) > MOST_LINES:
        said.append(f"{len(rows) - MOST_LINES} more lines are left out.")
    if len({experiment(run) for run in runs}) > most_detailed:
        said.append(f"The first {most_detailed} experiments are shown in full below.")
    if not is_one:
        said.append(
            "The runs are of several machines or of unknown ones, or modelled and measured: their "
            "times and joules do not compare; charts have the modelled ones, if any."
        )
    columns, shown = ("run", "command", "how", "schedule", *COLUMNS), tuple(rows[:MOST_LINES])
    return Section(
        id="overview",
        title=f"{len(runs)} runs side by side",
        blocks=(
            Block(warnings=tuple(said)),
            Block(pictures=pictures),
            Block(tables=(Table(columns=columns, rows=shown, left=(0, 1, 2, 3)),)),
        ),
    )


def _are_of_one_machine(runs: Sequence[Run]) -> bool:
    """Return whether times and joules compare: all modelled, or all measured in one place."""
    kinds = {is_modelled(run.record) for run in runs}
    if len(kinds) > 1:
        return False
    seen = {json.dumps(_machine(run), sort_keys=True): run for run in runs}
    return not any(
        set(differing_conditions(one.record, other.record)) - {"schedules"}
        for one, other in combinations(seen.values(), 2)
    )


def _machine(run: Run) -> list[object]:
    found = run.record.environment
    return [found.get(key) for key in ("cpu", "device", "device_name", "driver")]


def _row(run: Run, arm: Arm) -> tuple[str, ...]:
    record = run.record
    mark = " FAILED" if record.status != "complete" else ""
    if not mark and record.audit is not None and not record.audit.is_sound:
        mark = " NOT THE SAME"
    return (
        run.name,
        record.command + mark,
        ", ".join(_methods_of(arm)),
        arm.label,
        *(short(arm.metrics.get(metric), scale) for metric, scale in COLUMNS.values()),
    )


def _methods_of(arm: Arm) -> tuple[str, ...]:
    names = (metric for metric, _ in COLUMNS.values() if metric in arm.metrics)
    return tuple(dict.fromkeys(arm.metrics[name].method for name in names))


def _methods(runs: Sequence[Run]) -> tuple[str, ...]:
    times = (
        arm.metrics["ttft_ms_mean"].method
        for run in runs
        for arm in run.record.own_arms
        if "ttft_ms_mean" in arm.metrics
    )
    return tuple(dict.fromkeys(times))


def short(reading: Reading | None, scale: float) -> str:
    """Return a figure for a table, marked where it is not valid."""
    if reading is None or reading.value is None:
        return told.NOTHING
    return number(reading.value * scale) + ("" if reading.validity == "valid" else " (invalid)")


def _points(runs: Sequence[Run]) -> list[Point]:
    return [
        Point(label=drawable(arm.label), group=drawable(arm.schedule.name), x=tbt, y=ttft)
        for run in runs
        for arm in run.record.own_arms
        if (tbt := valid(arm, "tbt_ms_mean")) is not None
        and (ttft := valid(arm, "ttft_ms_mean")) is not None
    ]


def _attained(runs: Sequence[Run]) -> Iterator[Point]:
    """Yield a point for every rate of a schedule; experiments but for the rate have own curves."""
    found: dict[tuple[str, str, float], list[float]] = {}
    names: dict[str, str] = {}
    for run in runs:
        spec = {key: value for key, value in run.record.spec.items() if key not in _BY_RATE}
        kind, rate = json.dumps(spec, sort_keys=True), _rate(run)
        names.setdefault(kind, f"{spec.get('model')} {spec.get('workload')}")
        for arm in run.record.own_arms:
            share = valid(arm, "slo_attainment")
            if rate is not None and share is not None:
                found.setdefault((kind, arm.label, rate), []).append(share)
    is_one = len({kind for kind, _, _ in found}) == 1
    for (kind, label, rate), shares in found.items():
        name = drawable(label if is_one else f"{label}, {names[kind]}")
        yield Point(label=name, group=name, x=rate, y=fmean(shares))


_BY_RATE = ("request_rate", "workload_hash")
"""What of a spec differs where only the rate does."""


def _rate(run: Run) -> float | None:
    """Return the requests per second that arrive; a record holds them as text, or none."""
    try:
        rate = float(str(run.record.spec.get("request_rate")))
    except ValueError:
        return None
    return rate if math.isfinite(rate) else None
