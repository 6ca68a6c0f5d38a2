"""Verdicts on arms that took turns in the same processes, held to the A/A arm.

Owns: which arms took turns, what the first arm's repetition says of the noise.
Must not know: which metrics there are, how a verdict is shown.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lpbench.analysis.stats import paired_process_effect, sign_flip_p
from lpbench.analysis.verdict import Verdict, judge, judge_effect, judge_plain
from lpbench.record.schema import Comparison, Record

TAKES_TURNS = "energy"
"""The pass in which arms take turns: elsewhere the first pays for first touches."""


def judge_turns(
    known: dict[str, Any],
    values: Sequence[Sequence[float]],
    runs: Sequence[Record],
    *,
    delta: float,
) -> Verdict:
    """Return the verdict on what was measured of two arms: where they took turns, if at all."""
    if simple := judge_plain(known, values):
        return simple
    if runs[0].command != TAKES_TURNS:
        return Verdict(**known, status="undecided", reason="not_interleaved")
    if len(runs) == 1:
        return _by_blocks(known, runs[0], delta=delta)
    ratios = [after / before for before, after in zip(*values, strict=True)]
    effect = paired_process_effect(ratios)
    if effect is None:
        return Verdict(**known, status="undecided", reason="too_few_processes")
    found = judge_effect(known | {"p": sign_flip_p(ratios)}, effect, delta=delta)
    return _held(found, _noise_over(runs, found.metric, found.baseline), delta=delta)


def _by_blocks(known: dict[str, Any], run: Record, *, delta: float) -> Verdict:
    """Return the verdict of one process: by its blocks, where it has some."""
    pair = (known["metric"], known["baseline"], known["candidate"])
    found = next((one for one in run.comparison if _pair(one) == pair), None)
    if found is None or found.interval is None or found.ratio is None:
        reason = "one_run" if found is None or not found.samples else "too_few_blocks"
        return Verdict(**known, status="undecided", reason=reason)
    noise = _noise(run, known["metric"])
    evidence = known | {
        "ratio": found.ratio,
        "interval": found.interval,
        "within_process": True,
        "p": sign_flip_p(found.samples),
        "detectable": None if noise is None else math.expm1(_width(noise)),
    }
    status = judge(*found.interval, delta=delta)
    return _held(Verdict(**evidence, status=status, reason="blocks"), noise, delta=delta)


def _held(found: Verdict, noise: tuple[float, float] | None, *, delta: float) -> Verdict:
    """Return a verdict held to the A/A arm's interval: what the first arm differs from itself by.

    Undecided without one, where it leaves out 1 (something but the schedule moved), and where it is
    wider than what would be claimed, be it an effect or that there is none.
    """
    if found.status == "undecided":
        return found
    if noise is None:
        return replace(found, status="undecided", reason="no_noise")
    low, high = noise
    if not low <= 1 <= high:
        return replace(found, status="undecided", reason="aa_not_null")
    claimed = math.log1p(delta) if found.status == "same" else abs(math.log(found.ratio or 1))
    if claimed < _width(noise):
        return replace(found, status="undecided", reason="below_noise")
    return found


def _width(noise: tuple[float, float]) -> float:
    """Return the largest effect that an interval holds, as a logarithm."""
    return max(abs(math.log(edge)) for edge in noise)


def _noise_over(runs: Sequence[Record], metric: str, baseline: str) -> tuple[float, float] | None:
    """Return the interval of the A/A arm over its first arm, over processes; None without one."""
    ratios = []
    for run in runs:
        first = run.arm(baseline)
        again = next((arm for arm in run.arms if arm.role == "aa"), None)
        sides = [None if one is None else one.metrics.get(metric) for one in (first, again)]
        values = [one.value for one in sides if one is not None and not one.reasons]
        if len(values) < len(sides) or not all(values):
            return None
        before, after = (float(value or 0) for value in values)
        ratios.append(after / before)
    effect = paired_process_effect(ratios)
    return None if effect is None else (effect.low, effect.high)


def _noise(run: Record, metric: str) -> tuple[float, float] | None:
    """Return the interval of the A/A arm's blocks; None without one."""
    again = {arm.label for arm in run.arms if arm.role == "aa"}
    found = (
        one.interval
        for one in run.comparison
        if one.metric == metric and one.candidate in again and one.interval
    )
    return next(found, None)


def _pair(found: Comparison) -> tuple[str, str, str]:
    return found.metric, found.baseline, found.candidate
