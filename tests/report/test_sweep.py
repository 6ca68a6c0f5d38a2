"""The table of a sweep, its notes, and the CSV."""

import csv
import json
from io import StringIO

from lpbench.bench.summary import Row
from lpbench.record.schema import Reading
from lpbench.report.sweep import (
    MOST_NAMED,
    cell_notes,
    summary_csv,
    summary_json,
    sweep_notes,
    sweep_tables,
)

TTFT = "ttft_ms_mean"


def reading(value: float | None, unit: str = "ms", reason: str = "too_few_samples") -> Reading:
    """Return a modelled reading, absent for None."""
    return Reading(
        value=value,
        unit=unit,
        method="modelled",
        source="roofline",
        validity="valid" if value is not None else "absent",
        reasons=() if value is not None else (reason,),
        pass_="latency",  # noqa: S106 - a pass over the workload, no password
    )


def row(number: int, **point: str | float | None) -> Row:
    """Return a complete row with a TTFT of as many seconds as its number."""
    metrics = {TTFT: reading(number * 1e3), "tbt_ms_p99": reading(None)}
    return Row(cell=f"{number}-x", status="complete", point={**point}, metrics=metrics)


def without(number: int, status: str, reason: str | None) -> Row:
    """Return a row without figures."""
    values = {"cell": f"{number}-x", "status": status, "reason": reason}
    return Row.model_validate({**values, "point": {"schedule": "a", "seed": 0}})


def test_a_table_of_what_varies() -> None:
    """A column for each key that varies, and for each figure that some row has."""
    rows = [
        row(1, model="m", schedule="chunked", request_rate=1.0),
        row(2, model="m", schedule="layered", request_rate="inf"),
    ]
    (table,) = sweep_tables("load", rows)
    assert "suite load, 2 cells" == table.title
    assert ("cell", "schedule", "request\nrate", "TTFT\nmean s") == table.columns
    assert (("1", "chunked", "1.0", "1.00"), ("2", "layered", "inf", "2.00")) == table.rows
    assert (1,) == table.left


def test_a_table_per_model_and_device() -> None:
    """Names that vary stand in titles, so that the figures have room; none given is a dash."""
    rows = [
        row(1, model="a", device="h200", seed=0, schedule="chunked"),
        row(2, model="a", device=None, seed=1, schedule="chunked"),
        row(3, model="b", device="h200", seed=0, schedule="chunked"),
    ]
    titles = [table.title for table in sweep_tables("s", rows)]
    expected = ["model a, device h200", "model a, device -", "model b, device h200"]
    assert [f"suite s, 3 cells, {names}" for names in expected] == titles
    assert ("cell", "seed", "TTFT\nmean s") == sweep_tables("s", rows)[0].columns


def test_a_long_schedule_is_broken_at_its_parameters() -> None:
    """So that no word is."""
    long = "layered:num_groups=16,max_num_batched_tokens=4096"
    (table,) = sweep_tables("s", [row(1, schedule=long), row(2, schedule="chunked")])
    assert "layered:\nnum_groups=16,\nmax_num_batched_tokens=4096" == table.rows[0][1]


def test_cells_without_figures_are_told_below() -> None:
    """One line a reason, with the numbers of its cells; they stand in no table."""
    rows = [
        row(1, schedule="a", seed=0),
        without(2, "refused", "too large"),
        without(3, "failed", "broken"),
        without(4, "refused", "too large"),
        without(5, "pending", None),
    ]
    expected = (
        "Refused: cells 2, 4: too large",
        "FAILED: cell 3: broken",
        "Not run yet: cell 5",
    )
    assert expected == cell_notes(rows)
    assert ("Figures are modelled (roofline).", *expected) == sweep_notes(rows)
    assert 1 == sum(len(table.rows) for table in sweep_tables("s", rows))


def test_many_cells_of_one_reason_are_counted() -> None:
    """A line stays readable."""
    (line,) = cell_notes([without(n, "refused", "no") for n in range(1, MOST_NAMED + 4)])
    assert line.endswith("8 and 3 more: no")


def test_csv() -> None:
    """Keys, value, method and validity by column; empty where there is none, never zero."""
    rows = [row(1, schedule="a,b", seed=0), without(2, "failed", 'a "reason"')]
    first, second = csv.DictReader(StringIO(summary_csv(rows)))
    assert {
        "cell": "1-x",
        "status": "complete",
        "reason": "",
        "schedule": "a,b",
        "seed": "0",
        TTFT: "1000.0",
        f"{TTFT}_method": "modelled",
        f"{TTFT}_validity": "valid",
        "tbt_ms_p99": "",
        "tbt_ms_p99_method": "modelled",
        "tbt_ms_p99_validity": "absent:too_few_samples",
    } == first
    assert ("failed", 'a "reason"', "", "") == tuple(
        second[key] for key in ("status", "reason", TTFT, f"{TTFT}_validity")
    )


def test_json() -> None:
    """One object with the suite's name, its hash and the rows."""
    found = json.loads(summary_json("load", "abc", [row(1, schedule="a")]))
    assert ("load", "abc") == (found["suite"], found["suite_hash"])
    assert {"schedule": "a"} == found["rows"][0]["point"]
    assert "latency" == found["rows"][0]["metrics"][TTFT]["pass"]
