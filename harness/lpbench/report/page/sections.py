"""A page as sections of plain values: what it shows, in which order, and how much of it at most.

Owns: which tables, words and pictures belong to a source; what many runs are cut to.
Must not know: HTML, how a chart is drawn.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pydantic import JsonValue

from lpbench.analysis.comparable import is_modelled
from lpbench.analysis.verdict import DELTA
from lpbench.analysis.versus import compare_arms_of
from lpbench.bench.keys import MAP_KEYS
from lpbench.bench.summary import Row
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.report.compare import verdict_notes, verdict_table
from lpbench.report.page import charts, told
from lpbench.report.page.charts import Point
from lpbench.report.page.log import Log
from lpbench.report.page.number import number
from lpbench.report.page.picture import Picture, drawable, without_names
from lpbench.report.page.run import Reproduction, Run, Source, Sweep
from lpbench.report.page.told import Figures
from lpbench.report.regime import AXES, Spot, regime_notes, spots_of
from lpbench.report.table import Table
from lpbench.shape.catalogue import find_shape

MOST_DETAILED = 12
"""Experiments that are shown in full; of more, the overview has a line each."""

MOST_LINES = 400
"""Lines of the overview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a section; the page draws what there is, in this order.

    Attributes:
        words: sentences.
        warnings: sentences to know before trusting a number.
        figures: metrics by schedule.
        labels: the schedules of `figures`.
        pictures: side by side.
        svg: a picture drawn elsewhere, with its alt text.
        tables: of text.
        text: as it stands, such as a command.
        fold: what it is called where it is folded away; empty where it is open.
    """

    words: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figures, ...] = ()
    labels: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    svg: tuple[str, str] | None = None
    tables: tuple[Table, ...] = ()
    text: str = ""
    fold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    blocks: tuple[Block, ...]


def sections(
    sources: Sequence[Source],
    *,
    heatmap: Callable[[Sequence[Spot]], str],
) -> Iterator[Section]:
    """Yield the sections of a page.

    Args:
        sources: what it is made of, at least one.
        heatmap: draws a regime map as SVG.
    """
    runs = [one for one in sources if isinstance(one, Run)]
    groups = [tuple(found) for _, found in groupby(sorted(runs, key=_experiment), _experiment)]
    groups.sort(key=lambda group: runs.index(group[0]))
    if len(runs) > 1:
        yield _overview(runs)
    for at, group in enumerate(groups[:MOST_DETAILED]):
        yield _experiment_section(group, name=f"run-{at + 1}")
    for at, one in enumerate(sources):
        if isinstance(one, Sweep):
            yield _sweep(one, name=f"sweep-{at + 1}", heatmap=heatmap)
        elif isinstance(one, Reproduction):
            yield _reproduction(one, name=f"reproduction-{at + 1}")


def _experiment(run: Run) -> tuple[str, str, str]:
    return run.record.spec_hash, run.record.command, run.record.status


def _overview(runs: Sequence[Run]) -> Section:
    """Put all runs in one table and one chart."""
    rows = tuple(
        (
            run.name,
            run.record.command + (" FAILED" if run.record.status != "complete" else ""),
            arm.label,
            *(_short(arm.metrics.get(metric), scale) for metric, scale in _COLUMNS.values()),
        )
        for run in runs
        for arm in run.record.own_arms
    )
    commands = {run.record.command for run in runs}
    left = len(rows) - MOST_LINES
    cut = [f"{left} more lines are left out."] if left > 0 else []
    if len({_experiment(run) for run in runs}) > MOST_DETAILED:
        cut.append(f"The first {MOST_DETAILED} experiments are shown in full below.")
    machines = {str(run.record.environment.get("cpu")) for run in runs} | {
        str(run.record.environment.get("device_name")) for run in runs
    }
    if len(machines) > 2:  # noqa: PLR2004 - one CPU and one GPU, or none
        cut.append("The runs are of several machines: their times and joules do not compare.")
    complete = [run for run in runs if run.record.status == "complete"]
    found = charts.pareto(
        _points(complete),
        name="pareto",
        caption=f"A point is a schedule of a run ({len(complete)} runs).",
    )
    slo = (
        charts.attainment(_attained(complete), name="attainment") if "latency" in commands else None
    )
    return Section(
        id="overview",
        title=f"{len(runs)} runs side by side",
        blocks=(
            Block(warnings=tuple(cut)),
            Block(pictures=tuple(one for one in (found, slo) if one is not None)),
            Block(tables=(Table(columns=tuple(_HEAD), rows=rows[:MOST_LINES], left=(0, 1, 2)),)),
        ),
    )


_COLUMNS = {
    "expert GB": ("expert_bytes", 1e-9),
    "TTFT mean, ms": ("ttft_ms_mean", 1.0),
    "TBT mean, ms": ("tbt_ms_mean", 1.0),
    "SLO, %": ("slo_attainment", 100.0),
    "J per token": ("joules_per_total_token", 1.0),
}
_HEAD = ("run", "command", "schedule", *_COLUMNS)


def _short(reading: object, scale: float) -> str:
    value = getattr(reading, "value", None)
    if value is None:
        return told.NOTHING
    mark = "" if getattr(reading, "validity", "") == "valid" else " (invalid)"
    return number(value * scale) + mark


def _points(runs: Sequence[Run]) -> list[Point]:
    return [
        Point(label=drawable(arm.label), group=drawable(arm.schedule.name), x=tbt, y=ttft)
        for run in runs
        for arm in run.record.own_arms
        if (tbt := _value(run.record, arm.label, "tbt_ms_mean")) is not None
        and (ttft := _value(run.record, arm.label, "ttft_ms_mean")) is not None
    ]


def _attained(runs: Sequence[Run]) -> list[Point]:
    found = []
    for run in runs:
        rate = _rate(run.record)
        for arm in run.record.own_arms:
            share = _value(run.record, arm.label, "slo_attainment")
            if rate is not None and share is not None:
                label = drawable(arm.label)
                found.append(Point(label=label, group=label, x=rate, y=share))
    return found


def _rate(record: Record) -> float | None:
    """Return the requests per second that arrive; a record holds them as text, or none."""
    try:
        rate = float(str(record.spec.get("request_rate")))
    except ValueError:
        return None
    return rate if math.isfinite(rate) else None


def _value(record: Record, label: str, metric: str) -> float | None:
    arm = record.arm(label)
    reading = arm.metrics.get(metric) if arm else None
    return reading.value if reading is not None and reading.validity == "valid" else None


def _experiment_section(group: Sequence[Run], *, name: str) -> Section:
    """Show one experiment: its first run in full, and how sure all of its runs are together."""
    run, record = group[0], group[0].record
    log = run.log()
    pictures = tuple(_pictures(record, log, name=name))
    own = (
        Block(words=tuple(told.headlines(record)), warnings=told.warnings(record)),
        Block(figures=told.front_figures(record), labels=told.labels(record)),
        *_verdicts(group),
        Block(pictures=pictures, words=log.notes),
        Block(words=(told.sameness(record),) if record.audit else ()),
        Block(tables=told.ledgers(record), fold="The ledger in figures"),
        Block(figures=told.all_figures(record), labels=told.labels(record), fold="Every reading"),
        Block(text=_environment(record), fold="Experiment, machine and code"),
        Block(words=_again(run, record)),
    )
    return Section(id=name, title=f"{run.name} - {told.title(record)}", blocks=own)


def _pictures(record: Record, log: Log, *, name: str) -> Iterator[Picture]:
    shape_layers, shape_experts = _geometry(record, log)
    clock = "virtual" if is_modelled(record) else "monotonic"
    found = (
        charts.tiles(log, name=f"{name}-tiles", num_layers=shape_layers) if shape_layers else None,
        charts.experts(record, name=f"{name}-experts"),
        charts.distribution(log, "TTFT", name=f"{name}-ttft", clock=clock),
        charts.distribution(log, "TBT", name=f"{name}-tbt", clock=clock),
        charts.joules(record, name=f"{name}-joules"),
        charts.heat(log, name=f"{name}-heat", num_experts=shape_experts) if shape_experts else None,
        charts.coverage(log, name=f"{name}-coverage", num_experts=shape_experts)
        if shape_experts
        else None,
        charts.ledger(record, name=f"{name}-ledger"),
    )
    yield from (one for one in found if one is not None)


def _geometry(record: Record, log: Log) -> tuple[int, int]:
    """Return layers and experts of the model; by the catalogue, else layers by the tiles alone."""
    model = record.spec.get("model")
    try:
        shape, _ = find_shape(str(model))
    except InputError:
        tiles = (one for lines in log.iterations.values() for line in lines for one in line.tiles)
        return max((tile.layers[1] for tile in tiles), default=0), 0
    return shape.num_layers, shape.num_experts


def _verdicts(group: Sequence[Run]) -> Iterator[Block]:
    """Yield the verdicts on the arms of an experiment, over all its runs."""
    records = [run.record for run in group]
    if records[0].status != "complete" or len(records[0].own_arms) < 2:  # noqa: PLR2004
        return
    if len(records) == 1 and (records[0].command != "energy" or is_modelled(records[0])):
        return
    try:
        verdicts = compare_arms_of(records, delta=DELTA)
    except InputError as error:
        yield Block(warnings=(f"No verdict: {error}",))
        return
    yield Block(
        tables=(verdict_table(verdicts),),
        words=verdict_notes(verdicts, delta=DELTA),
    )


def _environment(record: Record) -> str:
    document = {
        "spec": record.spec,
        "spec_hash": record.spec_hash,
        "environment": record.environment,
        "protocol": record.protocol,
        "lpbench_version": record.lpbench_version,
        "started_at": record.started_at.isoformat() if record.started_at else None,
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def _again(run: Run, record: Record) -> tuple[str, ...]:
    """Return how to run it again."""
    if record.command not in ("traffic", "latency") and not is_modelled(record):
        return (f"Run again: the {record.command} command with the options of the experiment.",)
    return (f"Run again and compare the counts: lpbench check --baseline {run.path}",)


def _sweep(sweep: Sweep, *, name: str, heatmap: Callable[[Sequence[Spot]], str]) -> Section:
    """Show a sweep: the map where it is one, else its rows."""
    complete = [row for row in sweep.rows if row.status == "complete"]
    counts = dict.fromkeys(dict.fromkeys(row.status for row in sweep.rows), 0)
    for row in sweep.rows:
        counts[row.status] += 1
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    head = Block(words=(f"{len(sweep.rows)} rows, a schedule of a cell each: {said}.",))
    spots = spots_of(complete) if all(map(_is_on_map, complete)) else ()
    if spots:
        alt = (
            "Regime map: who has the least mean TTFT within a budget for the TBT, by decodes in "
            f"flight and prompt length; {len(spots)} fields. The figures stand in map.csv."
        )
        shown = Block(words=regime_notes(spots), svg=(without_names(heatmap(spots)), alt))
    else:
        shown = Block(tables=(_rows_table(sweep.rows),))
    return Section(id=name, title=f"Sweep {sweep.name}", blocks=(head, shown))


def _is_on_map(row: Row) -> bool:
    """Return whether a row is of a point of the regime map."""
    return row.point.keys() >= {*MAP_KEYS, "schedule"} and all(
        isinstance(row.point[key], int) for key in AXES
    )


def _rows_table(rows: Sequence[Row]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row.point))[:6]
    return Table(
        title="" if len(rows) <= MOST_LINES else f"the first {MOST_LINES} of {len(rows)} rows",
        columns=(*keys, "status", *_COLUMNS),
        rows=tuple(
            (
                *(str(row.point.get(key, told.NOTHING)) for key in keys),
                row.status if row.reason is None else f"{row.status}: {row.reason}",
                *(_short(row.metrics.get(metric), scale) for metric, scale in _COLUMNS.values()),
            )
            for row in rows[:MOST_LINES]
        ),
        left=tuple(range(len(keys) + 1)),
    )


def _reproduction(found: Reproduction, *, name: str) -> Section:
    """Show the paper's tables beside ours."""
    blocks = [block for one in _parts(found.document, "tables") for block in _paper_table(one)]
    rule = found.document.get("rule")
    said = tuple(map(str, rule)) if isinstance(rule, list) else ()
    return Section(
        id=name,
        title="The paper's tables beside ours: reported against modelled",
        blocks=(Block(words=said), *blocks),
    )


