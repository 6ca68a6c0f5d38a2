"""How often verdicts are wrong: simulated campaigns with a known effect, by our rule and others'.

    python tests/benchmarks/verdicts.py [CAMPAIGNS]

A campaign has six gated metrics, a side six processes, a process eight blocks. A process has a
level of its own, in part common to its metrics; processes and blocks follow one another; levels are
skewed upwards, and now and then a block is an outlier. How much of each: once as assumed of a
machine with nothing else to do, once as measured on shared cores.
Printed per noise and effect: campaigns that go red, metrics that do, and how often the 95 %
interval of one metric holds the truth.

No rule over processes knows that a machine is slower today than when the baseline was taken. So a
second table gives a machine that drifts: false reds where each set of runs was taken at a stretch,
and where the sets took turns, run by run.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import erfc, log, sqrt

import numpy as np
from numpy.typing import NDArray

from lpbench.analysis.regression import GATED
from lpbench.analysis.stats import CONFIDENCE, ProcessEffect, effect_between
from lpbench.analysis.student import t_quantile
from lpbench.analysis.verdict import DELTA

PROCESSES, BLOCKS = 6, 8
OUTLIERS, OUTLIER = 0.01, 0.15
EFFECTS = (0.0, 0.01, 0.03, 0.10)
DRIFTS = (0.0, 0.005, 0.01, 0.02)
"""Standard deviations of the level that runs taken close together share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How a machine's figures vary, as standard deviations of logarithms.

    Attributes:
        name: of the machine.
        process: of a process's level, metric by metric.
        common: of what all metrics of a process share.
        skew: of what they share.
        block: of a block within its process.
        processes_follow: correlation of a process with the one before it.
        blocks_follow: of a block with the one before it.
    """

    name: str
    process: float
    common: float
    skew: float
    block: float
    processes_follow: float
    blocks_follow: float


NOISES = (
    Noise(
        name="a machine with nothing else to do, assumed",
        process=0.006,
        common=0.004,
        skew=0.5,
        block=0.01,
        processes_follow=0,
        blocks_follow=0.6,
    ),
    # 100 runs, one after the other, of lpbench traffic --num-prompts 4 --input-len 128
    # --output-len 16: levels 8 % apart, 0.7 correlated between metrics, skewed by 1.3.
    Noise(
        name="two shared cores, measured",
        process=0.045,
        common=0.068,
        skew=1.3,
        block=0.05,
        processes_follow=0.3,
        blocks_follow=0,
    ),
)

Values = NDArray[np.float64]
Rule = Callable[[Values, Values], bool]
"""Takes both sides' values [processes, blocks] of one metric, and says red or not."""

DESIGNS = {False: "each side at a stretch", True: "in turn, run by run"}


