"""DRAM bandwidth through NVML's GPM: a coarse witness that needs no profiling rights.

Owns: the two samples of a window and what they come to.
Must not know: whose work is measured.

    dram_bandwidth_utilisation  ratio  NVML_GPM_METRIC_DRAM_BW_UTIL over the window
    dram_bytes_gpm              B      that x peak bandwidth x the window's length

Peak bandwidth is 2 x memory clock x bus width / 8, for two transfers a clock (CUDA samples,
deviceQuery). An H100 SXM: 2 x 2619 MHz x 5120 bit / 8 = 3.35 TB/s. GPM gives whole per cents, so
half a per cent of the peak is the uncertainty. Reads and writes are not told apart. Void are
windows with other processes at their edges (foreign_process, processes_unknown), with another
memory clock (memory_clock), or above the peak (impossible_bandwidth).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lpbench.meters.clocks import Clock, HostClock
from lpbench.meters.meter import Capability, Measurement
from lpbench.meters.nvml.absent import Absent, GpuLostError, MissingError, lost_gpu
from lpbench.meters.nvml.device import Gpu, absent, open_gpu
from lpbench.meters.nvml.readings import measured
from lpbench.meters.nvml.state import MEMORY_CLOCK, State, read_state
from lpbench.meters.nvml.validity import process_faults
from lpbench.record.schema import Reading

_DRAM_BW_UTIL = 10
_STEP = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """One edge: GPM's sample, which NVML owns, when it was taken, and what the GPU was like."""

    sample: Any
    at_ns: int
    state: State


class GpmMeter:
    """Measures one GPU, one window at a time."""

    name = "gpm"

    def __init__(self, *, gpu: int | str = 0, clock: Clock | None = None) -> None:
        """Touch nothing yet.

        Args:
            gpu: N of "cuda:N", or a UUID.
            clock: what times the edges; by default the host's.
        """
        self._wanted = gpu
        self._clock = clock or HostClock()
        self._open: tuple[Gpu, _Edge] | None = None

    def probe(self) -> Capability:
        """Return whether it can measure here, without side effects; never raises."""
        try:
            gpu = _connect(self._wanted)
        except MissingError as missing:
            return missing.capability(self.name)
        try:
            peak = _peak_bytes_per_s(gpu)
            facts = gpu.facts()
        except GpuLostError:
            return lost_gpu().capability(self.name)
        finally:
            gpu.close()
        facts["peak_bytes_per_s"] = None if isinstance(peak, Absent) else peak
        return Capability(meter=self.name, available=True, facts=facts)

    def close(self) -> None:
        """End a window that is still open."""
        opened, self._open = self._open, None
        if opened is not None:
            gpu, first = opened
            with suppress(GpuLostError):
                _free(gpu, first)
            gpu.close()

    def start(self) -> None:
        """Open a window now.

        Raises:
            MissingError: the meter cannot measure here.
        """
        assert self._open is None, "a window is open already"
        gpu = _connect(self._wanted)
        try:
            self._open = gpu, self._edge(gpu)
        except GpuLostError:
            raise lost_gpu() from None
        finally:
            if self._open is None:
                gpu.close()

    def stop(self) -> Measurement:
        """Close the window now."""
        opened, self._open = self._open, None
        assert opened is not None, "no window is open"
        gpu, first = opened
        utilisation: float | Absent = Absent("gpu_lost")
        peak: float | Absent = Absent("gpu_lost")
        edges, reasons = [first], ["gpu_lost"]
        stop_ns = self._clock.now_ns()
        with suppress(GpuLostError):
            edges.append(last := self._edge(gpu))
            stop_ns = last.at_ns
            utilisation = _utilisation(gpu, first=first, last=last)
            peak = _peak_bytes_per_s(gpu)
            reasons = _faults(first.state, last.state)
        with suppress(GpuLostError):
            _free(gpu, *edges)
        gpu.close()
        readings = _readings(
            utilisation=utilisation,
            full=peak if isinstance(peak, Absent) else peak * (stop_ns - first.at_ns) / 1e9,
            reasons=reasons,
            source=f"gpm: {gpu.name}",
        )
        return Measurement(start_ns=first.at_ns, stop_ns=stop_ns, readings=readings)

    def _edge(self, gpu: Gpu) -> _Edge:
        """Read the state and take a sample."""
        state = read_state(gpu, at_ns=self._clock.now_ns())
        sample = gpu.call("nvmlGpmSampleAlloc")
        at_ns = self._clock.now_ns()
        if not isinstance(sample, Absent):
            taken = gpu.ask("nvmlGpmSampleGet", sample)
            if isinstance(taken, Absent):
                gpu.call("nvmlGpmSampleFree", sample)
                sample = taken
        return _Edge(sample=sample, at_ns=at_ns, state=state)


