"""Joules of a window by NVML's energy counter, from tick to tick, checked by integrated power.

Owns: opening and closing a window.
Must not know: whose work is measured, what the log of a window comes to.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lpbench.meters.clocks import Clock, HostClock
from lpbench.meters.meter import Capability, Measurement
from lpbench.meters.nvml.absent import Absent, GpuLostError, MissingError, lost_gpu
from lpbench.meters.nvml.device import Gpu, open_gpu
from lpbench.meters.nvml.energy import Tick
from lpbench.meters.nvml.readings import window_readings, window_series
from lpbench.meters.nvml.sampler import POLL_S, Sampler
from lpbench.meters.nvml.source import Source, find_source
from lpbench.meters.nvml.state import State
from lpbench.meters.nvml.validity import STUCK_PERIODS, Window
from lpbench.meters.poll import Driver, ThreadDriver

_OPEN_TIMEOUT_S = 1.5
"""A tick comes in 1 s even at the slowest refresh that drivers are known to have (MEASURING)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """An open window: `first` is the index of its first sample, `end` stops the polling."""

    gpu: Gpu
    limit_w: float | Absent
    source: Source
    sampler: Sampler
    period_s: float | None
    opening: Tick | None
    first: int
    end: Callable[[], None]


class NvmlMeter:
    """Measures one GPU, one window at a time."""

    name = "nvml"

    def __init__(
        self, *, gpu: int | str = 0, clock: Clock | None = None, driver: Driver | None = None
    ) -> None:
        """Touch nothing yet.

        Args:
            gpu: N of "cuda:N", or a UUID.
            clock: what times the samples; by default the host's.
            driver: what calls for them during the window; by default a thread.
        """
        self._wanted = gpu
        self._clock = clock or HostClock()
        self._driver = driver or ThreadDriver()
        self._open: _Open | None = None
        self._company: State | None = None

    def probe(self) -> Capability:
        """Return whether it can measure here, without side effects; never raises."""
        try:
            gpu, source = _connect(self._wanted)
        except MissingError as missing:
            return missing.capability(self.name)
        try:
            facts = gpu.facts()
        except GpuLostError:
            return lost_gpu().capability(self.name)
        finally:
            gpu.close()
        facts |= {
            "energy_field": source.counter.number,
            "energy_scope": "module" if source.is_module else "gpu",
            "power": source.power_name if source.power else None,
        }
        return Capability(meter=self.name, available=True, facts=facts)

    def close(self) -> None:
        """End a window that is still open, and forget which processes belonged."""
        opened, self._open = self._open, None
        self._company = None
        if opened is not None:
            opened.end()
            opened.gpu.close()

    def start(self) -> None:
        """Open a window at a tick of the energy counter, within two of its periods.

        The processes that are on the GPU when the first window opens, our own context among them,
        are those that belong, until the meter is closed.

        Raises:
            MissingError: the meter cannot measure here.
        """
        assert self._open is None, "a window is open already"
        gpu, source = _connect(self._wanted)
        try:
            self._open = self._begin(gpu, source)
        except GpuLostError:
            raise lost_gpu() from None
        finally:
            if self._open is None:
                gpu.close()

    def _begin(self, gpu: Gpu, source: Source) -> _Open:
        limit = gpu.number("nvmlDeviceGetEnforcedPowerLimit")
        sampler = Sampler(gpu, source=source, clock=self._clock)
        before = sampler.await_tick(timeout_s=_OPEN_TIMEOUT_S)
        sampler.observe()
        opening = sampler.await_tick(timeout_s=_OPEN_TIMEOUT_S) if before else None
        if "gpu_lost" in sampler.faults:
            raise GpuLostError
        if not sampler.samples:
            raise MissingError(
                code="read_failed",
                reason=f"{gpu.name} stopped answering for its energy counter",
                fix="try again; see whether nvidia-smi works",
            )
        return _Open(
            gpu=gpu,
            limit_w=limit if isinstance(limit, Absent) else limit / 1e3,
            source=source,
            sampler=sampler,
            period_s=(opening.at_ns - before.at_ns) / 1e9 if before and opening else None,
            opening=opening,
            first=len(sampler.samples) - 1,
            end=self._driver.drive(sampler.poll, every_s=POLL_S),
        )

    def stop(self) -> Measurement:
        """Close the window at the next tick of the energy counter."""
        opened, self._open = self._open, None
        assert opened is not None, "no window is open"
        called_ns = self._clock.now_ns()
        opened.end()
        # One period more than a counter may stand still, so that a stuck one shows as such.
        patience_s = (STUCK_PERIODS + 1) * (opened.period_s or 0)
        closing = opened.sampler.await_tick(timeout_s=patience_s)
        opened.sampler.observe()
        opened.gpu.close()
        window = Window(
            samples=opened.sampler.samples[opened.first :],
            states=opened.sampler.states,
            source=opened.source,
            period_s=opened.period_s,
            opening=opened.opening,
            closing=closing,
            faults=frozenset(opened.sampler.faults),
            before=self._company,
        )
        self._company = self._company or next(iter(window.states), None)
        return Measurement(
            start_ns=window.start_ns,
            stop_ns=window.stop_ns,
            readings=window_readings(
                window, device=opened.gpu.name, limit_w=opened.limit_w, called_ns=called_ns
            ),
            series=window_series(window),
        )


def _connect(wanted: int | str) -> tuple[Gpu, Source]:
    """Open the GPU and find its energy counter.

    Raises:
        MissingError: there is none.
    """
    gpu = open_gpu(wanted)
    try:
        return gpu, find_source(gpu)
    except GpuLostError:
        gpu.close()
        raise lost_gpu() from None
    except MissingError:
        gpu.close()
        raise
