"""The fit: known coefficients come back, what cannot be told stays, outliers do not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.bench.fit import Fitted, Floats, Model, fit

N = 400
TRUE = np.array([3.0, 0.02, 0.5])
WIDE = (np.zeros(3), np.full(3, 1e6))


def columns(seed: int = 0) -> Floats:
    """Return what three coefficients are multiplied by, in each measurement."""
    return np.random.default_rng(seed).uniform(0.1, 10, (N, 3)) * [1, 100, 3]


def linear(matrix: Floats) -> Model:
    """Return the model of a sum."""
    return lambda values: (matrix @ values, matrix)


def fitted(
    matrix: Floats, measured: Floats, *, start: Floats | None = None, correlated: int = 1
) -> Fitted:
    """Fit a sum, from ones unless told."""
    begin = np.ones(matrix.shape[1]) if start is None else start
    bounds = (np.zeros(len(begin)), np.full(len(begin), 1e6))
    return fit(linear(matrix), measured, begin, bounds=bounds, correlated=correlated)


def test_known_coefficients_come_back() -> None:
    """Without noise to nine digits, from a start that is off by orders of magnitude."""
    found = fitted(columns(), columns() @ TRUE)
    assert pytest.approx(TRUE, rel=1e-9) == found.values
    assert {} == found.kept


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0.01, 0.3))
def test_noise_stays_within_the_stated_errors(seed: int, noise: float) -> None:
    """Estimates are off by five standard errors at most, and these are the noise's."""
    matrix = columns(seed)
    factor = np.exp(np.random.default_rng(seed + 1).normal(0, noise, N))
    found = fitted(matrix, (matrix @ TRUE) * factor, start=TRUE)
    for index, error in found.errors.items():
        assert abs(found.values[index] - TRUE[index]) <= 5 * error
        assert error <= 2 * noise * TRUE[index]


def test_a_start_of_nothing_is_no_hindrance() -> None:
    """All zero, or one zero that a measurement hangs on alone: the fit begins elsewhere."""
    matrix = columns()
    matrix[0, :2] = 0
    for start in ([0.0, 0.0, 0.0], [1.0, 1.0, 0.0]):
        found = fitted(matrix, matrix @ TRUE, start=np.array(start))
        assert pytest.approx(TRUE, rel=1e-9) == found.values
        assert {} == found.kept


def test_zeros_that_cannot_be_told_apart_are_no_overflow() -> None:
    """Three columns in one ratio, from nothing: two stay at zero, the third takes it all up."""
    matrix = np.outer(np.linspace(1, 2, N), [1.0, 1e-6, 1e6])
    found = fitted(matrix, 5 * matrix[:, 0], start=np.zeros(3))
    assert 2 == len(found.kept)
    assert pytest.approx(5 * matrix[:, 0], rel=1e-6) == matrix @ found.values


def test_outliers_do_not_bend_it() -> None:
    """One measurement in ten takes ten times as long: the others' 2 % decide."""
    random = np.random.default_rng(1)
    measured = (columns() @ TRUE) * np.exp(random.normal(0, 0.02, N))
    measured[::10] *= 10
    assert pytest.approx(TRUE, rel=0.05) == fitted(columns(), measured).values


def test_what_does_the_same_is_not_told_apart() -> None:
    """Of two columns in one ratio one keeps its start value, and the other takes up the rest."""
    matrix = columns()
    matrix[:, 1] = 7 * matrix[:, 0]
    start = np.array([1.0, 0.1, 1.0])
    found = fitted(matrix, matrix @ TRUE, start=start)
    ((index, other),) = found.kept.items()
    assert {0, 1} == {index, other}
    assert start[index] == found.values[index]
    assert pytest.approx(matrix @ TRUE, rel=1e-6) == matrix @ found.values


def test_what_nothing_depends_on_is_kept() -> None:
    """A column of zeros: no measurement says a word about it."""
    matrix = columns()
    matrix[:, 2] = 0
    found = fitted(matrix, matrix @ TRUE, start=np.array([1.0, 1.0, 42.0]))
    assert {2: None} == found.kept
    assert 42 == found.values[2]


def test_bounds_hold() -> None:
    """What would have to be below zero is zero; at a bound a value counts as told."""
    matrix = columns()
    measured = matrix @ np.array([3.0, 0.02, 0.0])
    found = fitted(matrix, measured - 0.05 * matrix[:, 2])
    assert 0 == found.values[2]
    assert 2 in found.errors
    least = (np.array([4.0, 0.0, 0.0]), WIDE[1])
    held = fit(linear(matrix), measured, np.full(3, 5.0), bounds=least)
    assert 4 == held.values[0]


def test_neighbours_that_share_a_disturbance_count_less() -> None:
    """Ten in a row worth one: standard errors are larger by the root of ten."""
    measured = (columns() @ TRUE) * np.exp(np.random.default_rng(3).normal(0, 0.02, N))
    alone = fitted(columns(), measured)
    in_tens = fitted(columns(), measured, correlated=10)
    expected = {index: error * 10**0.5 for index, error in alone.errors.items()}
    assert pytest.approx(expected) == in_tens.errors


def test_nothing_that_depends_on_anything_is_no_fit() -> None:
    """All columns zero but the model is not: everything keeps its start value."""
    start = np.ones(2)
    found = fit(
        lambda values: (np.full(N, 2.0), np.zeros((N, len(values)))),
        np.full(N, 3.0),
        start,
        bounds=(np.zeros(2), np.ones(2)),
    )
    assert ({0: None, 1: None}, {}) == (found.kept, found.errors)
