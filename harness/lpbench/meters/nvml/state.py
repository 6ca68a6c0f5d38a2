"""What besides power decides whether a window counts: clocks, heat, slowdowns, who is there.

Owns: the state of the GPU at one time, and how it is read.
Must not know: energy, windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lpbench.meters.nvml.absent import Absent
from lpbench.meters.nvml.device import Field, Gpu

THERMAL_COUNTERS = (75, 269, 270)
"""Thermal policy, software and hardware thermal slowdown: time held back, accumulated.

269 to 271 are so since driver 580.82; 575 to 580.65 had them at 251 to 253 (nvidia-ml-py
13.580.65 against 13.580.82). There 75 and the bits of the samples stand alone.
"""
HW_COUNTERS = (271,)
"""Power brake."""
OTHER_COUNTERS = (74, 76, 77, 78, 79, 80, 81)
"""Power cap, sync boost, board limit, low utilisation, reliability, application and base clocks:
kept in the series, but no fault. Units differ between them and are not documented."""

POWER_CAP_BIT, THERMAL_BITS, HW_BITS = 0x4, 0x60, 0x88
"""nvmlClocksEventReason*: power cap; software and hardware thermal; hardware slowdown and brake."""

EVENTS = {
    74: "sw_power_cap",
    75: "thermal_policy",
    76: "sync_boost",
    77: "board_limit",
    78: "low_utilisation",
    79: "reliability",
    80: "application_clocks",
    81: "base_clocks",
    269: "sw_thermal_slowdown",
    270: "hw_thermal_slowdown",
    271: "hw_power_brake",
}
"""What each of them counts."""

_COUNTERS = (*THERMAL_COUNTERS, *HW_COUNTERS, *OTHER_COUNTERS)
_FIELDS = (*(Field(number) for number in _COUNTERS), Field(82))
_GPU_SENSOR, _SM_CLOCK, MEMORY_CLOCK = 0, 1, 2
"""nvmlTemperatureSensors_t, nvmlClockType_t."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The GPU at one time.

    Attributes:
        at_ns: when the read began, on the monotonic clock.
        sm_clock_mhz: of the streaming multiprocessors.
        memory_clock_mhz: of the memory.
        gpu_temperature_c: temperature of the chip, in degrees Celsius.
        memory_temperature_c: temperature of the memory.
        counters: accumulated event reasons by field number; only their differences count.
        reasons: the event reasons in force, as bits.
        processes: ids of the processes on the GPU.
    """

    at_ns: int
    sm_clock_mhz: float | Absent
    memory_clock_mhz: float | Absent
    gpu_temperature_c: float | Absent
    memory_temperature_c: float | Absent
    counters: Mapping[int, float | Absent]
    reasons: int | Absent
    processes: tuple[int, ...] | Absent


def read_state(gpu: Gpu, *, at_ns: int) -> State:
    """Read all of it.

    Raises:
        GpuLostError: the GPU is lost.
    """
    *counters, memory_temperature_c = gpu.fields(_FIELDS)
    gpu_temperature_c = gpu.number("nvmlDeviceGetTemperatureV", _GPU_SENSOR)
    if gpu_temperature_c == Absent("missing_symbol"):  # drivers before 570
        gpu_temperature_c = gpu.number("nvmlDeviceGetTemperature", _GPU_SENSOR)
    return State(
        at_ns=at_ns,
        sm_clock_mhz=gpu.number("nvmlDeviceGetClockInfo", _SM_CLOCK),
        memory_clock_mhz=gpu.number("nvmlDeviceGetClockInfo", MEMORY_CLOCK),
        gpu_temperature_c=gpu_temperature_c,
        memory_temperature_c=memory_temperature_c,
        counters=dict(zip(_COUNTERS, counters, strict=True)),
        reasons=gpu.number("nvmlDeviceGetCurrentClocksEventReasons"),
        processes=gpu.processes(),
    )
