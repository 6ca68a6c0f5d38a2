"""What all charts take of a record: which schedules, which of their figures.

Owns: how many schedules a chart has, which readings are good enough to draw.
Must not know: charts.
"""

from lpbench.record.schema import Arm, Record
from lpbench.report.page.number import number
from lpbench.report.page.picture import drawable

MOST_ARMS = 6
"""Schedules of a chart: so many are told apart."""


def arms(record: Record) -> tuple[Arm, ...]:
    """Return the schedules that are drawn."""
    return record.own_arms[:MOST_ARMS]


def valid(arm: Arm, metric: str) -> float | None:
    """Return a metric of a schedule, where it is valid."""
    reading = arm.metrics.get(metric)
    return None if reading is None else reading.valid_value


def method(record: Record, metric: str) -> str:
    """Return how a metric of the run is known, in a word."""
    methods = (arm.metrics[metric].method for arm in record.own_arms if metric in arm.metrics)
    return " and ".join(dict.fromkeys(methods)) or "unknown"


def said(record: Record, metric: str, unit: float, name: str) -> str:
    """Return a metric of every schedule in words, in so large a unit of this name."""
    found = ((arm.label, valid(arm, metric)) for arm in arms(record))
    return "; ".join(
        f"{drawable(label)} {number(value / unit)} {name}"
        for label, value in found
        if value is not None
    )
