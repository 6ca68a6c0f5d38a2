"""DRAM bytes of a window, measured by PM sampling.

Owns: the idle gaps around a window, the joining of clocks, the readings and their validity.
Must not know: how the samples are taken, what the window's work is.

PM sampling locks the GPU's clocks while it is on: bytes of such a window are valid, durations and
joules are not. So it has a pass of its own.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pydantic import JsonValue

from lpbench.meters.clocks import Clock, HostClock
from lpbench.meters.cupti.child import INTERVAL_NS, ChildSampler
from lpbench.meters.cupti.fault import SamplerError
from lpbench.meters.cupti.samples import DramSampler, DramSamples, Traffic, window_bytes
from lpbench.meters.meter import Capability, Measurement
from lpbench.record.schema import Reading
from lpbench.units import BYTES

GAP_INTERVALS = 5
"""Idle intervals on either side of an edge."""

_PASS = "counters"  # noqa: S105 - a pass of a run
_SOURCE = "cupti pm sampling"
_NAMES = ("dram_bytes_read", "dram_bytes_written")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """One moment on both clocks."""

    monotonic_ns: int
    realtime_ns: int


class CuptiMeter:
    """Measures `dram_bytes_read` and `dram_bytes_written`, all of the device's traffic.

    The device must be idle, its queue synchronised, whenever `start` and `stop` are called: both
    wait through the idle gaps that bracket the window. The idle rate is taken off. Close it, or
    use it as a context manager.
    """

    name = "cupti"

    def __init__(
        self,
        sampler: DramSampler | None = None,
        *,
        gpu: int = 0,
        interval_ns: int = INTERVAL_NS,
        clock: Clock | None = None,
        realtime_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Hold a sampler, by default the child process on `gpu`; nothing is opened yet.

        Args:
            sampler: takes the samples.
            gpu: CUDA's index, for the default sampler.
            interval_ns: the longest time between two samples.
            clock: monotonic, waits through the gaps.
            realtime_ns: the clock of the samples' time stamps.
        """
        self._sampler = sampler or ChildSampler(device=gpu, interval_ns=interval_ns)
        self._clock = clock or HostClock()
        self._realtime_ns = realtime_ns
        self._gap_s = GAP_INTERVALS * interval_ns / 1e9
        self._interval_ns = interval_ns
        self._facts: Mapping[str, JsonValue] | None = None
        self._start: _Edge | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def probe(self) -> Capability:
        """Return whether it can measure here: the counters are taken hold of and let go."""
        was_open = self._facts is not None
        try:
            facts = self._open()
        except SamplerError as error:
            return Capability(
                meter=self.name,
                available=False,
                code=error.code,
                reason=error.reason,
                fix=error.fix,
            )
        if not was_open:
            self.close()
        return Capability(meter=self.name, available=True, facts=facts)

    def start(self) -> None:
        """Open a window after an idle gap.

        Raises:
            SamplerError: the meter cannot measure here.
        """
        assert self._start is None, "a window is open"
        self._open()
        try:
            self._sampler.start()
        except SamplerError:
            self.close()
            raise
        self._start = self._edge()

    def stop(self) -> Measurement:
        """Close the window before an idle gap."""
        assert self._start is not None, "no window is open"
        start, self._start = self._start, None
        stop = self._edge()
        try:
            samples = self._sampler.stop()
        except SamplerError as error:
            self.close()
            readings = {name: _absent(error.code) for name in _NAMES}
            return Measurement(
                start_ns=start.monotonic_ns, stop_ns=stop.monotonic_ns, readings=readings
            )
        if self._has_stepped(start, stop):
            readings = {name: _absent("clock_step") for name in _NAMES}
            return Measurement(
                start_ns=start.monotonic_ns, stop_ns=stop.monotonic_ns, readings=readings
            )
        found = window_bytes(samples, start_ns=start.realtime_ns, stop_ns=stop.realtime_ns)
        readings = {
            name: _reading(traffic, found.reasons)
            for name, traffic in zip(_NAMES, (found.read, found.written), strict=True)
        }
        return Measurement(
            start_ns=start.monotonic_ns,
            stop_ns=stop.monotonic_ns,
            readings=readings,
            series={"dram": _rows(samples, start.realtime_ns)},
        )

    def close(self) -> None:
        """Let go of the counters; a later `start` takes hold of them again."""
        self._facts = self._start = None
        self._sampler.close()

    def _open(self) -> Mapping[str, JsonValue]:
        if self._facts is None:
            self._facts = self._sampler.open()
        return self._facts

    def _edge(self) -> _Edge:
        """Return a moment in the middle of two idle gaps."""
        self._clock.sleep(self._gap_s)
        edge = _Edge(monotonic_ns=self._clock.now_ns(), realtime_ns=self._realtime_ns())
        self._clock.sleep(self._gap_s)
        return edge

    def _has_stepped(self, start: _Edge, stop: _Edge) -> bool:
        """Return whether the real-time clock was set in the window."""
        realtime = stop.realtime_ns - start.realtime_ns
        return abs(realtime - (stop.monotonic_ns - start.monotonic_ns)) > self._interval_ns


def _reading(traffic: Traffic, reasons: tuple[str, ...]) -> Reading:
    if not (math.isfinite(traffic.bytes) and math.isfinite(traffic.uncertainty)):
        return _absent(*reasons)
    return Reading(
        value=traffic.bytes,
        unit=BYTES,
        method="measured",
        source=_SOURCE,
        validity="invalid" if reasons else "valid",
        reasons=reasons,
        pass_=_PASS,
        uncertainty=traffic.uncertainty,
    )


def _absent(*reasons: str) -> Reading:
    return Reading(
        value=None,
        unit=BYTES,
        method="measured",
        source=_SOURCE,
        validity="absent",
        reasons=reasons,
        pass_=_PASS,
    )


def _rows(samples: DramSamples, origin_ns: int) -> list[list[float]]:
    """Return start and end in ns from the window's first edge, bytes, and what stands beside."""
    columns = (
        samples.start_ns - origin_ns,
        samples.end_ns - origin_ns,
        samples.read,
        samples.written,
        *samples.beside.values(),
    )
    return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
