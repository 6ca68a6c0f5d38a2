"""Effects and their intervals: medians inside a process, means over processes.

Owns: the interval of a median and of a paired ratio, without assuming how the noise inside a
process is distributed; the interval of a ratio over processes, by Student's t; what could have been
seen.
Must not know: metrics, what a block is made of.

Blocks of one process share its memory layout, its temperature and its luck, so their spread says
nothing of the next process. What is claimed of the code is therefore judged over processes
(MEASURING.md 4.3).
"""

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance

from lpbench.analysis.student import t_quantile

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


POWER = 0.8
"""Probability with which an effect of the minimum detectable size would be seen."""

MOST_FLIPS = 1 << 14
"""Sign patterns that are all tried; beyond, so many are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEffect:
    """A candidate over a baseline, over processes.

    Attributes:
        ratio: of the geometric means.
        low: smallest ratio that is not ruled out.
        high: largest.
        detectable: the smallest ratio above 1 that would be told from 1 in `POWER` of all cases.
        processes: how many there were of each.
    """

    ratio: float
    low: float
    high: float
    detectable: float
    processes: tuple[int, int]


def process_effect(
    baseline: Sequence[float], candidate: Sequence[float], *, confidence: float = CONFIDENCE
) -> ProcessEffect | None:
    """Return the effect between two sets of processes, one value each; None below `FEWEST`.

    Welch's interval of the difference of mean logarithms: the sets need not be as large, or as
    noisy, as each other.

    Args:
        baseline: values above zero.
        candidate: values above zero.
        confidence: coverage of the interval.
    """
    if min(len(baseline), len(candidate)) < FEWEST:
        return None
    before, after = ([math.log(value) for value in side] for side in (baseline, candidate))
    parts = [variance(side) / len(side) for side in (before, after)]
    error = math.sqrt(sum(parts))
    degrees = float(len(before) + len(after) - 2)
    if error:
        # In units of the whole, so that no square is lost to underflow.
        shares = [part / sum(parts) for part in parts]
        sizes = (len(before) - 1, len(after) - 1)
        degrees = 1 / sum(share**2 / size for share, size in zip(shares, sizes, strict=True))
    return _effect(
        fmean(after) - fmean(before),
        error,
        degrees=degrees,
        confidence=confidence,
        processes=(len(before), len(after)),
    )


def paired_process_effect(
    ratios: Sequence[float], *, confidence: float = CONFIDENCE
) -> ProcessEffect | None:
    """Return the effect from one ratio a process, both arms in each; None below `FEWEST`."""
    if len(ratios) < FEWEST:
        return None
    logs = [math.log(ratio) for ratio in ratios]
    return _effect(
        fmean(logs),
        math.sqrt(variance(logs) / len(logs)),
        degrees=len(logs) - 1,
        confidence=confidence,
        processes=(len(logs), len(logs)),
    )


def effect_between(
    baseline: Sequence[float],
    candidate: Sequence[float],
    *,
    is_paired: bool,
    confidence: float = CONFIDENCE,
) -> ProcessEffect | None:
    """Return the effect between two sides, value by value where they are pairs."""
    if not is_paired:
        return process_effect(baseline, candidate, confidence=confidence)
    ratios = [after / before for before, after in zip(baseline, candidate, strict=True)]
    return paired_process_effect(ratios, confidence=confidence)


def _effect(
    mean: float, error: float, *, degrees: float, confidence: float, processes: tuple[int, int]
) -> ProcessEffect:
    reach = t_quantile((1 + confidence) / 2, degrees)
    return ProcessEffect(
        ratio=math.exp(mean),
        low=math.exp(mean - reach * error),
        high=math.exp(mean + reach * error),
        detectable=math.exp((reach + t_quantile(POWER, degrees)) * error),
        processes=processes,
    )


def sign_flip_p(ratios: Sequence[float], *, seed: int = 0) -> float:
    """Return how often ratios as far from 1 come about when either arm may stand on top.

    The exact share of sign patterns of the logarithms up to `MOST_FLIPS` of them, beyond that of
    drawn ones and the one that was seen. It is printed as a second opinion and decides nothing.
    """
    logs = [math.log(ratio) for ratio in ratios]
    seen = abs(math.fsum(logs)) * (1 - 1e-12)  # sums of the same terms differ by rounding
    patterns: Iterable[Sequence[int]] = itertools.product((1, -1), repeat=len(logs))
    count, seen_once = min(1 << len(logs), MOST_FLIPS), 0
    if 1 << len(logs) > MOST_FLIPS:
        seen_once = 1
        drawn = random.Random(seed)  # noqa: S311 - a permutation test, no secret
        patterns = (drawn.choices((1, -1), k=len(logs)) for _ in range(count))
    sums = (
        math.fsum(sign * log for sign, log in zip(pattern, logs, strict=True))
        for pattern in patterns
    )
    hits = sum(abs(total) >= seen for total in sums)
    return (hits + seen_once) / (count + seen_once)