def sides(
    drawn: np.random.Generator, noise: Noise, *, in_turn: bool, drift: float = 0
) -> tuple[Values, Values, Values]:
    """Return baseline, candidate and its confirmation, [metrics, processes, blocks] around 1.

    Runs that are taken together, the three of a turn or the six of a stretch, share a level of
    deviation `drift`.
    """
    shape = (len(GATED), 3 * PROCESSES)
    form = 4 / noise.skew**2
    common = noise.common * (drawn.gamma(form, size=shape[1]) - form) / sqrt(form)
    level = _following(common, noise.processes_follow) + _following(
        drawn.normal(0, noise.process, shape), noise.processes_follow
    )
    together = 3 if in_turn else PROCESSES
    level = level + np.repeat(drawn.normal(0, drift, shape[1] // together), together)
    blocks = _following(drawn.normal(0, noise.block, (*shape, BLOCKS)), noise.blocks_follow)
    outliers = np.where(drawn.random(blocks.shape) < OUTLIERS, log(1 + OUTLIER), 0)
    values = np.exp(level[..., None] + blocks + outliers)
    if in_turn:
        return values[:, 0::3], values[:, 1::3], values[:, 2::3]
    before, after, again = np.split(values, 3, axis=1)
    return before, after, again


def _following(values: Values, share: float) -> Values:
    """Return values of the same spread, each correlated with the one before it on the last axis."""
    found = values.copy()
    for at in range(1, values.shape[-1]):
        found[..., at] = share * found[..., at - 1] + sqrt(1 - share**2) * values[..., at]
    return found


def effect_of(
    before: Values, after: Values, *, in_turn: bool, confidence: float = CONFIDENCE
) -> ProcessEffect:
    """Return our effect: medians of blocks, pair by pair where they were taken in turn."""
    medians = (np.median(one, axis=1).tolist() for one in (before, after))
    found = effect_between(*medians, is_paired=in_turn, confidence=confidence)
    assert found is not None
    return found


def is_red(before: Values, after: Values, *, in_turn: bool) -> bool:
    """Return our verdict, at a confidence for all metrics at once."""
    confidence = 1 - (1 - CONFIDENCE) / len(GATED)
    return effect_of(before, after, in_turn=in_turn, confidence=confidence).low > 1 + DELTA


def by_threshold(before: Values, after: Values) -> bool:
    """Return whether the mean rose by more than 5 %."""
    return bool(after.mean() > 1.05 * before.mean())


def by_pooled_t(before: Values, after: Values) -> bool:
    """Return what pyperf does: a two-sample t-test of all values at 95 %."""
    size = before.size
    error = sqrt((before.var(ddof=1) + after.var(ddof=1)) / size)
    score = (after.mean() - before.mean()) / error
    return bool(score > t_quantile(0.975, 2 * size - 2))


def by_ranks(before: Values, after: Values) -> bool:
    """Return what Google Benchmark does: Mann and Whitney's U of all values at 5 %, and slower."""
    size = before.size
    ranks = np.argsort(np.argsort(np.concatenate((before.ravel(), after.ravel())))) + 1
    above = ranks[size:].sum() - size * (size + 1) / 2
    score = (above - size * size / 2) / sqrt(size * size * (2 * size + 1) / 12)
    return bool(score > 0 and erfc(score / sqrt(2)) < 1 - CONFIDENCE)


OTHERS: dict[str, Rule] = {
    "threshold of 5 %": by_threshold,
    "pyperf's t-test": by_pooled_t,
    "Google Benchmark's U": by_ranks,
}
Found = tuple[dict[str, tuple[float, float]], float]
OURS = ("lpbench", "lpbench, unconfirmed")


def simulate(
    noise: Noise, campaigns: int, *, in_turn: bool, effect: float = 0, drift: float = 0
) -> Found:
    """Return, by rule, the share of campaigns and of metrics that go red; and the coverage."""
    drawn = np.random.default_rng(0)
    reds = {name: np.zeros((campaigns, len(GATED)), bool) for name in (*OURS, *OTHERS)}
    held = 0
    for campaign in range(campaigns):
        before, after, again = sides(drawn, noise, in_turn=in_turn, drift=drift)
        after, again = (1 + effect) * after, (1 + effect) * again
        for metric in range(len(GATED)):
            one, other = before[metric], after[metric]
            for name, rule in OTHERS.items():
                reds[name][campaign, metric] = rule(one, other)
            first = is_red(one, other, in_turn=in_turn)
            reds[OURS[1]][campaign, metric] = first
            confirmed = first and is_red(one, again[metric], in_turn=in_turn)
            reds[OURS[0]][campaign, metric] = confirmed
            found = effect_of(one, other, in_turn=in_turn)
            held += found.low <= 1 + effect <= found.high
    shares = {name: (red.any(axis=1).mean(), red.mean()) for name, red in reds.items()}
    return shares, held / campaigns / len(GATED)


def each(jobs: Sequence[partial[Found]]) -> list[Found]:
    """Return what the jobs return, each run in a process."""
    with ProcessPoolExecutor() as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def main() -> None:
    """Print the tables."""
    campaigns = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    write = sys.stdout.write
    write(f"{campaigns} campaigns of {len(GATED)} metrics, {PROCESSES} processes a side\n")
    for noise, (in_turn, design) in itertools.product(NOISES, DESIGNS.items()):
        job = partial(simulate, noise, campaigns, in_turn=in_turn)
        found = each([partial(job, effect=one) for one in EFFECTS])
        write(f"\n{noise.name}; {design}\n")
        write(f"{'red campaigns / metrics':24}" + "".join(f"{e:>18.0%}" for e in EFFECTS) + "\n")
        for name in (*OURS, *OTHERS):
            cells = (f"{shares[name][0]:9.2%} {shares[name][1]:8.2%}" for shares, _ in found)
            write(f"{name:24}" + "".join(cells) + "\n")
        cells = (f"{held:18.2%}" for _, held in found)
        write(f"{'95 % interval holds':24}" + "".join(cells) + "\n")
    for in_turn, design in DESIGNS.items():
        job = partial(simulate, NOISES[0], campaigns, in_turn=in_turn)
        found = each([partial(job, drift=one) for one in DRIFTS])
        write(f"\n{NOISES[0].name}, that drifts; no effect; {design}\n")
        write(f"{'red campaigns':24}" + "".join(f"{one:>12.1%}" for one in DRIFTS) + "\n")
        for name in (*OURS, *OTHERS):
            write(f"{name:24}" + "".join(f"{shares[name][0]:12.2%}" for shares, _ in found) + "\n")


if __name__ == "__main__":
    main()
