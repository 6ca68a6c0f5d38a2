"""How latencies spread, drawn in text: a bar a schedule, from 0 to the largest of all.

Owns: the bars.
Must not know: how a time was taken.
"""

from collections.abc import Iterator

from lpbench.record.schema import Arm, Record
from lpbench.report.table import Table

WIDTH = 44
"""Characters of a bar."""

MARKS = (("median", "#"), ("p90", "="), ("p99", "-"), ("max", "."))
"""What a bar is made of, up to which of the samples."""

METRICS = {"ttft": "TTFT", "tbt": "TBT"}


def spread_tables(record: Record) -> tuple[Table, ...]:
    """Return a table of TTFT and one of TBT, where any schedule has them."""
    return tuple(found for name in METRICS if (found := _table(record, name)) is not None)


def _table(record: Record, name: str) -> Table | None:
    arms = [arm for arm in record.own_arms if _value(arm, name, "max")]
    if not arms:
        return None
    longest = max(_value(arm, name, "max") or 0.0 for arm in arms)
    return Table(
        title=f"{METRICS[name]}: # to the median, = p90, - p99, . max of {longest:.4g} ms",
        columns=("schedule", f"0{longest:>{WIDTH - 1}.4g}"),
        rows=tuple((arm.label, "".join(_bar(arm, name, longest))) for arm in arms),
        left=(0, 1),
    )


def _bar(arm: Arm, name: str, longest: float) -> Iterator[str]:
    """Yield the stretches of a bar; a statistic of too few samples has none of its own."""
    drawn = 0
    for statistic, mark in MARKS:
        value = _value(arm, name, statistic)
        if value is None:
            continue
        stop = max(round(WIDTH * value / longest), drawn)
        yield mark * (stop - drawn)
        drawn = stop


def _value(arm: Arm, name: str, statistic: str) -> float | None:
    reading = arm.metrics.get(f"{name}_ms_{statistic}")
    return None if reading is None else reading.valid_value
