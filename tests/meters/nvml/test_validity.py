from dataclasses import replace

from lpbench.meters.nvml.device import Field
from lpbench.meters.nvml.energy import Sample, Tick
from lpbench.meters.nvml.source import Source
from lpbench.meters.nvml.state import HW_COUNTERS, THERMAL_COUNTERS, State
from lpbench.meters.nvml.validity import Window, window_faults

S = 1_000_000_000
STATE = State(
    at_ns=0,
    sm_clock_mhz=1980,
    memory_clock_mhz=2619,
    gpu_temperature_c=60,
    memory_temperature_c=60,
    counters=dict.fromkeys((*THERMAL_COUNTERS, *HW_COUNTERS), 0),
    reasons=0,
    processes=(1,),
)


def window(*state_seconds: float) -> Window:
    """Return 12 s at 100 W, counted every 0.1 s; the state was read at these times."""
    at = [tenth * S // 10 for tenth in range(121)]
    samples = [Sample(begin_ns=ns, end_ns=ns, counter_mj=ns // 10_000, power_w=100.0) for ns in at]
    first, last = (
        Tick(early_ns=sample.begin_ns, late_ns=sample.end_ns, counter_mj=sample.counter_mj)
        for sample in (samples[0], samples[-1])
    )
    return Window(
        samples=samples,
        states=[replace(STATE, at_ns=round(seconds * S)) for seconds in state_seconds],
        source=Source(counter=Field(83), power=Field(186)),
        period_s=0.1,
        opening=first,
        closing=last,
        faults=frozenset(),
    )


def test_a_sampler_that_rested_voids_the_window() -> None:
    """2 s between reads of the state are allowed, more are a gap."""
    assert () == window_faults(window(0, 2, 4, 6, 8, 10, 12))
    assert ("sampling_gap",) == window_faults(window(0, 2, 4, 6.1, 8, 10, 12))


def test_power_that_was_hardly_read_checks_nothing() -> None:
    """One read held for 12 s is no integral, nor is one with a hole of 3 s."""
    sound = window(0, 2, 4, 6, 8, 10, 12)
    for kept in (range(1), [*range(40), *range(70, 121)]):
        read = [
            one if at in kept else replace(one, power_w=None)
            for at, one in enumerate(sound.samples)
        ]
        assert ("no_cross_check",) == window_faults(replace(sound, samples=read))


def test_codes_add_up() -> None:
    """Faults of reading and of the window's length stand beside each other, in order."""
    long = window(0, 2, 4, 6, 8, 10, 12)
    short = replace(long, samples=long.samples[:51], closing=None, faults=frozenset({"gpu_lost"}))
    assert ("gpu_lost", "too_short") == window_faults(short)
