"""Energy from recorded samples: the counter's ticks, the joules between, the integral of power.

Owns: the arithmetic of a window.
Must not know: NVML, how samples are taken, which of its faults void a window.

The counter is refreshed every 20 to 1000 ms, so a read lags by up to one tick. Reads taken as a
tick is seen have no lag, and the ticks' times are the window's edges (MEASURING: the raw reads of
a 1.5 s window were 4 % off, tick to tick it was exact). Each tick lies between the begin of the
read before it and the end of the read that saw it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One read of counter and power.

    Attributes:
        begin_ns: when the read began, on the monotonic clock.
        end_ns: when it returned.
        counter_mj: the energy counter.
        power_w: power, or None where it was not given.
    """

    begin_ns: int
    end_ns: int
    counter_mj: int
    power_w: float | None

    @property
    def at_ns(self) -> float:
        """The middle of the read."""
        return (self.begin_ns + self.end_ns) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A refresh of the counter that was seen.

    Attributes:
        early_ns: it came no earlier.
        late_ns: it came no later.
        counter_mj: the counter after it.
    """

    early_ns: int
    late_ns: int
    counter_mj: int

    @property
    def at_ns(self) -> int:
        """The middle of what is known."""
        return (self.early_ns + self.late_ns) // 2

    @property
    def half_s(self) -> float:
        """Half the width of what is known, in seconds."""
        return (self.late_ns - self.early_ns) / 2e9


def tick_between(before: Sample, after: Sample) -> Tick | None:
    """Return the tick that two neighbouring reads enclose, if they differ."""
    if before.counter_mj == after.counter_mj:
        return None
    return Tick(early_ns=before.begin_ns, late_ns=after.end_ns, counter_mj=after.counter_mj)


def first_tick(samples: Sequence[Sample], *, from_ns: int) -> Tick | None:
    """Return the first tick that surely came after `from_ns`."""
    pairs = ((a, b) for a, b in pairwise(samples) if a.begin_ns >= from_ns)
    return next((tick for a, b in pairs if (tick := tick_between(a, b))), None)


def counted_j(samples: Sequence[Sample]) -> float:
    """Return what the counter rose by, in joules; a fall counts nothing."""
    return sum(max(0, b.counter_mj - a.counter_mj) for a, b in pairwise(samples)) / 1e3


def fell(samples: Sequence[Sample]) -> bool:
    """Return whether the counter ever went back."""
    return any(b.counter_mj < a.counter_mj for a, b in pairwise(samples))


def longest_still_s(samples: Sequence[Sample]) -> float:
    """Return the longest time over which the counter surely did not move, in seconds."""
    longest, first = 0, samples[0]
    for sample in samples:
        if sample.counter_mj != first.counter_mj:
            first = sample
        longest = max(longest, sample.begin_ns - first.end_ns)
    return longest / 1e9


def mean_power_w(samples: Sequence[Sample], *, start_ns: int, stop_ns: int) -> float | None:
    """Return the integral of power over a span, by the trapezoid rule, over its length, in watts.

    At the edges the neighbouring reads are interpolated, or the only one held. None without a
    read of power or without a span.
    """
    known = [(sample.at_ns, sample.power_w) for sample in samples if sample.power_w is not None]
    if not known or stop_ns <= start_ns:
        return None
    at, power = np.array(known).T
    inside = (at > start_ns) & (at < stop_ns)
    edges = np.interp([start_ns, stop_ns], at, power)
    times = np.concatenate(([start_ns], at[inside], [stop_ns]))
    values = np.concatenate((edges[:1], power[inside], edges[1:]))
    return float(np.trapezoid(values, times)) / (stop_ns - start_ns)


def longest_power_gap_s(samples: Sequence[Sample], *, start_ns: int, stop_ns: int) -> float:
    """Return the longest stretch of a span in which power was not read, in seconds."""
    reads = [one.at_ns for one in samples if one.power_w is not None]
    inside = [at for at in reads if start_ns < at < stop_ns]
    return max(after - before for before, after in pairwise([start_ns, *inside, stop_ns])) / 1e9


def peak_power_w(samples: Sequence[Sample]) -> float | None:
    """Return the highest power read, in watts; None without a read of power."""
    return max((s.power_w for s in samples if s.power_w is not None), default=None)
