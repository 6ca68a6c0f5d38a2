"""What became of the cells of a suite, as rows: one for every schedule of every cell.

Owns: the shape of a row, from a record or the reason why there is none, and summary.jsonl.
Must not know: how a cell is run, how rows are shown.

Rows hold no time of day: a suite on a virtual clock gives the same bytes every time.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from lpbench.analysis.checks import IMPOSSIBLE
from lpbench.bench.suite import Cell
from lpbench.record.schema import Reading, Record

SUMMARY = "summary.jsonl"

Status = Literal["complete", "invalid", "refused", "failed", "pending"]


class Row(BaseModel):
    """One schedule of one cell.

    Attributes:
        cell: its id, and the name of its folder.
        status: complete; invalid: complete, but what was measured proves nothing; refused: its
            options do not go together; failed: it ended in an error; pending: not run yet.
        reason: why it is not complete.
        point: the values of the keys that vary in the suite, and the schedule.
        metrics: readings by metric name; none where there is no record.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: str
    status: Status
    reason: str | None = None
    point: dict[str, JsonValue]
    metrics: dict[str, Reading] = {}

    def value(self, metric: str) -> float | None:
        """Return a metric's valid value; None where there is none."""
        reading = self.metrics.get(metric)
        return None if reading is None else reading.valid_value

    def to_json(self) -> str:
        """Return the row as JSON in one line; raw samples are left to the record."""
        return self.model_dump_json(by_alias=True, exclude={"metrics": {"__all__": {"samples"}}})


def rows_without(cell: Cell, status: Status, reason: str | None = None) -> tuple[Row, ...]:
    """Return the rows of a cell that has no record of a complete run."""
    return tuple(
        Row(cell=cell.id, status=status, reason=reason, point=_point(cell, schedule))
        for schedule in cell.spec.schedules
    )


def rows_of(cell: Cell, record: Record) -> tuple[Row, ...]:
    """Return the rows of a cell that ran."""
    reason = _doubt(record)
    return tuple(
        Row(
            cell=cell.id,
            status="invalid" if reason else "complete",
            reason=reason,
            point=_point(cell, arm.label),
            metrics={
                name: one.model_copy(update={"samples": ()}) for name, one in arm.metrics.items()
            },
        )
        for arm in record.own_arms
    )


def to_lines(rows: Iterable[Row]) -> str:
    """Return rows as the text of a summary.jsonl."""
    return "".join(f"{row.to_json()}\n" for row in rows)


def _point(cell: Cell, schedule: str) -> dict[str, JsonValue]:
    """Return where a row stands: the cell's point, the schedule in its place or at the end."""
    return {**cell.point, "schedule": schedule}


def _doubt(record: Record) -> str | None:
    """Return why a complete run proves nothing; None where it does."""
    if record.audit is not None and not record.audit.is_sound:
        return "the schedules did not compute the same; see the audit"
    void: Sequence[str] = [
        arm.label for arm in record.arms if any(one.code == IMPOSSIBLE for one in arm.warnings)
    ]
    return f"{void[0]}: bytes over time exceed the device's peak" if void else None
