"""What `lpbench reproduce` says: ours beside what was reported, the verdicts, the files.

Owns: the words and the rounding, the JSON document, the CSV.
Must not know: how ours came about, by which rule it is judged.
"""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO

from pydantic import JsonValue

from lpbench.analysis.agreement import WITHIN, Agreement, Beside, Judged
from lpbench.analysis.reported import MARKS, Cell
from lpbench.report.table import Table

ABSENT = "-"

BOUNDS: Mapping[str, str] = {"": "", "about": "~", "below": "< "}

TIMES = 2.0
"""Ratios from here on are shown as such, smaller ones as a change."""

RULE = (
    "Reported figures are marked by how they were had: "
    + "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.items())
    + ".",
    (
        f"OFF: ours differs by more than {WITHIN:.0%} of the reported figure, and what its reading "
        "may be off. A claim holds where ours has the same direction and the change is within "
        f"{WITHIN:.0%} of the reported change; a level, where it is not off, or below its bound."
    ),
    (
        "A table follows where every claim holds; in part, where a headline claim (*) has the "
        "reported direction; else it does not."
    ),
)
"""What the tables' marks and verdicts mean."""

OURS = (
    (
        "Routing is calibrated: the popularity of experts was fitted to the coverage that the "
        "paper reports for Qwen3-30B-A3B, so that coverage here is no independent finding."
    ),
    (
        "Coefficients are of today's kernels on whole matrices, inside CUDA graphs, and of no "
        "table here. Halved by tensor parallelism a matrix may reach less, under any schedule. "
        "The paper's engine runs prefill above 1024 tokens, as layered has it, without graphs: "
        "that ours does not flatters layered prefill."
    ),
    (
        "The host takes the same time for an iteration of every schedule. What layered prefill "
        "costs a host more, and memory for what it holds between iterations, is not modelled: "
        "that flatters it too."
    ),
    "Lengths are drawn from percentile tables of the data sets, outputs run to their full length.",
)
"""What to know of all figures of ours."""


def heading(found: Agreement) -> str:
    """Return the line above a table."""
    return f"{found.table.name}: {found.table.title}"


def agreement_tables(found: Agreement) -> tuple[Table, Table]:
    """Return the figures of a table beside ours, and its claims."""
    rows = []
    before = ""
    for one in found.figures:
        rows.append((one.cell.row if one.cell.row != before else "", *_figure(one)))
        before = one.cell.row
    figures = Table(
        columns=("", "", "reported", "", "ours", "ours/\nreported", ""),
        rows=tuple(rows),
        left=(0, 1, 3, 6),
    )
    claims = Table(
        columns=("claim", "reported", "ours", ""),
        rows=tuple(_claim(one, found) for one in found.claims),
        left=(0, 3),
    )
    return figures, claims


def _figure(one: Beside) -> tuple[str, ...]:
    cell = one.cell
    ratio = one.ratio
    return (
        cell.column,
        ABSENT if cell.value is None else f"{BOUNDS[cell.bound]}{_value(cell.value, cell)}",
        cell.mark,
        ABSENT if one.ours.value is None else _value(one.ours.value, cell),
        ABSENT if ratio is None else f"{ratio:.2f}",
        "OFF" if one.is_off else "",
    )


def _value(value: float, cell: Cell) -> str:
    return f"{value:.4g} {cell.unit}"


def _claim(one: Judged, found: Agreement) -> tuple[str, ...]:
    star = "* " if one.claim.headline else ""
    cell = next(each.cell for each in found.figures if each.cell.name == one.claim.of)
    texts = [
        ABSENT if value is None else _ratio(value) if one.claim.over else _value(value, cell)
        for value in (one.reported, one.ours)
    ]
    bound = "" if one.claim.over else BOUNDS[cell.bound]
    return (star + one.claim.says, bound + texts[0], texts[1], one.status)


def _ratio(value: float) -> str:
    return f"x {value:.2f}" if value >= TIMES else f"{value - 1:+.1%}"


