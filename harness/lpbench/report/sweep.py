"""What `lpbench sweep` says: the table, the cells without figures, summary.csv.

Owns: the words, the rounding, the columns, the forms of the summary that other tools read.
Must not know: how a cell was run.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO

from pydantic import JsonValue

from lpbench.analysis.metrics import AT_SLO
from lpbench.bench.summary import Row, Status
from lpbench.record.schema import Reading
from lpbench.report.table import Table
from lpbench.units import format_bytes

ABSENT = "-"
SCHEDULE = "schedule"

MEASURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("rate at\nSLO", AT_SLO, "{:.4g}".format),
    ("TTFT\nmean s", "ttft_ms_mean", lambda value: f"{value / 1e3:.2f}"),
    ("TBT\np99 ms", "tbt_ms_p99", "{:.1f}".format),
    ("SLO\nmet", "slo_attainment", "{:.1%}".format),
    ("good\nreq/s", "goodput", "{:.2f}".format),
    ("mJ per\ntoken", "joules_per_total_token", lambda value: f"{value * 1e3:.1f}"),
    ("expert\nbytes", "expert_bytes", format_bytes),
)
"""The table's figures: their headings, metrics, and how they are written."""

SAID: Mapping[Status, str] = {
    "invalid": "INVALID",
    "refused": "Refused",
    "failed": "FAILED",
    "pending": "Not run yet",
}
"""What the cells without figures, or with void ones, are called."""

INFINITE = ("inf", "-inf", "nan")
"""Numbers that JSON has not: they stand in a point as texts."""

LONGEST = 20
"""Characters of a schedule that stand in one line."""

MOST_NAMED = 8
"""Cells that are named beside a reason they share."""


def sweep_tables(name: str, rows: Sequence[Row]) -> tuple[Table, ...]:
    """Return a table for every set of names, as of model and device, that cells share.

    In it stands a row per schedule and cell that ran to its end: its number, the schedule, the
    numbers that vary, the figures.
    """
    keys = [key for key in _keys(rows) if len({_text(row.point[key]) for row in rows}) > 1]
    names = [key for key in keys if key != SCHEDULE and any(_is_name(row, key) for row in rows)]
    columns = [key for key in keys if key not in names]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.metrics:
            at = tuple(_text(row.point[key]) or ABSENT for key in names)
            groups.setdefault(at, []).append(row)
    title = f"suite {name}, {len({row.cell for row in rows})} cells"
    return tuple(
        _table(", ".join((title, *map(" ".join, zip(names, at, strict=True)))), columns, group)
        for at, group in groups.items()
    )


def _table(title: str, keys: Sequence[str], rows: Sequence[Row]) -> Table:
    measures = [one for one in MEASURES if any(row.value(one[1]) is not None for row in rows)]
    return Table(
        title=title,
        columns=("cell", *(key.replace("_", "\n") for key in keys), *(one[0] for one in measures)),
        rows=tuple(
            (
                _number(row),
                *(_broken(_text(row.point[key])) for key in keys),
                *(_show(row, metric, write) for _, metric, write in measures),
            )
            for row in rows
        ),
        left=tuple(at for at, key in enumerate(keys, 1) if key == SCHEDULE),
    )


def sweep_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return what a reader must know besides: what the figures are, which cells have none."""
    grounds = dict.fromkeys(
        f"{one.method} ({one.source})"
        for row in rows
        for one in row.metrics.values()
        if one.validity == "valid" and one.source != "plan"
    )
    said = [f"Figures are {'; '.join(grounds)}."] if grounds else []
    return (*said, *cell_notes(rows))


def cell_notes(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return a line for every reason why cells did not end well, with their numbers."""
    reasons: dict[tuple[Status, str | None], dict[str, None]] = {}
    for row in rows:
        if row.status != "complete":
            reasons.setdefault((row.status, row.reason), {})[_number(row)] = None
    return tuple(
        f"{SAID[status]}: cell{'s' * (len(numbers) > 1)} {_listed(tuple(numbers))}"
        + (f": {reason}" if reason else "")
        for (status, reason), numbers in reasons.items()
    )


def _listed(numbers: Sequence[str]) -> str:
    more = len(numbers) - MOST_NAMED
    return ", ".join(numbers[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def summary_csv(rows: Sequence[Row]) -> str:
    """Return a line per row: what varies, and of every metric value, method and validity.

    A value that is absent is empty; its validity holds the reasons.
    """
    keys = _keys(rows)
    metrics = tuple(dict.fromkeys(name for row in rows for name in row.metrics))
    sides = ("", "_method", "_validity")
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ["cell", "status", "reason", *keys, *(name + side for name in metrics for side in sides)]
    )
    for row in rows:
        figures = (part for name in metrics for part in _parts(row.metrics.get(name)))
        points = (_text(row.point[key]) for key in keys)
        lines.writerow([row.cell, row.status, row.reason, *points, *figures])
    return text.getvalue()


def summary_json(name: str, suite_hash: str, rows: Sequence[Row]) -> str:
    """Return the whole summary as one JSON object."""
    listed = [json.loads(row.to_json()) for row in rows]
    return json.dumps({"suite": name, "suite_hash": suite_hash, "rows": listed}, indent=1) + "\n"


def _parts(reading: Reading | None) -> tuple[str, str, str]:
    if reading is None:
        return "", "", ""
    value = "" if reading.value is None else str(reading.value)
    return value, reading.method, ":".join((reading.validity, *reading.reasons))


def _keys(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return what rows are told apart by, the keys of the grid first."""
    return tuple(dict.fromkeys(key for row in rows for key in row.point))


def _number(row: Row) -> str:
    return row.cell.partition("-")[0]


def _show(row: Row, metric: str, write: Callable[[float], str]) -> str:
    value = row.value(metric)
    return ABSENT if value is None else write(value)


def _text(value: JsonValue) -> str:
    """Return a value of a point as a text; a list by its parts, nothing for none."""
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return "" if value is None else str(value)


def _is_name(row: Row, key: str) -> bool:
    value = row.point[key]
    return isinstance(value, list) or (isinstance(value, str) and value not in INFINITE)


def _broken(text: str) -> str:
    """Return a long schedule with its parameters in lines of their own."""
    return text if len(text) <= LONGEST else text.replace(":", ":\n").replace(",", ",\n")
