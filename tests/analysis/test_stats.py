"""Intervals of medians and paired ratios, against the binomial law and by simulation."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.analysis.stats import (
    Interval,
    median_interval,
    paired_effect,
    paired_process_effect,
    process_effect,
    sign_flip_p,
)


def test_the_interval_of_eight_values_is_their_range() -> None:
    """P(Binomial(8, 1/2) = 0) twice is 1/128; leaving out one value more would miss 7 %."""
    expected = Interval(low=1, high=8, coverage=1 - 2 / 256)
    assert expected == median_interval([3, 1, 8, 2, 7, 5, 4, 6])


def test_the_interval_of_many_values_leaves_the_edges_out() -> None:
    """Of 20 values the 6th to the 15th hold the median with 95.9 % (a table in any textbook)."""
    found = median_interval(range(1, 21))
    assert found is not None
    assert (6, 15) == (found.low, found.high)
    assert pytest.approx(0.9586, abs=1e-4) == found.coverage


@pytest.mark.parametrize("count", range(6))
def test_fewer_than_six_values_have_no_interval(count: int) -> None:
    """Five values miss the median in 2/32 of all cases even with their whole range."""
    assert median_interval([1.0] * count) is None


@pytest.mark.parametrize("skewed", [False, True])
def test_the_interval_holds_the_median_as_often_as_it_says(*, skewed: bool) -> None:
    """1,500 drawn samples of 11, normal and log-normal: coverage within 1 % of what is stated."""
    drawn = random.Random(0)
    held, stated = 0, 0.0
    for _ in range(1500):
        values = [drawn.gauss(0, 1) for _ in range(11)]
        found = median_interval([math.exp(2 * v) for v in values] if skewed else values)
        assert found is not None
        held += found.low <= (1 if skewed else 0) <= found.high
        stated = found.coverage
    assert pytest.approx(stated, abs=0.01) == held / 1500


def test_a_drift_that_hits_both_arms_alike_cancels() -> None:
    """Blocks that grow by half each, the candidate always 10 % below: exactly 0.9."""
    baseline = [100 * 1.5**at for at in range(8)]
    effect = paired_effect(baseline, [0.9 * value for value in baseline])
    assert pytest.approx(0.9) == effect.ratio
    assert effect.interval is not None
    assert pytest.approx((0.9, 0.9)) == (effect.interval.low, effect.interval.high)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30))
def test_an_effect_and_its_inverse_agree(ratios: list[float]) -> None:
    """Which arm is called the baseline changes the sign of the logarithm, nothing else."""
    ones = [1.0] * len(ratios)
    there, back = paired_effect(ones, ratios), paired_effect(ratios, ones)
    assert pytest.approx(1 / there.ratio) == back.ratio


def test_fewer_than_six_processes_have_no_effect_to_state() -> None:
    """On either side, and for pairs."""
    assert None is process_effect([1.0] * 5, [1.0] * 9)
    assert None is process_effect([1.0] * 9, [1.0] * 5)
    assert None is paired_process_effect([1.0] * 5)


def test_an_effect_by_hand() -> None:
    """Six logarithms of 0 and six around log 1.1: Welch's degrees are those of the noisy side."""
    spread = [-0.02, -0.01, 0.0, 0.0, 0.01, 0.02]
    found = process_effect([1.0] * 6, [1.1 * math.exp(one) for one in spread])
    assert found is not None
    error = math.sqrt(0.001 / 5 / 6)
    assert pytest.approx(1.1) == found.ratio
    assert pytest.approx(1.1 * math.exp(-2.5706 * error), rel=1e-5) == found.low
    assert pytest.approx(1.1 * math.exp(2.5706 * error), rel=1e-5) == found.high
    assert pytest.approx(math.exp((2.5706 + 0.9195) * error), rel=1e-5) == found.detectable
    assert (6, 6) == found.processes


def test_values_without_noise_have_no_width() -> None:
    """Every process the same: the interval is a point, and any change would be seen."""
    found = process_effect([2.0] * 6, [3.0] * 7)
    assert found is not None
    assert pytest.approx((1.5, 1.5, 1.5, 1.0)) == (
        found.ratio,
        found.low,
        found.high,
        found.detectable,
    )


@pytest.mark.parametrize("unequal", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(*, unequal: bool) -> None:
    """1,500 campaigns of 6 and 8 processes at a true ratio of 1.03: 95 % within 1 point."""
    drawn = random.Random(1)
    held = 0
    for _ in range(1500):
        before = [math.exp(drawn.gauss(0, 0.02)) for _ in range(6)]
        after = [1.03 * math.exp(drawn.gauss(0, 0.05 if unequal else 0.02)) for _ in range(8)]
        found = process_effect(before, after)
        assert found is not None
        held += found.low <= 1.03 <= found.high
    assert pytest.approx(0.95, abs=0.01) == held / 1500


def test_what_is_detectable_is_detected_four_times_in_five() -> None:
    """At that very effect the interval leaves out 1 in about 80 % of campaigns."""
    drawn = random.Random(2)
    size = 0.02 * math.sqrt(2 / 6)
    effect = math.exp((2.228 + 0.879) * size)
    seen = 0
    for _ in range(1500):
        before = [math.exp(drawn.gauss(0, 0.02)) for _ in range(6)]
        after = [effect * math.exp(drawn.gauss(0, 0.02)) for _ in range(6)]
        found = process_effect(before, after)
        assert found is not None
        seen += found.low > 1
    assert pytest.approx(0.8, abs=0.03) == seen / 1500


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.1] * 6, 2 / 64),
        ([1.0] * 6, 1.0),
        ([1.1, 1 / 1.1], 1.0),
        ([2.0, 1.5, 1.1, 0.99], 4 / 16),
    ],
)
def test_sign_flips_are_counted(ratios: list[float], expected: float) -> None:
    """Of six equal changes two of 64 patterns are as far from nothing: all up and all down."""
    assert expected == sign_flip_p(ratios)


def test_many_ratios_draw_their_flips() -> None:
    """Of 40 equal changes no drawn pattern is as far; of no change all are; the same every time."""
    assert 0 < sign_flip_p([1.1] * 40) < 1e-3
    assert 1.0 == sign_flip_p([1.0] * 40)
    mixed = [1.01, 0.99, 1.02, 1.0] * 5
    assert sign_flip_p(mixed) == sign_flip_p(mixed)