def verdict_line(found: Agreement) -> str:
    """Return the verdict on a table and why."""
    count: Counter[str] = Counter(one.status for one in found.claims)
    parts = [
        f"{count['holds']} of {len(found.claims)} claims hold",
        *(
            f"{count[status]} {words}"
            for status, words in (
                ("size off", "with the reported direction and another size"),
                ("not so", "not so"),
                ("absent", "absent"),
            )
            if count[status]
        ),
    ]
    line = f"Verdict: {found.word}. {', '.join(parts)}."
    if found.targets:
        off = f"{len(found.off)} of {len(found.targets)}"
        line += f" Off by more than {WITHIN:.0%}: {off} figures."
    return line


def table_notes(found: Agreement) -> tuple[str, ...]:
    """Return what was reported on, how ours is made, and the caveats."""
    table = found.table
    absent = dict.fromkeys(
        f"{one.cell.row}, {one.cell.column or one.cell.metric}: {', '.join(one.ours.reasons)}"
        for one in found.figures
        if one.ours.value is None
    )
    return (
        f"Reported: {table.about}.",
        f"Ours: {table.setup}.",
        *(f"Absent: {line}." for line in absent),
        *(f"Caveat: {line}" for line in table.caveats),
    )


def closing_notes(agreements: Sequence[Agreement]) -> tuple[str, ...]:
    """Return what holds for all tables: the rule, what is behind ours."""
    grounds = dict.fromkeys(
        f"{one.ours.method} ({one.ours.source})" for found in agreements for one in found.figures
    )
    return (*RULE, f"Ours is {'; '.join(grounds)}.", *OURS)


def to_json(agreements: Sequence[Agreement], *, about: Mapping[str, JsonValue]) -> str:
    """Return everything as one JSON object.

    Args:
        agreements: the tables.
        about: what the run was, such as the version.
    """
    document = {**about, "rule": list(RULE), "tables": [_table(found) for found in agreements]}
    return json.dumps(document, indent=1) + "\n"


def _table(found: Agreement) -> dict[str, object]:
    table = found.table
    return {
        "name": table.name,
        "title": table.title,
        "about": table.about,
        "setup": table.setup,
        "verdict": found.word,
        "why": verdict_line(found),
        "caveats": list(table.caveats),
        "sources": dict(table.sources),
        "runs": {run: table.options(run) for run in table.runs},
        "claims": [
            {
                **asdict(one.claim),
                "reported": one.reported,
                "ours": one.ours,
                "status": one.status,
            }
            for one in found.claims
        ],
        "cells": [_cell(one) for one in found.figures],
    }


def _cell(one: Beside) -> dict[str, object]:
    cell = one.cell
    reported = None
    if cell.value is not None:
        reported = {
            "value": cell.value,
            "bound": cell.bound,
            "tolerance": cell.tolerance,
            "mark": cell.mark,
            "sources": list(cell.sources),
        }
    return {
        "name": cell.name,
        "row": cell.row,
        "column": cell.column,
        "unit": cell.unit,
        "run": cell.run,
        "metric": cell.metric,
        "at": cell.at,
        "per": cell.per,
        "is_target": cell.is_target,
        "reported": reported,
        "ours": one.ours.model_dump(mode="json", by_alias=True, exclude={"samples"}),
        "ratio": one.ratio,
        "is_off": one.is_off,
    }


COLUMNS = (
    *("table", "name", "row", "column", "unit", "reported", "bound", "tolerance", "mark"),
    *("sources", "ours", "method", "source", "validity", "reasons", "ratio", "is_target", "is_off"),
)
"""Of the CSV."""


def to_csv(agreements: Sequence[Agreement]) -> str:
    """Return a line per cell; what is absent is empty."""
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for found in agreements:
        for one in found.figures:
            cell, ours = one.cell, one.ours
            lines.writerow(
                (
                    *(found.table.name, cell.name, cell.row, cell.column, cell.unit),
                    *(_text(cell.value), cell.bound, _text(cell.tolerance), cell.mark),
                    *(" ".join(cell.sources), _text(ours.value), ours.method, ours.source),
                    *(ours.validity, " ".join(ours.reasons), _text(one.ratio)),
                    *(str(cell.is_target).lower(), str(one.is_off).lower()),
                )
            )
    return text.getvalue()


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)
