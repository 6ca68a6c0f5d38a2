"""Which windows count: the log of a window against every known fault.

Owns: the codes, and what earns them.
Must not know: NVML's calls, how readings are written.

A code voids the window: its energy and power stay in the record, invalid.

    energy_counter_stuck  no tick where one was awaited, or the counter stood still for more than
                          STUCK_PERIODS of its own periods
    energy_counter_reset  the counter went back
    energy_disagreement   counter and integral of power differ by more than 5 % of the integral
    no_cross_check        NVML gives no power to check the counter with, or none for 2 s
    gpu_lost              the GPU fell off the bus; the value is what was counted until then
    read_failed           a read gave no counter
    thermal_slowdown      a thermal counter moved, or a sample shows its bits
    hw_slowdown           so for the power brake and other slowdowns by the hardware
    throttle_unknown      neither those counters nor the bits can be read
    foreign_process       the processes on the GPU were not the same throughout
    processes_unknown     they cannot be read
    sampling_gap          the state was not read for 2 s: the sampler did not get to run, and a
                          process may have come and gone
    module_scope          the counter counts the host processor too
    too_short             less than 10 s or fewer than 30 ticks: alignment, sensor and temperature
                          have not averaged out

A software power cap is normal at full load: it is reported, and voids nothing. What cannot be
found out from within: a counter that is wrong in the same way as the sensor, such as one that
shares its duty cycle; many forwards a window and random offsets are what helps there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lpbench.meters.nvml import energy
from lpbench.meters.nvml.absent import Absent
from lpbench.meters.nvml.energy import Sample, Tick
from lpbench.meters.nvml.source import Source
from lpbench.meters.nvml.state import HW_BITS, HW_COUNTERS, THERMAL_BITS, THERMAL_COUNTERS, State

AGREEMENT, MIN_WINDOW_S, MIN_TICKS, STUCK_PERIODS, MAX_GAP_S = 0.05, 10.0, 30, 3, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The log of one window.

    Attributes:
        samples: from the one that saw the opening tick to the one that saw the closing tick.
        states: from before the opening tick to after the closing one.
        source: the fields that served.
        period_s: the counter's, as seen before the window; None if it never ticked.
        opening: the tick at the first edge; None if none came.
        closing: the tick at the last edge; None if none came.
        faults: what went wrong with reading: gpu_lost, read_failed.
    """

    samples: Sequence[Sample]
    states: Sequence[State]
    source: Source
    period_s: float | None
    opening: Tick | None
    closing: Tick | None
    faults: frozenset[str]
    before: State | None = None

    @property
    def start_ns(self) -> int:
        """The first edge: the opening tick, else the first sample."""
        return self.opening.at_ns if self.opening else self.samples[0].begin_ns

    @property
    def stop_ns(self) -> int:
        """The last edge: the closing tick, else the last sample."""
        return self.closing.at_ns if self.closing else self.samples[-1].end_ns

    @property
    def seconds(self) -> float:
        """From edge to edge."""
        return (self.stop_ns - self.start_ns) / 1e9


def window_faults(window: Window) -> tuple[str, ...]:
    """Return the codes that void the window, in alphabetical order; none for a sound one."""
    codes = set(window.faults)
    codes |= _counter_faults(window)
    codes |= _disagreement(window)
    codes |= _slowdowns(window.states)
    states = [window.before, *window.states] if window.before else window.states
    codes |= process_faults(state.processes for state in states)
    if any(b.at_ns - a.at_ns > MAX_GAP_S * 1e9 for a, b in pairwise(window.states)):
        codes.add("sampling_gap")
    if window.source.is_module:
        codes.add("module_scope")
    return tuple(sorted(codes))


def _counter_faults(window: Window) -> set[str]:
    codes: set[str] = set()
    if energy.fell(window.samples):
        codes.add("energy_counter_reset")
    period_s = window.period_s or 0
    is_unclosed = window.closing is None and "gpu_lost" not in window.faults
    stood_still = energy.longest_still_s(window.samples) > STUCK_PERIODS * period_s
    if not period_s or is_unclosed or stood_still:
        codes.add("energy_counter_stuck")
    if window.seconds < max(MIN_WINDOW_S, MIN_TICKS * period_s):
        codes.add("too_short")
    return codes


def _disagreement(window: Window) -> set[str]:
    """Compare mean powers: from the first tick on that a lagging power has caught up with."""
    if window.source.power is None:
        return {"no_cross_check"}
    lag_ns = round(window.source.lag_s * 1e9)
    first = window.opening
    if lag_ns:
        first = energy.first_tick(window.samples, from_ns=window.start_ns + lag_ns)
    if first is None or first.at_ns >= window.stop_ns:
        return {"energy_disagreement"}
    after = [sample for sample in window.samples if sample.end_ns >= first.late_ns]
    seconds = (window.stop_ns - first.at_ns) / 1e9
    by_counter = energy.counted_j(after) / seconds
    by_power = energy.mean_power_w(window.samples, start_ns=first.at_ns, stop_ns=window.stop_ns)
    gap_s = energy.longest_power_gap_s(window.samples, start_ns=first.at_ns, stop_ns=window.stop_ns)
    if by_power is None or gap_s > MAX_GAP_S:
        return {"no_cross_check"}
    return {"energy_disagreement"} if abs(by_counter - by_power) > AGREEMENT * by_power else set()


def _slowdowns(states: Sequence[State]) -> set[str]:
    found = (
        _slowdown(states, counters=THERMAL_COUNTERS, bits=THERMAL_BITS, code="thermal_slowdown"),
        _slowdown(states, counters=HW_COUNTERS, bits=HW_BITS, code="hw_slowdown"),
    )
    return {code for code in found if code is not None}


def _slowdown(
    states: Sequence[State], *, counters: Sequence[int], bits: int, code: str
) -> str | None:
    """Return the code if it was slowed down, throttle_unknown if nobody can tell."""
    histories = [[state.counters[counter] for state in states] for counter in counters]
    known = [values for values in histories if not any(isinstance(v, Absent) for v in values)]
    if any(len(set(values)) > 1 for values in known):
        return code
    reasons = [state.reasons for state in states if not isinstance(state.reasons, Absent)]
    if any(reason & bits for reason in reasons):
        return code
    return None if known or len(reasons) == len(states) else "throttle_unknown"


def process_faults(looks: Iterable[tuple[int, ...] | Absent]) -> set[str]:
    """Return whether the processes on the GPU changed between looks, or are not known, as codes."""
    seen = set(looks)
    if any(isinstance(each, Absent) for each in seen):
        return {"processes_unknown"}
    return {"foreign_process"} if len(seen) > 1 else set()
