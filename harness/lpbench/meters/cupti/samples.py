"""From samples to bytes: sums over windows that are bracketed by idle gaps.

Owns: the sampler protocol, the series, the sums and every reason not to trust them.
Must not know: CUPTI, processes, what the device was doing.

A window's edges must lie in idle gaps, so that no sample needs to be split. With b(i) the bytes
of sample i, D the time the window's samples span and r the rate in the gaps, the work moved
sum b(i) - r * D bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

GAP_SAMPLES = 2
"""Idle samples there must be beyond the one that holds an edge; a meter leaves more."""

IDLE_SHARE = 0.01
"""A sample is idle up to this share of the window's highest rate."""

HOLE = 0.5
"""A pause between two samples of more than this share of a sample is a lost record."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DramSamples:
    """A series of samples, in order of time.

    Attributes:
        start_ns: [n], CLOCK_REALTIME.
        end_ns: [n], CLOCK_REALTIME.
        read: [n], bytes read from DRAM.
        written: [n], bytes written to DRAM.
        beside: metrics sampled in the same pass by name, [n] each.
        overflow: the hardware buffer overflowed: the newest records are lost.
        truncated: records were left undecoded.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    read: NDArray[np.float64]
    written: NDArray[np.float64]
    beside: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    overflow: bool = False
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.start_ns)


class DramSampler(Protocol):
    """Samples a device's DRAM traffic."""

    def open(self) -> Mapping[str, JsonValue]:
        """Take hold of the counters and return what serves: versions, chip, metrics, interval.

        Raises:
            SamplerError: it cannot sample here.
        """

    def start(self) -> None:
        """Begin to sample.

        Raises:
            SamplerError: it cannot.
        """

    def stop(self) -> DramSamples:
        """Stop and return every sample since `start`, at least one.

        Raises:
            SamplerError: the samples are lost.
        """

    def close(self) -> None:
        """Let go of the counters; never raises, and may be called twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a window's work moved in one direction.

    Attributes:
        bytes: of the work; the idle rate's share is taken off.
        idle_rate: in the gaps, bytes a second.
        uncertainty: half the spread of the gaps' rates over the window's duration, bytes.
    """

    bytes: float
    idle_rate: float
    uncertainty: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBytes:
    """What a window's work moved.

    Attributes:
        read: from DRAM.
        written: to DRAM.
        duration_s: the time its samples span.
        reasons: codes that say why the figures are not valid; empty where they are.
    """

    read: Traffic
    written: Traffic
    duration_s: float
    reasons: tuple[str, ...]


def join(parts: Sequence[DramSamples]) -> DramSamples:
    """Return one series from consecutive ones with the same metrics beside."""
    return DramSamples(
        start_ns=np.concatenate([part.start_ns for part in parts]),
        end_ns=np.concatenate([part.end_ns for part in parts]),
        read=np.concatenate([part.read for part in parts]),
        written=np.concatenate([part.written for part in parts]),
        beside={
            name: np.concatenate([part.beside[name] for part in parts]) for name in parts[0].beside
        },
        overflow=any(part.overflow for part in parts),
        truncated=any(part.truncated for part in parts),
    )


def window_bytes(samples: DramSamples, *, start_ns: int, stop_ns: int) -> WindowBytes:
    """Sum a window whose edges lie in idle gaps, or say why the sum cannot be trusted.

    Reasons: `overflow`, `truncated` (records are missing, at an end or in between), `bad_sample`
    (not finite, negative, or without duration), `no_idle_gap` (fewer than GAP_SAMPLES beyond an
    edge), `edge_not_idle` (traffic at an edge), `no_traffic` (no bytes at all: nothing was seen).

    Args:
        samples: at least one.
        start_ns: first edge, CLOCK_REALTIME.
        stop_ns: last edge, CLOCK_REALTIME.
    """
    assert len(samples), "a window of no samples"
    assert start_ns < stop_ns, (start_ns, stop_ns)
    final = len(samples) - 1
    first = min(int(np.searchsorted(samples.end_ns, start_ns, side="right")), final)
    last = max(int(np.searchsorted(samples.start_ns, stop_ns, side="left")) - 1, first)
    lead = slice(max(first - GAP_SAMPLES, 0), first + 1)
    tail = slice(last, min(last + GAP_SAMPLES, final) + 1)
    inside, whole = slice(first, last + 1), slice(lead.start, tail.stop)

    seconds = (samples.end_ns - samples.start_ns) / 1e9
    gaps = np.r_[lead, tail]
    covered = samples.start_ns[0] <= start_ns and stop_ns <= samples.end_ns[-1]
    faults = {
        "overflow": samples.overflow,
        "truncated": samples.truncated or not covered or _has_hole(samples, whole),
        "bad_sample": _has_bad_sample(samples, seconds, whole),
        "no_idle_gap": first < GAP_SAMPLES or final - last < GAP_SAMPLES,
    }
    reasons = tuple(code for code, found in faults.items() if found)
    if not reasons:
        counts = samples.read + samples.written
        peak = (counts[inside] / seconds[inside]).max()
        if not peak:
            reasons = ("no_traffic",)
        elif (counts[gaps] / seconds[gaps]).max() > IDLE_SHARE * peak:
            reasons = ("edge_not_idle",)
    return WindowBytes(
        read=_traffic(samples.read, seconds, inside=inside, gaps=gaps),
        written=_traffic(samples.written, seconds, inside=inside, gaps=gaps),
        duration_s=float(seconds[inside].sum()),
        reasons=reasons,
    )


def _has_hole(samples: DramSamples, whole: slice) -> bool:
    """Return whether a record is missing between two samples, or two overlap as much."""
    starts, ends = samples.start_ns[whole], samples.end_ns[whole]
    pauses = np.abs(starts[1:] - ends[:-1])
    return bool((pauses > HOLE * np.median(ends - starts)).any())


def _has_bad_sample(samples: DramSamples, seconds: NDArray[np.float64], whole: slice) -> bool:
    counts = np.stack([samples.read[whole], samples.written[whole]])
    return not (np.isfinite(counts).all() and (counts >= 0).all() and (seconds[whole] > 0).all())


def _traffic(
    counts: NDArray[np.float64],
    seconds: NDArray[np.float64],
    *,
    inside: slice,
    gaps: NDArray[np.intp],
) -> Traffic:
    with np.errstate(divide="ignore", invalid="ignore"):  # `bad_sample` has been given for it
        rates = counts[gaps] / seconds[gaps]
        idle_rate = float(counts[gaps].sum() / seconds[gaps].sum())
        duration = float(seconds[inside].sum())
        return Traffic(
            bytes=float(counts[inside].sum()) - idle_rate * duration,
            idle_rate=idle_rate,
            uncertainty=float(rates.max() - rates.min()) / 2 * duration,
        )
