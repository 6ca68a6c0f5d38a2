"""A meter on a clock that stands still, over a series made by hand.

Owns: the clock, the series, and the window between them.
Must not know: what is asserted.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lpbench.meters.cupti.meter import GAP_INTERVALS, CuptiMeter
from lpbench.meters.cupti.samples import DramSamples
from lpbench.record.schema import Reading
from lpbench.testing.replay import ReplaySampler

MS = 1_000_000
WORK = (3_000_000.0, 1_000_000.0, 2_000_000.0)


class StoppedClock:
    """A clock that only moves when somebody waits on it."""

    def __init__(self) -> None:
        self.monotonic_ns = 0
        self.realtime_ns = 1_795_000_000_000_000_000

    def now_ns(self) -> int:
        """Return monotonic time."""
        return self.monotonic_ns

    def sleep(self, seconds: float) -> None:
        """Move both times on."""
        self.monotonic_ns += round(seconds * 1e9)
        self.realtime_ns += round(seconds * 1e9)


def series(work: Sequence[float] = WORK, *, idle_bytes: float = 0) -> DramSamples:
    """Return samples of 1 ms, the work between two gaps; a quarter as much is written."""
    gap = [0.0] * (2 * GAP_INTERVALS)
    counts = np.array([*gap, *work, *gap])
    starts = MS * np.arange(len(counts), dtype=np.int64)
    return DramSamples(
        start_ns=starts,
        end_ns=starts + MS,
        read=counts + idle_bytes,
        written=counts / 4 + idle_bytes,
    )


def meter(samples: DramSamples, clock: StoppedClock) -> CuptiMeter:
    """Return a meter that replays a series."""

    def realtime() -> int:
        return clock.realtime_ns

    sampler = ReplaySampler(samples, realtime_ns=realtime)
    return CuptiMeter(sampler, clock=clock, realtime_ns=realtime)


def measured(samples: DramSamples) -> Mapping[str, Reading]:
    """Return the readings of a window that is as long as the series' work."""
    clock = StoppedClock()
    found = meter(samples, clock)
    found.start()
    clock.sleep((len(samples) - 4 * GAP_INTERVALS) * MS / 1e9)
    return found.stop().readings
