"""One side against the other, metric by metric: two sets of runs, or the arms of one.

Owns: which readings are put side by side, and by which rule each is judged.
Must not know: files, how a verdict is shown.

Counted figures have no noise: they are compared exactly, where the routing was drawn or the arms
are of one run; nor have modelled ones. Measured ones are judged over processes, six at least; arms
that took turns in one process, as in an energy campaign, also inside it, held to the A/A arm, and
the verdict says so.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from lpbench.analysis.comparable import (
    differing_conditions,
    follows_the_clock,
    is_modelled,
    refuse_incomparable,
    refuse_mixed,
)
from lpbench.analysis.metrics import AT_SLO, COMPARED, MORE
from lpbench.analysis.pairs import in_turn
from lpbench.analysis.stats import effect_between, sign_flip_p
from lpbench.analysis.turns import judge_turns
from lpbench.analysis.verdict import (
    DELTA,
    EXACT,
    IN_TURN,
    MODELLED,
    ROUNDING,
    Status,
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

TURNED: Mapping[Status, Status] = {"better": "worse", "worse": "better"}
"""What a verdict is where more is better."""


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
                of=(first, second),
                conditions=conditions,
                is_paired=pairs is not None,
            )
            for name in _compared(first)
            if name in before[0].metrics or name in after[0].metrics
        ]
    labels = {arm.label for arm in first.own_arms}
    found += [
        _whole(arm.label, arm.label, "arm_missing")
        for arm in second.own_arms
        if arm.label not in labels
    ]
    return tuple(map(_meant, found))


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
        _meant(_inside(name, runs, first.label, arm.label, delta=delta))
        for arm in others
        for name in _compared(runs[0])
        if name in first.metrics or name in arm.metrics
    )


def _compared(record: Record) -> Collection[str]:
    """Return the metrics of a comparison: the rate alone where every arm ran at its own."""
    return (AT_SLO,) if record.spec.get("find_rate") else COMPARED


def _meant(found: Verdict) -> Verdict:
    """Return a verdict that took less to be better, turned round where more is."""
    if found.metric not in COMPARED or COMPARED[found.metric].better != MORE:
        return found
    return replace(found, status=TURNED.get(found.status, found.status))


def _between(
    name: str,
    before: Sequence[Arm],
    after: Sequence[Arm],
    *,
    delta: float,
    of: tuple[Record, Record],
    conditions: Sequence[str],
    is_paired: bool,
) -> Verdict:
    """Return the verdict on one metric of two sets of runs of one arm, `of` two experiments."""
    known, values, against = _side_by_side(name, before, after)
    if conditions and not (_is_counted(name, *of) or against):
        against = f"differs: {', '.join(conditions)}"
    if against:
        return Verdict(**known, status="incomparable", reason=against)
    if simple := _noiseless(known, values, *of, delta=delta) or judge_plain(known, values):
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
    alike = all(len({*side}) == 1 for side in values)
    found = _noiseless(known, values, runs[0], delta=delta, alike=alike)
    return found or judge_turns(known, values, runs, delta=delta)


def _noiseless(
    known: dict[str, Any],
    values: Sequence[Sequence[float]],
    *of: Record,
    delta: float,
    alike: bool = False,
) -> Verdict | None:
    """Return the verdict on a figure that is counted or modelled; None for one that is measured.

    Args:
        known: what it holds in any case.
        values: of both sides.
        of: a run of every experiment they are of.
        delta: what is the same.
        alike: whether the runs of one experiment had the same counts, whatever their routing.
    """
    if all(map(is_modelled, of)):
        return _exact(known, values, reason=MODELLED)
    if not _is_counted(known["metric"], *of):
        return None
    routings = {str(one.spec.get("routing")) for one in of}
    if alike or (len(routings) == 1 and "model" not in routings):
        return _exact(known, values)
    return _counted(known, values, delta=delta)


def _is_counted(name: str, *records: Record) -> bool:
    """Return whether a metric follows from the work alone, however fast it was done."""
    return COMPARED[name].exact and not any(map(follows_the_clock, records))


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


def _exact(
    known: dict[str, Any], values: Sequence[Sequence[float]], *, reason: str = EXACT
) -> Verdict:
    """Return the verdict on figures that every run of an experiment has alike."""
    if any(len({*side}) > 1 for side in values):
        return Verdict(**known, status="undecided", reason="not_deterministic")
    rounding = ROUNDING if reason == MODELLED else 0
    status = judge_exact(values[0][0], values[1][0], rounding=rounding)
    return Verdict(**known, status=status, reason=reason)


def _counted(known: dict[str, Any], values: Sequence[Sequence[float]], *, delta: float) -> Verdict:
    """Return the verdict on counts that follow rounding: within `delta`."""
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
    # Where all are modelled the source names the device, which the spec has been held to.
    instruments = {one.instrument for one in present}
    is_modelled_only = {one.method for one in present} == {"modelled"}
    return "differs: source" if len(instruments) > 1 and not is_modelled_only else ""


def _whole(baseline: str, candidate: str, reason: str) -> Verdict:
    return Verdict(
        metric=ALL,
        unit="",
        baseline=baseline,
        candidate=candidate,
        status="incomparable",
        reason=reason,
    )
