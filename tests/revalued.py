"""The example record with some values changed."""

from lpbench.record.schema import Arm, Reading, Record
from lpbench.testing.records import example_record


def revalued(arm: Arm, **values: float | None) -> Arm:
    """Return an arm with these metrics set; None makes one absent."""
    changed = {name: _changed(arm.metrics[name], value) for name, value in values.items()}
    return arm.model_copy(update={"metrics": arm.metrics | changed})


def without(arm: Arm, *names: str) -> Arm:
    """Return an arm that lacks some metrics."""
    kept = {name: reading for name, reading in arm.metrics.items() if name not in names}
    return arm.model_copy(update={"metrics": kept})


def example_with(**values: float | None) -> Record:
    """Return the example record with metrics of its second arm set."""
    first, second = example_record().arms
    return example_record(arms=(first, revalued(second, **values)))


def _changed(reading: Reading, value: float | None) -> Reading:
    absent = value is None
    return reading.model_copy(
        update={
            "value": value,
            "validity": "absent" if absent else "valid",
            "reasons": ("no_such_rows",) if absent else (),
        }
    )
