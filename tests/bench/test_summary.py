"""Rows of a summary: every schedule of every cell, with readings that can be read back."""

from pathlib import Path

import pytest

from lpbench.bench.suite import Cell, read_suite
from lpbench.bench.summary import SUMMARY, rows_of, rows_without, to_lines
from lpbench.record.schema import Caution
from lpbench.testing.records import example_record
from tests.bench.suites import read_rows, write_suite

RECORD = example_record()


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    """Return a cell of two schedules."""
    text = '[base]\nschedule = ["chunked", "layered"]\n[grid]\nseed = [3]'
    return read_suite(write_suite(tmp_path, text)).cells[0]


def test_a_row_per_schedule(cell: Cell) -> None:
    """Each says where it stands and has its arm's readings."""
    chunked, layered = rows_of(cell, RECORD)
    assert {"seed": 3, "schedule": "chunked"} == chunked.point
    assert {"seed": 3, "schedule": "layered"} == layered.point
    assert (2e9, 1.2e9) == (chunked.value("expert_bytes"), layered.value("expert_bytes"))
    assert "counted" == chunked.metrics["expert_bytes"].method
    assert ("complete", None) == (chunked.status, chunked.reason)


def test_what_is_absent_has_no_value(cell: Cell) -> None:
    """Its reason stands in the row."""
    row = rows_of(cell, RECORD)[0]
    assert row.value("dram_bytes_read") is None
    assert "absent" == row.metrics["dram_bytes_read"].validity
    assert row.value("no_such_metric") is None


def test_rows_without_a_record(cell: Cell) -> None:
    """They say why, and have no figures."""
    rows = rows_without(cell, "failed", "broken")
    assert ["chunked", "layered"] == [row.point["schedule"] for row in rows]
    assert {("failed", "broken")} == {(row.status, row.reason) for row in rows}
    assert all(not row.metrics for row in rows)


def test_a_complete_run_that_proves_nothing(cell: Cell) -> None:
    """Schedules that computed different things, and bytes faster than the device, are void."""
    assert RECORD.audit is not None
    unsound = RECORD.audit.model_copy(update={"far_disagreements": 1})
    rows = rows_of(cell, RECORD.model_copy(update={"audit": unsound}))
    assert {"invalid"} == {row.status for row in rows}
    assert "did not compute the same" in (rows[0].reason or "")
    caution = Caution(code="impossible_bandwidth", message="too fast")
    arm = RECORD.arms[1].model_copy(update={"warnings": (caution,)})
    rows = rows_of(cell, RECORD.model_copy(update={"arms": (RECORD.arms[0], arm)}))
    assert {"layered: bytes over time exceed the device's peak"} == {row.reason for row in rows}


def test_read_back(cell: Cell, tmp_path: Path) -> None:
    """What was written is what is read; raw samples stay in the record."""
    rows = (*rows_of(cell, RECORD), *rows_without(cell, "pending"))
    text = to_lines(rows)
    (tmp_path / SUMMARY).write_text(text, encoding="utf-8")
    assert rows == read_rows(tmp_path)
    assert '"samples":' not in text
