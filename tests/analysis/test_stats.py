"""Intervals of medians and paired ratios, against the binomial law and by simulation."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.analysis.stats import Interval, median_interval, paired_effect


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
    """4,000 drawn samples of 11, normal and log-normal: coverage within 1 % of what is stated."""
    drawn = random.Random(0)
    held, stated = 0, 0.0
    for _ in range(4000):
        values = [drawn.gauss(0, 1) for _ in range(11)]
        found = median_interval([math.exp(2 * v) for v in values] if skewed else values)
        assert found is not None
        held += found.low <= (1 if skewed else 0) <= found.high
        stated = found.coverage
    assert pytest.approx(stated, abs=0.01) == held / 4000


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
