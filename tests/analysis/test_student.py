"""Student's t against published tables and its closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.analysis.student import t_below, t_quantile

TABLE = (
    (0.90, 1, 3.078),
    (0.975, 1, 12.706),
    (0.975, 2, 4.303),
    (0.975, 5, 2.571),
    (0.95, 6, 1.943),
    (0.975, 10, 2.228),
    (0.995, 10, 3.169),
    (0.975, 30, 2.042),
    (0.999, 120, 3.160),
    (0.975, 1e7, 1.960),
)
"""Probability, degrees, value to three digits (NIST Handbook, 1.3.6.7.2)."""


@pytest.mark.parametrize(("probability", "degrees", "expected"), TABLE)
def test_quantiles_are_those_of_the_table(
    probability: float, degrees: float, expected: float
) -> None:
    """On either side of the middle."""
    assert pytest.approx(expected, abs=5.1e-4) == t_quantile(probability, degrees)
    assert pytest.approx(-expected, abs=5.1e-4) == t_quantile(1 - probability, degrees)


@given(value=st.floats(-1e3, 1e3))
def test_one_and_two_degrees_have_closed_forms(value: float) -> None:
    """Cauchy's arc tangent, and a root."""
    assert pytest.approx(0.5 + math.atan(value) / math.pi, abs=1e-12) == t_below(value, 1)
    closed = 0.5 + value / (2 * math.sqrt(2 + value * value))
    assert pytest.approx(closed, abs=1e-12) == t_below(value, 2)


@given(probability=st.floats(1e-6, 1 - 1e-6), degrees=st.floats(0.7, 1e4))
def test_the_quantile_undoes_the_distribution(probability: float, degrees: float) -> None:
    """For fractions of degrees too, as Welch's are."""
    value = t_quantile(probability, degrees)
    assert pytest.approx(probability, rel=1e-6, abs=1e-9) == t_below(value, degrees)


def test_the_middle_is_zero() -> None:
    """The distribution is even."""
    assert pytest.approx(0, abs=1e-12) == t_quantile(0.5, 3)
