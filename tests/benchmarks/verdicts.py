"""How often verdicts are wrong: simulated campaigns with a known effect, by our rule and others'.

    python tests/benchmarks/verdicts.py [CAMPAIGNS]

A campaign has six gated metrics, a side six processes, a process eight blocks. The noise is of the
kind seen here: a level for each process, blocks that follow one another, now and then an outlier.
Printed per effect: campaigns that go red, metrics that do, and how often the 95 % interval of one
metric holds the truth.

No rule over processes knows that a machine is slower today than when the baseline was taken. So a
second table gives a machine that drifts: false reds where each set of runs was taken at a stretch,
and where the sets took turns, run by run.
"""

import sys
from collections.abc import Callable
from math import erfc, log, sqrt

import numpy as np
from numpy.typing import NDArray

from lpbench.analysis.regression import GATED
from lpbench.analysis.stats import CONFIDENCE, process_effect
from lpbench.analysis.student import t_quantile
from lpbench.analysis.verdict import DELTA

PROCESSES, BLOCKS = 6, 8
PROCESS_NOISE, COMMON_NOISE, BLOCK_NOISE, FOLLOWS = 0.006, 0.004, 0.01, 0.6
OUTLIERS, OUTLIER = 0.01, 0.15
EFFECTS = (0.0, 0.01, 0.03, 0.10)
DRIFTS = (0.0, 0.005, 0.01, 0.02)
"""Standard deviations of the level that runs taken close together share."""

Values = NDArray[np.float64]
Rule = Callable[[Values, Values], bool]
"""Takes both sides' values [processes, blocks] of one metric, and says red or not."""


def side(drawn: np.random.Generator, effect: float, drift: Values | float = 0.0) -> Values:
    """Return values [metrics, processes, blocks] around 1 + effect, with a drift [processes]."""
    shape = (len(GATED), PROCESSES, BLOCKS)
    level = drawn.normal(0, PROCESS_NOISE, shape[:2]) + drawn.normal(0, COMMON_NOISE, PROCESSES)
    level = level + drift
    blocks = drawn.normal(0, BLOCK_NOISE, shape)
    for at in range(1, BLOCKS):
        share = sqrt(1 - FOLLOWS**2)
        blocks[..., at] = FOLLOWS * blocks[..., at - 1] + share * blocks[..., at]
    outliers = np.where(drawn.random(shape) < OUTLIERS, log(1 + OUTLIER), 0)
    return (1 + effect) * np.exp(level[..., None] + blocks + outliers)


def by_processes(before: Values, after: Values) -> bool:
    """Return our verdict: medians of blocks, Welch over processes, all metrics at once."""
    confidence = 1 - (1 - CONFIDENCE) / len(GATED)
    found = process_effect(
        np.median(before, axis=1).tolist(), np.median(after, axis=1).tolist(), confidence=confidence
    )
    assert found is not None
    return found.low > 1 + DELTA


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


RULES: dict[str, Rule] = {
    "lpbench, unconfirmed": by_processes,
    "threshold of 5 %": by_threshold,
    "pyperf's t-test": by_pooled_t,
    "Google Benchmark's U": by_ranks,
}


def holds(before: Values, after: Values, effect: float) -> bool:
    """Return whether the 95 % interval of one metric holds the truth."""
    found = process_effect(np.median(before, axis=1).tolist(), np.median(after, axis=1).tolist())
    assert found is not None
    return found.low <= 1 + effect <= found.high


def simulate(effect: float, campaigns: int) -> dict[str, tuple[float, float]]:
    """Return, by rule, the share of campaigns and of metrics that go red; and the coverage."""
    drawn = np.random.default_rng(0)
    reds = {name: np.zeros((campaigns, len(GATED)), bool) for name in ("lpbench", *RULES)}
    held = 0
    for campaign in range(campaigns):
        before, after, again = side(drawn, 0), side(drawn, effect), side(drawn, effect)
        for metric in range(len(GATED)):
            for name, rule in RULES.items():
                reds[name][campaign, metric] = rule(before[metric], after[metric])
            first = reds["lpbench, unconfirmed"][campaign, metric]
            confirms = first and by_processes(before[metric], again[metric])
            reds["lpbench"][campaign, metric] = confirms
            held += holds(before[metric], after[metric], effect)
    found = {name: (red.any(axis=1).mean(), red.mean()) for name, red in reds.items()}
    return found | {"coverage": (held / campaigns / len(GATED), float("nan"))}


def drifting(drift: float, campaigns: int, *, in_turn: bool) -> dict[str, float]:
    """Return the share of campaigns without any effect that go red on a machine that drifts."""
    drawn = np.random.default_rng(0)
    reds = dict.fromkeys(("lpbench", *RULES), 0)
    for _ in range(campaigns):
        levels = drawn.normal(0, drift, PROCESSES if in_turn else 3)
        before, after, again = (
            side(drawn, 0, levels if in_turn else level) for level in levels[:3].tolist()
        )
        for name, rule in RULES.items():
            reds[name] += any(map(rule, before, after))
        reds["lpbench"] += any(
            by_processes(*pair) and by_processes(pair[0], more)
            for *pair, more in zip(before, after, again, strict=True)
        )
    return {name: count / campaigns for name, count in reds.items()}


def main() -> None:
    """Print the table."""
    campaigns = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    found = {effect: simulate(effect, campaigns) for effect in EFFECTS}
    write = sys.stdout.write
    write(f"{campaigns} campaigns of {len(GATED)} metrics, {PROCESSES} processes a side\n")
    write(f"{'red campaigns / metrics':24}" + "".join(f"{one:>18.0%}" for one in EFFECTS) + "\n")
    for name in ("lpbench", *RULES):
        cells = (f"{found[one][name][0]:9.2%} {found[one][name][1]:8.2%}" for one in EFFECTS)
        write(f"{name:24}" + "".join(cells) + "\n")
    cells = (f"{found[one]['coverage'][0]:18.2%}" for one in EFFECTS)
    write(f"{'95 % interval holds':24}" + "".join(cells) + "\n")
    for in_turn, how in ((False, "sets one after the other"), (True, "sets in turn, run by run")):
        shares = [drifting(drift, campaigns, in_turn=in_turn) for drift in DRIFTS]
        write(f"\nno effect, {how}; drift of the machine (standard deviation)\n")
        write(f"{'red campaigns':24}" + "".join(f"{one:>12.1%}" for one in DRIFTS) + "\n")
        for name in ("lpbench", *RULES):
            write(f"{name:24}" + "".join(f"{one[name]:12.2%}" for one in shares) + "\n")


if __name__ == "__main__":
    main()