def _free(gpu: Gpu, *edges: _Edge) -> None:
    for edge in edges:
        if not isinstance(edge.sample, Absent):
            gpu.call("nvmlGpmSampleFree", edge.sample)


def _readings(
    *, utilisation: float | Absent, full: float | Absent, reasons: Sequence[str], source: str
) -> dict[str, Reading]:
    """Return both readings; `full` is the bytes of the window at peak bandwidth."""
    half = _STEP / 2
    is_impossible = not isinstance(utilisation, Absent) and utilisation > 1
    reasons = sorted([*reasons, "impossible_bandwidth"] if is_impossible else reasons)
    if isinstance(utilisation, Absent):
        moved: float | Absent = utilisation
    else:
        moved = full if isinstance(full, Absent) else utilisation * full
    return {
        "dram_bandwidth_utilisation": measured(
            utilisation, unit="ratio", source=source, uncertainty=half, reasons=reasons
        ),
        "dram_bytes_gpm": measured(
            moved,
            unit="B",
            source=source,
            uncertainty=None if isinstance(full, Absent) else half * full,
            reasons=reasons,
        ),
    }


def _connect(wanted: int | str) -> Gpu:
    """Open the GPU if it has GPM.

    Raises:
        MissingError: there is no such GPU, or it has none.
    """
    gpu = open_gpu(wanted)
    try:
        support = gpu.ask("nvmlGpmQueryDeviceSupport")
    except GpuLostError:
        gpu.close()
        raise lost_gpu() from None
    if not isinstance(support, Absent) and support.isSupportedDevice:
        return gpu
    gpu.close()
    if support == Absent("missing_symbol"):
        raise MissingError(
            code="missing_symbol",
            reason="the driver is too old: its library lacks nvmlGpmQueryDeviceSupport",
            fix="update the driver",
        )
    raise MissingError(
        code="not_supported",
        reason=f"{gpu.name} has no GPM, which came with Hopper",
        fix="use --meter cupti, or a GPU of Hopper or later",
    )


def _utilisation(gpu: Gpu, *, first: _Edge, last: _Edge) -> float | Absent:
    """Return the share of the peak between two samples.

    Raises:
        GpuLostError: the GPU is lost.
    """
    for edge in (first, last):
        if isinstance(edge.sample, Absent):
            return edge.sample
    asked = gpu.library.c_nvmlGpmMetricsGet_t()
    asked.version = gpu.library.NVML_GPM_METRICS_GET_VERSION
    asked.numMetrics = 1
    asked.sample1, asked.sample2 = first.sample, last.sample
    asked.metrics[0].metricId = _DRAM_BW_UTIL
    answer = gpu.call("nvmlGpmMetricsGet", asked)
    if isinstance(answer, Absent):
        return answer
    metric = answer.metrics[0]
    return absent(metric.nvmlReturn) if metric.nvmlReturn else metric.value / 100


def _peak_bytes_per_s(gpu: Gpu) -> float | Absent:
    """Return the peak DRAM bandwidth at the present memory clock.

    Raises:
        GpuLostError: the GPU is lost.
    """
    clock_mhz = gpu.number("nvmlDeviceGetClockInfo", MEMORY_CLOCK)
    width_bits = gpu.number("nvmlDeviceGetMemoryBusWidth")
    if isinstance(clock_mhz, Absent):
        return clock_mhz
    if isinstance(width_bits, Absent):
        return width_bits
    return 2 * clock_mhz * 1e6 * width_bits / 8


def _faults(first: State, last: State) -> list[str]:
    found = sorted(process_faults([first.processes, last.processes]))
    return found if first.memory_clock_mhz == last.memory_clock_mhz else [*found, "memory_clock"]