def _paper_table(table: Mapping[str, JsonValue]) -> Iterator[Block]:
    cells = [
        (
            f"{cell.get('row')} {cell.get('column')}",
            _number(_part(cell, "reported").get("value")),
            _number(_part(cell, "ours").get("value")),
            str(cell.get("unit")),
            _number(cell.get("ratio")),
            "OFF" if cell.get("is_off") else "",
        )
        for cell in _parts(table, "cells")
    ]
    claims = [
        (
            str(claim.get("says")),
            _times(claim, "reported"),
            _times(claim, "ours"),
            str(claim.get("status")),
        )
        for claim in _parts(table, "claims")
    ]
    columns = ("reported", "ours, modelled")
    title = f"{table.get('name')}: {table.get('title')}"
    claimed = ("claim", *columns, "status")
    yield Block(tables=(Table(title=title, columns=claimed, rows=tuple(claims), left=(0, 3)),))
    yield Block(words=(str(table.get("why")),))
    headings = ("", *columns, "unit", "ours/reported", "")
    yield Block(
        tables=(Table(columns=headings, rows=tuple(cells), left=(0, 3, 5)),),
        fold=f"All figures of {table.get('name')}",
    )


def _parts(document: Mapping[str, JsonValue], key: str) -> list[dict[str, JsonValue]]:
    """Return a list of objects; what is none is left out."""
    found = document.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _part(document: Mapping[str, JsonValue], key: str) -> dict[str, JsonValue]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _times(claim: Mapping[str, JsonValue], whose: str) -> str:
    """Return a claim's figure; one of two schedules is how many times the other's it is."""
    text = _number(claim.get(whose))
    return f"x {text}" if claim.get("over") and text != told.NOTHING else text


def _number(value: JsonValue) -> str:
    """Return a number as it is written; a dash for what is none, or larger than any."""
    if not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        return told.NOTHING
    return number(value)
