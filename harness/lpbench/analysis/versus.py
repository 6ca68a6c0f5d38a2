"""One side against the other, metric by metric: two sets of runs, or the arms of one.

Owns: which readings are put side by side, and by which rule each is judged.
Must not know: files, how a verdict is shown.

Counted figures have no noise: they are compared exactly, where the routing was drawn or the arms
are of one run. Measured ones are judged over processes, six at least; arms that took turns in one
process, as in an energy campaign, also inside it, held to the A/A arm, and the verdict says so.
"""

from collections.abc import Collection, Sequence
from statistics import fmean
from typing import Any

from lpbench.analysis.comparable import differing_conditions, refuse_incomparable, refuse_mixed
from lpbench.analysis.metrics import COMPARED
from lpbench.analysis.pairs import in_turn
from lpbench.analysis.stats import effect_between, sign_flip_p
from lpbench.analysis.turns import judge_turns
from lpbench.analysis.verdict import (
    DELTA,
    IN_TURN,
    Verdict,
    has_zero,
    judge,
    judge_effect,
    judge_exact,
    judge_plain,
)
from lpbench.errors import InputError
from lpbench.record.schema import Arm, Reading, Record

SMALLEST, LARGEST = 1e-100, 1e100
"""No figure of ours is beyond; squares and ratios of what is would be."""

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
    if first.command != second.command:
        msg = f"not comparable: the passes are {first.command!r} and {second.command!r}"
        raise InputError(msg)
    pairs = in_turn(baseline, candidate)
    baseline, candidate = pairs or (baseline, candidate)
    conditions = differing_conditions(first, second, allowed=allowed)
    is_drawn = first.spec.get("routing") == second.spec.get("routing") != "model"
    found: list[Verdict] = []
    for arm in first.own_arms:
        sides = [[run.arm(arm.label) for run in runs] for runs in (baseline, candidate)]
        before, after = ([one for one in side if one is not None] for side in sides)
        if len(before) < len(baseline) or len(after) < len(candidate):
            found.append(_whole(arm.label, arm.label, "arm_missing"))
            continue
        found += [
            _between(
                name,
                before,
                after,
                delta=delta,
                conditions=conditions,
                is_drawn=is_drawn,
                is_paired=pairs is not None,
            )
            for name in COMPARED
            if name in before[0].metrics or name in after[0].metrics
        ]
    labels = {arm.label for arm in first.own_arms}
    found += [
        _whole(arm.label, arm.label, "arm_missing")
        for arm in second.own_arms
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
    arms = list(runs[0].own_arms)
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
    conditions: Sequence[str],
    is_drawn: bool,
    is_paired: bool,
) -> Verdict:
    """Return the verdict on one metric of two sets of runs of one arm."""
    known, values, against = _side_by_side(name, before, after)
    is_exact = COMPARED[name].exact
    if conditions and not (is_exact or against):
        against = f"differs: {', '.join(conditions)}"
    if against:
        return Verdict(**known, status="incomparable", reason=against)
    if is_exact:
        return _counted(known, values, exactly=is_drawn, delta=delta)
    if simple := judge_plain(known, values):
        return simple
    effect = effect_between(*values, is_paired=is_paired)
    if effect is None:
        return Verdict(**known, status="undecided", reason="too_few_processes")
    if not is_paired:
        return judge_effect(known, effect, delta=delta)
    p = sign_flip_p([after / before for before, after in zip(*values, strict=True)])
    return judge_effect(known | {"p": p}, effect, delta=delta, reason=IN_TURN)


def _inside(
    name: str, runs: Sequence[Record], baseline: str, candidate: str, *, delta: float
) -> Verdict:
    """Return the verdict on one metric of two arms that took turns in the same processes."""
    before, after = (
        [arm for run in runs if (arm := run.arm(label)) is not None]
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
    return judge_turns(known, values, runs, delta=delta)


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


def _counted(
    known: dict[str, Any], values: Sequence[Sequence[float]], *, exactly: bool, delta: float
) -> Verdict:
    """Return the verdict on counts: exact, or within `delta` where they follow rounding."""
    if exactly:
        if any(len({*side}) > 1 for side in values):
            return Verdict(**known, status="undecided", reason="not_deterministic")
        status = judge_exact(values[0][0], values[1][0])
        return Verdict(**known, status=status, reason="exact")
    if has_zero(values):
        return Verdict(**known, status="undecided", reason="zero")
    status = judge(known["ratio"], known["ratio"], delta=delta)
    return Verdict(**known, status=status, reason="counted")


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
    return "differs: source" if len({one.instrument for one in present}) > 1 else ""


def _whole(baseline: str, candidate: str, reason: str) -> Verdict:
    return Verdict(
        metric=ALL,
        unit="",
        baseline=baseline,
        candidate=candidate,
        status="incomparable",
        reason=reason,
    )
