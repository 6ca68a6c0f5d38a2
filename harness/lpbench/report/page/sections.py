"""A page as sections of plain values: what it shows, in which order, and how much of it at most.

Owns: which tables, words and pictures belong to a source; what many runs are cut to.
Must not know: HTML, how a chart is drawn.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from pydantic import JsonValue

from lpbench.analysis.comparable import inexact, is_modelled
from lpbench.analysis.verdict import DELTA
from lpbench.analysis.versus import compare_arms_of
from lpbench.bench.keys import MAP_KEYS
from lpbench.bench.summary import Row
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.report.compare import verdict_notes, verdict_table
from lpbench.report.page import charts, told
from lpbench.report.page.log import Log
from lpbench.report.page.number import number
from lpbench.report.page.overview import COLUMNS, MOST_LINES, experiment, overview, short
from lpbench.report.page.picture import Picture, without_names
from lpbench.report.page.run import Reproduction, Run, Source, Sweep
from lpbench.report.page.section import Block, Section
from lpbench.report.regime import AXES, Spot, regime_notes, spots_of
from lpbench.report.table import Table
from lpbench.report.traffic import sameness
from lpbench.shape.catalogue import find_shape

MOST_DETAILED = 12
"""Experiments that are shown in full; of more, the overview has a line each."""

MOST_KEYS = 6
"""Keys of a sweep that have a column, the schedule aside."""

MOST_NAMED = 20
"""Runs of an experiment that are named."""

SCHEDULE = "schedule"


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
    groups = [tuple(found) for _, found in groupby(sorted(runs, key=experiment), experiment)]
    groups.sort(key=lambda group: runs.index(group[0]))
    if len(runs) > 1:
        yield overview(runs, most_detailed=MOST_DETAILED)
    for at, group in enumerate(groups[:MOST_DETAILED]):
        yield _experiment_section(group, name=f"run-{at + 1}")
    for at, one in enumerate(sources):
        if isinstance(one, Sweep):
            yield _sweep(one, name=f"sweep-{at + 1}", heatmap=heatmap)
        elif isinstance(one, Reproduction):
            yield _reproduction(one, name=f"reproduction-{at + 1}")


def _experiment_section(group: Sequence[Run], *, name: str) -> Section:
    """Show one experiment: its first run in full, and how sure all of its runs are together."""
    run, record = group[0], group[0].record
    log = run.log()
    pictures = tuple(_pictures(record, log, name=name))
    own = (
        Block(words=tuple(_head(group)), warnings=told.warnings(record)),
        Block(figures=told.front_figures(record), labels=told.labels(record)),
        *_verdicts(group),
        Block(pictures=pictures, words=log.notes),
        Block(words=(sameness(record.audit),) if record.audit else ()),
        Block(tables=told.ledgers(record), fold="The ledger in figures"),
        Block(figures=told.all_figures(record), labels=told.labels(record), fold="Every reading"),
        Block(text=_environment(record), fold="Experiment, machine and code"),
        Block(words=_again(run, record)),
    )
    return Section(id=name, title=f"{run.name} - {told.title(record)}", blocks=own)


def _head(group: Sequence[Run]) -> Iterator[str]:
    """Yield what one run says for itself, or which runs are judged together."""
    if len(group) == 1:
        yield from told.headlines(group[0].record)
        return
    names = ", ".join(run.name for run in group[:MOST_NAMED])
    more = f" and {len(group) - MOST_NAMED} more" * (len(group) > MOST_NAMED)
    yield (
        f"{len(group)} runs: {names}{more}. They are judged together; figures and pictures are of "
        f"{group[0].name}."
    )
    said = {run.name: told.why_not_comparable(run.record) for run in group}
    yield from (f"{name}: {why}" for name, why in list(said.items())[:MOST_NAMED] if why)


def _pictures(record: Record, log: Log, *, name: str) -> Iterator[Picture]:
    shape_layers, shape_experts = _geometry(record, log)
    clock = "virtual" if is_modelled(record) else "monotonic"
    warmups = record.spec.get("num_warmups")
    left_out = warmups if isinstance(warmups, int) else 0
    found = (
        charts.tiles(log, name=f"{name}-tiles", num_layers=shape_layers) if shape_layers else None,
        charts.experts(record, name=f"{name}-experts"),
        charts.distribution(log, "TTFT", name=f"{name}-ttft", clock=clock, num_warmups=left_out),
        charts.distribution(log, "TBT", name=f"{name}-tbt", clock=clock, num_warmups=left_out),
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
    can_check = record.command in ("traffic", "latency") or is_modelled(record)
    if not can_check or record.status != "complete" or inexact(record):
        return (f"Run again: lpbench {record.command} with the options of the experiment.",)
    command = f"lpbench check --baseline {shlex.quote(str(run.path))}"
    return (f"Run again and compare the counts: {command}",)


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
    keys = list(dict.fromkeys(key for row in rows for key in row.point if key != SCHEDULE))
    keys, left_out = [*keys[:MOST_KEYS], SCHEDULE], keys[MOST_KEYS:]
    said = [f"the first {MOST_LINES} of {len(rows)} rows"] if len(rows) > MOST_LINES else []
    said += [f"without {', '.join(left_out)}"] if left_out else []
    return Table(
        title="; ".join(said),
        columns=(*keys, "status", *COLUMNS),
        rows=tuple(
            (
                *(str(row.point.get(key, told.NOTHING)) for key in keys),
                row.status if row.reason is None else f"{row.status}: {row.reason}",
                *(short(row.metrics.get(metric), scale) for metric, scale in COLUMNS.values()),
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
