"""The highest rate at which enough requests are served well, by bisection.

Owns: the search: the bracket, its bounds, its width.
Must not know: what serves the requests, what being served well is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

FACTOR = 1024.0
"""The search goes from its start up and down by this factor at most, ten times the double."""

WIDTH = 0.01
"""The rates that a search ends between are within this share of the lower one."""

_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Between what the highest rate lies.

    Attributes:
        met: the highest rate tried that is good enough, with none above it tried but `missed` and
            higher ones; None where even the lowest is not.
        missed: the next rate tried above it, which is not; None where even the highest is.
    """

    met: float | None
    missed: float | None

    @property
    def reason(self) -> str | None:
        """Why there is no rate, as a code; None where there is one."""
        if self.met is None:
            return "slo_missed_at_lowest_rate"
        return "slo_met_at_highest_rate" if self.missed is None else None

    @property
    def edge(self) -> float:
        """The rate found; without one, the bound that the search ended at."""
        found = self.missed if self.met is None else self.met
        assert found is not None, "a search tries one rate at least"
        return found


def find_rate(
    attains: Callable[[float], bool],
    *,
    start: float,
    lowest: float = 0.0,
    highest: float = math.inf,
    width: float = WIDTH,
) -> Bracket:
    """Double or halve a rate until good and bad lie on either side, then bisect.

    Where what is good does not end at one rate but comes and goes, as noise has it, one of the
    places is found where it ends: `met` is good, and `missed`, right above it, is not.

    All rates but the start have four digits, so that one can be typed again.

    Args:
        attains: whether a rate, in 1/s, is good enough.
        start: the first to be tried, above 0.
        lowest: none below is tried; nor below start / 1024.
        highest: none above; nor above 1024 start.
        width: the bracket ends within this share of its lower edge.
    """
    lowest = max(lowest, _typed(start / FACTOR))
    highest = min(highest, _typed(start * FACTOR))
    rate = min(max(start, lowest), highest)
    is_met = attains(rate)
    end = highest if is_met else lowest
    while rate != end:
        before, rate = rate, min(_typed(rate * 2), end) if is_met else max(_typed(rate / 2), end)
        if attains(rate) != is_met:
            met, missed = (before, rate) if is_met else (rate, before)
            return _bisect(attains, met, missed, width=width)
    return Bracket(met=rate, missed=None) if is_met else Bracket(met=None, missed=rate)


def _bisect(
    attains: Callable[[float], bool], met: float, missed: float, *, width: float
) -> Bracket:
    while missed > met * (1.0 + width):
        middle = _typed(math.sqrt(met * missed))
        if attains(middle):
            met = middle
        else:
            missed = middle
    return Bracket(met=met, missed=missed)


def _typed(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")
