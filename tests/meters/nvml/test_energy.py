from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.meters.nvml import energy
from lpbench.meters.nvml.energy import Sample, Tick

MS = 1_000_000


def samples(*rows: tuple[float, int, float | None]) -> list[Sample]:
    """Return reads of 2 ms from (middle in ms, counter in mJ, power in W)."""
    return [
        Sample(
            begin_ns=round((at - 1) * MS),
            end_ns=round((at + 1) * MS),
            counter_mj=counter,
            power_w=power,
        )
        for at, counter, power in rows
    ]


def test_a_tick_lies_between_the_reads_that_enclose_it() -> None:
    """From the begin of the read before to the end of the one that saw it; the middle is its time.

    Reads at 10 and 20 ms that each take 2 ms leave 9 to 21 ms.
    """
    before, after = samples((10, 5, None), (20, 8, None))
    tick = energy.tick_between(before, after)
    assert Tick(early_ns=9 * MS, late_ns=21 * MS, counter_mj=8) == tick
    assert (15 * MS, 0.006) == (tick.at_ns, tick.half_s)
    assert energy.tick_between(before, before) is None


def test_the_first_tick_after_a_time_is_surely_after_it() -> None:
    """A tick whose reads lie astride the time is passed over."""
    reads = samples((10, 0, None), (20, 1, None), (30, 2, None))
    assert 2 == getattr(energy.first_tick(reads, from_ns=15 * MS), "counter_mj", None)
    assert energy.first_tick(reads, from_ns=25 * MS) is None


def test_a_fall_of_the_counter_counts_nothing() -> None:
    """5 J, then a reset, then 2 J: 7 J were seen, and that it fell."""
    reads = samples((0, 1000, None), (10, 6000, None), (20, 0, None), (30, 2000, None))
    assert 7.0 == energy.counted_j(reads)
    assert energy.fell(reads)
    assert not energy.fell(reads[:2])


def test_standing_still_is_timed_from_the_end_of_a_read_to_the_begin_of_another() -> None:
    """The counter is equal in reads at 20 and 50 ms: for the 28 ms between them, surely."""
    reads = samples((0, 1, None), (20, 2, None), (50, 2, None), (60, 3, None))
    assert 0.028 == pytest.approx(energy.longest_still_s(reads))


def test_mean_power_interpolates_at_the_edges() -> None:
    """A ramp of 1 W/ms read at 0, 40 and 100 ms has its mean in the middle of any span."""
    reads = samples((0, 0, 0.0), (40, 0, 40.0), (100, 0, 100.0))
    found = energy.mean_power_w(reads, start_ns=10 * MS, stop_ns=90 * MS)
    assert 50.0 == pytest.approx(found)


def test_mean_power_needs_reads_and_a_span() -> None:
    """None without a read of power, and between equal edges; one read is held."""
    assert energy.mean_power_w(samples((0, 0, None)), start_ns=0, stop_ns=MS) is None
    assert energy.mean_power_w(samples((0, 0, 5.0)), start_ns=MS, stop_ns=MS) is None
    assert 5.0 == energy.mean_power_w(samples((0, 0, 5.0)), start_ns=0, stop_ns=MS)


def test_peak_power_is_over_the_reads_that_have_it() -> None:
    """Reads without power do not count; None where all are such."""
    reads = samples((0, 0, None), (1, 0, 7.0), (2, 0, 3.0))
    assert 7.0 == energy.peak_power_w(reads)
    assert energy.peak_power_w(reads[:1]) is None


@given(
    watts=st.floats(1, 1000),
    at=st.lists(st.integers(0, 10_000), min_size=2, max_size=50, unique=True).map(sorted),
)
def test_constant_power_has_that_mean_however_it_is_sampled(
    watts: float, at: Sequence[int]
) -> None:
    """The trapezoid rule is exact for a constant, over any reads and any span."""
    reads = samples(*((each, 0, watts) for each in at))
    found = energy.mean_power_w(reads, start_ns=0, stop_ns=10_000 * MS)
    assert watts == pytest.approx(found)
