"""Medians and their intervals, without assuming how the noise is distributed.

Owns: the interval of a median and of a paired ratio.
Must not know: metrics, what a block is made of.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

CONFIDENCE = 0.95
"""Coverage that an interval has at least."""

FEWEST = 6
"""Values of which a median has such an interval: from smallest to largest, 1 - 2/2^6 = 0.97."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a median lies.

    Attributes:
        low: smallest value that is not ruled out.
        high: largest.
        coverage: probability that such an interval holds the median, at least `CONFIDENCE`.
    """

    low: float
    high: float
    coverage: float


def median_interval(values: Sequence[float]) -> Interval | None:
    """Return the interval of the median of independent values; None where they are too few.

    From the k-th smallest to the k-th largest value: each lies below the median with probability
    1/2, so the interval misses it with probability 2 P(Binomial(n, 1/2) < k), whatever the
    distribution. k is the largest that keeps the coverage; `FEWEST` values are the fewest.
    """
    ranked, count = sorted(values), len(values)
    missed, found = 0.0, None
    for at in range(count // 2):
        missed += 2 * math.comb(count, at) / 2**count
        if 1 - missed < CONFIDENCE:
            break
        found = Interval(low=ranked[at], high=ranked[-1 - at], coverage=1 - missed)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A candidate over a baseline, from blocks that hold both.

    Attributes:
        ratio: the median of the blocks' ratios, taken in logarithms.
        interval: of that median; None where there are too few blocks.
        ratios: one a block.
    """

    ratio: float
    interval: Interval | None
    ratios: tuple[float, ...]


def paired_effect(baseline: Sequence[float], candidate: Sequence[float]) -> Effect:
    """Return the effect of `candidate` over `baseline`, value by value; all are above zero."""
    ratios = tuple(after / before for before, after in zip(baseline, candidate, strict=True))
    return Effect(
        ratio=math.exp(median(map(math.log, ratios))),
        interval=median_interval(ratios),
        ratios=ratios,
    )
