"""Student's t: its quantiles.

Owns: the distribution function and its inverse, by the incomplete beta function's continued
fraction (Abramowitz and Stegun 26.5.8, 26.7.1). The core needs no SciPy for one function.
Must not know: what is estimated.
"""

import math

_STEPS, _TINY, _ROUNDING = 300, 1e-300, 1e-15


def t_quantile(probability: float, degrees: float) -> float:
    """Return the value that Student's t stays below with this probability.

    Args:
        probability: above 0 and below 1.
        degrees: of freedom, above 0, fractions included.
    """
    assert 0 < probability < 1, probability
    assert degrees > 0, degrees
    if probability < 1 / 2:
        return -t_quantile(1 - probability, degrees)
    low, high = 0.0, 1.0
    while t_below(high, degrees) < probability:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if t_below(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_below(value: float, degrees: float) -> float:
    """Return the probability that Student's t is at most `value`."""
    square = value * value
    if square < degrees:  # near the middle, where a tail would be rounded
        inner = _incomplete_beta(square / (degrees + square), 1 / 2, degrees / 2) / 2
        return 1 / 2 + math.copysign(inner, value)
    tail = _incomplete_beta(degrees / (degrees + square), degrees / 2, 1 / 2) / 2
    return tail if value < 0 else 1 - tail


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - _incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    return front * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction, from the front (Lentz)."""
    value, upper, lower = 1.0, 1.0, 0.0
    for step in range(_STEPS):
        half = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        else:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        lower = 1 / (1 + term * lower or _TINY)
        upper = 1 + term / upper or _TINY
        value *= upper * lower
        if step and abs(upper * lower - 1) < _ROUNDING:
            break
    return value - 1
