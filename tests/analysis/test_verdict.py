import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.analysis.verdict import judge, judge_exact

DELTA = 0.01
RATIOS = st.floats(0.01, 100)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 1.0, "same"),
        (0.995, 1.005, "same"),
        (0.9901, 1.0099, "same"),
        (0.5, 0.98, "better"),
        (1.02, 3.0, "worse"),
        (0.98, 1.0, "undecided"),
        (1.0, 1.02, "undecided"),
        (1.005, 1.02, "undecided"),
        (0.5, 2.0, "undecided"),
    ],
)
def test_an_interval_becomes_a_verdict(low: float, high: float, expected: str) -> None:
    """All within 1 % is the same, all beyond is better or worse, what straddles is undecided."""
    assert expected == judge(low, high, delta=DELTA)


@given(one=RATIOS, other=RATIOS)
def test_turned_round_better_is_worse(one: float, other: float) -> None:
    """The verdict on B against A is the verdict on A against B, seen from the other side."""
    turned = {"better": "worse", "worse": "better", "same": "same", "undecided": "undecided"}
    low, high = sorted((one, other))
    edge = math.log1p(DELTA)
    if min(abs(abs(math.log(value)) - edge) for value in (low, high)) < 1e-9:
        return  # at the edge rounding decides
    assert turned[judge(low, high, delta=DELTA)] == judge(1 / high, 1 / low, delta=DELTA)


@given(one=RATIOS, other=RATIOS, wider=st.floats(1, 2))
def test_a_wider_interval_never_decides_otherwise(one: float, other: float, wider: float) -> None:
    """It says the same or nothing."""
    low, high = sorted((one, other))
    assert judge(low / wider, high * wider, delta=DELTA) in {
        judge(low, high, delta=DELTA),
        "undecided",
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(5, 5, "same"), (5, 4.999, "better"), (5, 5.001, "worse"), (0, 0, "same"), (0, 1, "worse")],
)
def test_figures_without_noise(before: float, after: float, expected: str) -> None:
    """However small the difference."""
    assert expected == judge_exact(before, after)
