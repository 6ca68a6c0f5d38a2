"""One side against the other, metric by metric: two sets of runs, or the arms of one.

Owns: which readings are put side by side, and by which rule each is judged.
Must not know: files, how a verdict is shown.

Counted figures have no noise: they are compared exactly, where the routing was drawn or the arms
are of one run. Measured ones are judged over processes, six at least; arms that took turns in one
process, as in an energy campaign, also inside it, held to the A/A arm, and the verdict says so.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from lpbench.analysis.comparable import machine_differences, refuse_incomparable, refuse_mixed
from lpbench.analysis.metrics import COMPARED
from lpbench.analysis.stats import (
    ProcessEffect,
    paired_process_effect,
    process_effect,
    sign_flip_p,
)
from lpbench.analysis.verdict import DELTA, Verdict, judge, judge_exact
from lpbench.errors import InputError
from lpbench.record.schema import Arm, Comparison, Reading, Record

SMALLEST, LARGEST = 1e-100, 1e100
"""No figure of ours is beyond; squares and ratios of what is would be."""

TAKES_TURNS = "energy"
"""The pass in which arms take turns: elsewhere the first pays for first touches."""

ALL = "all"
"""The metric of a verdict on a whole arm."""


def compare_runs(
    baseline: Sequence[Record],
    candidate: Sequence[Record],
    *,
    delta: float = DELTA,
    allowed: Collection[str] = (),
) -> tuple[Verdict, ...]:
    """Return the verdicts on the arms of two experiments that share their label.

    Args:
        baseline: its runs, one a process.
        candidate: its runs.
        delta: what is the same.
        allowed: keys that may differ.

    Raises:
        InputError: the runs are of different experiments or passes, or of failed ones.
    """
    refuse_mixed(baseline, name="the baseline")
    refuse_mixed(candidate, name="the candidate")
    first, second = baseline[0], candidate[0]
    refuse_incomparable(first, second, allowed=allowed)
    if first.command != second.command and "command" not in allowed:
        msg = f"not comparable: the passes are {first.command!r} and {second.command!r}"
        raise InputError(msg)
    machine = machine_differences(first, second, allowed=allowed)
    is_drawn = first.spec.get("routing") == second.spec.get("routing") != "model"
    found: list[Verdict] = []
    for arm in _own(first):
        sides = [[_arm(run, arm.label) for run in runs] for runs in (baseline, candidate)]
        before, after = ([one for one in side if one is not None] for side in sides)
        if len(before) < len(baseline) or len(after) < len(candidate):
            found.append(_whole(arm.label, arm.label, "arm_missing"))
            continue
        found += [
            _between(name, before, after, delta=delta, machine=machine, is_drawn=is_drawn)
            for name in COMPARED
            if name in before[0].metrics or name in after[0].metrics
        ]
    labels = {arm.label for arm in _own(first)}
    found += [
        _whole(arm.label, arm.label, "arm_missing")
        for arm in _own(second)
        if arm.label not in labels
    ]
    return tuple(found)


def compare_arms_of(runs: Sequence[Record], *, delta: float = DELTA) -> tuple[Verdict, ...]:
    """Return the verdicts on every later arm of an experiment against its first.

    Args:
        runs: one a process.
        delta: what is the same.

    Raises:
        InputError: the runs are of different experiments or of failed ones, or have one arm.
    """
    refuse_mixed(runs, name="the record")
    refuse_incomparable(runs[0], runs[0])
    arms = list(_own(runs[0]))
    if len(arms) < 2:  # noqa: PLR2004 - a pair
        labels = ", ".join(arm.label for arm in arms) or "none"
        raise InputError(f"the record has no two arms to compare: {labels}")
    first, *others = arms
    return tuple(
        _inside(name, runs, first.label, arm.label, delta=delta)
        for arm in others
        for name in COMPARED
        if name in first.metrics or name in arm.metrics
    )


def _between(
    name: str,
    before: Sequence[Arm],
    after: Sequence[Arm],
    *,
    delta: float,
    machine: Sequence[str],
    is_drawn: bool,
) -> Verdict:
    """Return the verdict on one metric of two sets of runs of one arm."""
    known, values, against = _side_by_side(name, before, after)
    is_exact = COMPARED[name].exact
    if machine and not (is_exact or against):
        against = f"differs: {', '.join(machine)}"
    if against:
        return Verdict(**known, status="incomparable", reason=against)
    if is_exact:
        return _counted(known, values, exactly=is_drawn, delta=delta)
    if simple := _without_statistics(known, values):
        return simple
    effect = process_effect(*values)
    if effect is None:
        return Verdict(**known, status="undecided", reason="too_few_processes")
    return _judged(known, effect, delta=delta)


def _inside(
    name: str, runs: Sequence[Record], baseline: str, candidate: str, *, delta: float
) -> Verdict:
    """Return the verdict on one metric of two arms that took turns in the same processes."""
    before, after = (
        [arm for run in runs if (arm := _arm(run, label)) is not None]
        for label in (baseline, candidate)
    )
    if min(len(before), len(after)) < len(runs):
        return _whole(baseline, candidate, "arm_missing")
    known, values, against = _side_by_side(name, before, after)
    if against:
        return Verdict(**known, status="incomparable", reason=against)
    if COMPARED[name].exact:
        is_drawn = runs[0].spec.get("routing") != "model"
        all_agree = all(len({*side}) == 1 for side in values)
        return _counted(known, values, exactly=is_drawn or all_agree, delta=delta)
    return _taking_turns(known, values, runs, delta=delta)


def _taking_turns(
    known: dict[str, Any],
    values: Sequence[Sequence[float]],
    runs: Sequence[Record],
    *,
    delta: float,
) -> Verdict:
    """Return the verdict on what was measured of two arms: where they took turns, if at all."""
    if simple := _without_statistics(known, values):
        return simple
    if runs[0].command != TAKES_TURNS:
        return Verdict(**known, status="undecided", reason="not_interleaved")
    if len(runs) == 1:
        return _by_blocks(known, runs[0], delta=delta)
    ratios = [after / before for before, after in zip(*values, strict=True)]
    effect = paired_process_effect(ratios)
    if effect is None:
        return Verdict(**known, status="undecided", reason="too_few_processes")
    found = _judged(known | {"p": sign_flip_p(ratios)}, effect, delta=delta)
    return _held(found, _noise_over(runs, found.metric, found.baseline), delta=delta)


def _side_by_side(
    name: str, before: Sequence[Arm], after: Sequence[Arm]
) -> tuple[dict[str, Any], list[list[float]], str]:
    """Return what a verdict on a metric holds in any case, the values, and what is against them."""
    known: dict[str, Any] = {
        "metric": name,
        "unit": COMPARED[name].unit,
        "baseline": before[0].label,
        "candidate": after[0].label,
        "processes": (len(before), len(after)),
    }
    sides = [[one.metrics.get(name) for one in side] for side in (before, after)]
    if against := _against(*sides):
        return known, [], against
    values = [
        [float(one.value) for one in side if one is not None and one.value is not None]
        for side in sides
    ]
    if any(value and not SMALLEST < abs(value) < LARGEST for side in values for value in side):
        return known, [], "out_of_range"
    first, second = map(fmean, values)
    known |= {"before": first, "after": second, "ratio": second / first if first else None}
    return known, values, ""


def _without_statistics(known: dict[str, Any], values: Sequence[Sequence[float]]) -> Verdict | None:
    """Return the verdict on figures of which no ratio can be taken, or that are all one number."""
    if len({value for side in values for value in side}) == 1:
        return Verdict(**known, status="same", reason="identical")
    if _has_zero(values):
        return Verdict(**known, status="undecided", reason="zero")
    return None


def _counted(
    known: dict[str, Any], values: Sequence[Sequence[float]], *, exactly: bool, delta: float
) -> Verdict:
    """Return the verdict on counts: exact, or within `delta` where they follow rounding."""
    if exactly:
        if any(len({*side}) > 1 for side in values):
            return Verdict(**known, status="undecided", reason="not_deterministic")
        status = judge_exact(values[0][0], values[1][0])
        return Verdict(**known, status=status, reason="exact")
    if _has_zero(values):
        return Verdict(**known, status="undecided", reason="zero")
    status = judge(known["ratio"], known["ratio"], delta=delta)
    return Verdict(**known, status=status, reason="counted")


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
        first = _arm(run, baseline)
        again = next((arm for arm in run.arms if arm.role == "aa"), None)
        sides = [None if one is None else one.metrics.get(metric) for one in (first, again)]
        values = [one.value for one in sides if one is not None and not one.reasons]
        if len(values) < len(sides) or not all(values):
            return None
        before, after = (float(value or 0) for value in values)
        ratios.append(after / before)
    effect = paired_process_effect(ratios)
    return None if effect is None else (effect.low, effect.high)


def _judged(known: dict[str, Any], effect: ProcessEffect, *, delta: float) -> Verdict:
    evidence = known | {
        "ratio": effect.ratio,
        "interval": (effect.low, effect.high),
        "detectable": effect.detectable - 1,
    }
    status = judge(effect.low, effect.high, delta=delta)
    return Verdict(**evidence, status=status, reason="processes")


def _noise(run: Record, metric: str) -> tuple[float, float] | None:
    """Return the interval of the A/A arm's blocks; None without one."""
    again = {arm.label for arm in run.arms if arm.role == "aa"}
    found = (
        one.interval
        for one in run.comparison
        if one.metric == metric and one.candidate in again and one.interval
    )
    return next(found, None)


