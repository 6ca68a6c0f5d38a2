"""Coefficients from measurements: robust least squares within bounds, and what the data tell.

Owns: the minimiser, the standard errors, which coefficients the data cannot tell.
Must not know: what a coefficient means, where a measurement is from.

Every residual is the logarithm of predicted over measured, so that an iteration counts alike
whether it is long or short, and one that took too long is no worse than one that took too little.
Residuals beyond `TAIL` times their spread count linearly (Huber 1964): a first touch of memory or
a neighbour on the machine must not bend the fit. Steps are Levenberg's and Marquardt's, cut off at
the bounds.

A coefficient that the data do not tell keeps its start value. One by one, those go whose standard
error is largest, until each one left is known to `TOLD` of its value (of its start value, where the
data say that it is smaller), or is at least known to be another than its start value. The spread is
the residuals' median absolute deviation, and `LEAST_SPREAD` at least: no model is better than that.
The errors that are stated allow for what was kept: its start value is doubted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Model: TypeAlias = Callable[[Floats], tuple[Floats, Floats]]
"""Takes the coefficients; returns predictions [n], and their derivatives [n, coefficients]."""

TAIL = 1.345
"""Huber's constant: 95 % as efficient as least squares where residuals are normal."""

LEAST_SPREAD = 0.01
"""Relative error of a prediction that is taken as given."""

TOLD = 0.25
"""A coefficient is told when its standard error is at most this share of it."""

REFUTED = 3.0
"""Standard errors between an estimate and its start value from which on the data rule that out."""

ROUNDS = 4
"""How often the residuals' spread is taken anew."""

STEPS = 100
"""Steps of a round at most."""

CONVERGED = 1e-10
"""Relative gain of a step below which a round ends."""

COLLINEAR = 1e-12
"""What keeps coefficients that do the same apart, as a share: their errors become huge, not
infinite."""

NOUGHT = 1e-100
"""What a coefficient of zero counts as where its error is taken as a share of it: the largest error
over it is a number still."""

TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What came of a fit.

    Attributes:
        values: every coefficient, fitted or as it was.
        errors: by index of those that were told, the standard error, what was kept being uncertain.
        kept: by index of the others, which keep their start value: the index of the coefficient
            that does most nearly the same, or None where no measurement depends on it.
    """

    values: Floats
    errors: dict[int, float]
    kept: dict[int, int | None]


def fit(
    model: Model,
    measured: Floats,
    start: Floats,
    *,
    bounds: tuple[Floats, Floats],
    doubts: Floats | None = None,
    correlated: int = 1,
) -> Fitted:
    """Fit the coefficients of a model.

    Args:
        model: predicts what was measured.
        measured: [n], above zero.
        start: the coefficients to begin with, and to keep where the data do not tell them.
        bounds: the least and the most of each coefficient.
        doubts: the standard error of each start value; the start value itself unless given.
        correlated: how many measurements in a row are worth one: neighbours share what disturbs
            them.
    """
    doubts = start if doubts is None else doubts
    values, free = start.copy(), np.ones(len(start), dtype=bool)
    kept: dict[int, int | None] = {}
    _, slopes = model(start)
    for unused in np.flatnonzero(~slopes.any(axis=0)):
        free[unused], kept[int(unused)] = False, None
    values[free] = np.clip(_begin(model, measured, values, free), *bounds)[free]
    while free.any():
        values = _minimise(model, measured, values, free, bounds)
        at = np.flatnonzero(free)
        curvature = _curvature(model, measured, values, correlated=correlated)
        errors, correlation = _errors(curvature[np.ix_(at, at)])
        relative = errors / np.maximum(np.maximum(values, start)[at], NOUGHT)
        relative[np.abs(values - start)[at] > REFUTED * errors] = 0.0
        worst = int(np.argmax(relative))
        if relative[worst] <= TOLD:
            held = np.flatnonzero(~free & (doubts > 0))  # what was told is off with what was kept
            curvature[held, held] += 1 / doubts[held] ** 2
            known = np.sort(np.concatenate([at, held]))
            errors, _ = _errors(curvature[np.ix_(known, known)])
            told = {
                int(index): float(error)
                for index, error in zip(known, errors, strict=True)
                if free[index]
            }
            return Fitted(values=values, errors=told, kept=kept)
        others = np.abs(correlation[worst])
        others[worst] = -1.0
        index = int(at[worst])
        kept[index] = int(at[np.argmax(others)]) if len(at) > 1 else None
        free[index], values[index] = False, start[index]
    return Fitted(values=values, errors={}, kept=kept)


def _begin(model: Model, measured: Floats, start: Floats, free: NDArray[np.bool_]) -> Floats:
    """Return the coefficients that the descent begins with: the start's times one factor.

    Shares of one machine on another are off by one factor before anything else. Zero times a factor
    leads nowhere: where the start explains nothing of a measurement, each free coefficient that is
    zero in it begins at its part, were the measurements shared out evenly.
    """
    values = start.copy()
    predicted, slopes = model(values)
    if (predicted <= 0).any():
        for index in np.flatnonzero(free & (values == 0)):
            told = slopes[:, index] > 0
            values[index] = np.median(measured[told] / slopes[told, index]) / free.sum()
        predicted, _ = model(values)
    common: float = np.exp(np.median(np.log(measured) - _log(predicted)))
    return values * common


def _minimise(
    model: Model,
    measured: Floats,
    values: Floats,
    free: NDArray[np.bool_],
    bounds: tuple[Floats, Floats],
) -> Floats:
    """Return the coefficients of least robust cost, the first round without robustness."""
    spread = np.inf
    for _ in range(1 + ROUNDS):
        values = _descend(model, measured, values, free, bounds, spread=spread)
        spread = _spread(_residuals(model(values)[0], measured))
    return values


def _descend(
    model: Model,
    measured: Floats,
    values: Floats,
    free: NDArray[np.bool_],
    bounds: tuple[Floats, Floats],
    *,
    spread: float,
) -> Floats:
    least, most = bounds
    predicted, slopes = model(values)
    residuals = _residuals(predicted, measured)
    cost, damping = _cost(residuals, spread), 1e-3
    for _ in range(STEPS):
        weights = _weights(residuals, spread)
        relative = _relative(slopes, predicted)
        slope = relative.T @ (weights * residuals)
        held = ((values <= least) & (slope > 0)) | ((values >= most) & (slope < 0))
        at = np.flatnonzero(free & ~held)
        if not len(at):
            return values
        curvature = relative[:, at].T @ (weights[:, np.newaxis] * relative[:, at])
        while True:
            step = _solve(curvature, slope[at], damping=damping)
            tried = values.copy()
            tried[at] = np.clip(values[at] - step, least[at], most[at])
            new, new_slopes = model(tried)
            new_residuals = _residuals(new, measured)
            new_cost = _cost(new_residuals, spread)
            if new_cost < cost:
                break
            damping *= 10
            if damping > 1 / COLLINEAR:
                return values
        gain, damping = (cost - new_cost) / cost, max(damping / 10, COLLINEAR)
        values, cost = tried, new_cost
        predicted, slopes, residuals = new, new_slopes, new_residuals
        if gain < CONVERGED:
            return values
    return values


def _solve(curvature: Floats, slope: Floats, *, damping: float) -> Floats:
    """Return the damped step, the coefficients scaled by how much they do."""
    scale = np.sqrt(np.maximum(np.diag(curvature), TINY))
    scaled = curvature / np.outer(scale, scale)
    scaled[np.diag_indices_from(scaled)] = 1.0 + damping
    step: Floats = np.linalg.lstsq(scaled, slope / scale, rcond=None)[0]
    return step / scale


def _curvature(model: Model, measured: Floats, values: Floats, *, correlated: int) -> Floats:
    """Return how well the measurements know the coefficients: the inverse of their covariance."""
    predicted, slopes = model(values)
    residuals = _residuals(predicted, measured)
    spread = _spread(residuals)
    relative = _relative(slopes, predicted)
    curvature: Floats = relative.T @ (_weights(residuals, spread)[:, np.newaxis] * relative)
    return curvature / (spread**2 * correlated)


def _errors(curvature: Floats) -> tuple[Floats, Floats]:
    """Return standard errors, and how estimates are correlated."""
    scale = np.sqrt(np.maximum(np.diag(curvature), TINY))
    scaled = curvature / np.outer(scale, scale)
    scaled[np.diag_indices_from(scaled)] = 1.0 + COLLINEAR
    inverse = np.linalg.inv(scaled)
    deviation = np.sqrt(np.maximum(np.diag(inverse), TINY))
    return deviation / scale, inverse / np.outer(deviation, deviation)


def _relative(slopes: Floats, predicted: Floats) -> Floats:
    """Return the derivatives of predictions' logarithms; none where nothing is predicted."""
    found = np.zeros_like(slopes)
    there = predicted > TINY
    found[there] = slopes[there] / predicted[there, np.newaxis]
    return found


def _residuals(predicted: Floats, measured: Floats) -> Floats:
    return _log(predicted) - np.log(measured)


def _log(predicted: Floats) -> Floats:
    return np.log(np.maximum(predicted, TINY))


def _spread(residuals: Floats) -> float:
    """Return the robust standard deviation, about zero."""
    return max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(residuals))))


def _weights(residuals: Floats, spread: float) -> Floats:
    size = np.maximum(np.abs(residuals), TINY)
    return np.minimum(1.0, TAIL * spread / size)


def _cost(residuals: Floats, spread: float) -> float:
    """Return Huber's cost, or half the sum of squares for an infinite spread."""
    size, tail = np.abs(residuals), TAIL * spread
    if np.isinf(tail):
        return float(0.5 * np.sum(residuals**2))
    inside = np.minimum(size, tail)
    return float(np.sum(inside * (size - 0.5 * inside)))