def _against(*sides: Sequence[Reading | None]) -> str:
    """Return what stands against comparing readings; nothing where they may be."""
    readings = [one for side in sides for one in side]
    present = [one for one in readings if one is not None]
    if len(present) < len(readings):
        return "not_recorded"
    codes = list(dict.fromkeys(code for one in present for code in one.reasons))
    if codes:
        return ", ".join(codes)
    if len({one.unit for one in present}) > 1:
        return "differs: unit"
    return "differs: source" if len({_instrument(one) for one in present}) > 1 else ""


def _instrument(reading: Reading) -> str:
    """Return what a reading is from, without what changes from run to run."""
    return reading.source.partition(", ")[0]


def _has_zero(sides: Sequence[Sequence[float]]) -> bool:
    return any(value <= 0 for side in sides for value in side)


def _whole(baseline: str, candidate: str, reason: str) -> Verdict:
    return Verdict(
        metric=ALL,
        unit="",
        baseline=baseline,
        candidate=candidate,
        status="incomparable",
        reason=reason,
    )


def _pair(found: Comparison) -> tuple[str, str, str]:
    return found.metric, found.baseline, found.candidate


def _own(run: Record) -> Iterator[Arm]:
    """Return the arms that are no repetition."""
    return (arm for arm in run.arms if arm.role == "arm")


def _arm(run: Record, label: str) -> Arm | None:
    return next((arm for arm in _own(run) if arm.label == label), None)
