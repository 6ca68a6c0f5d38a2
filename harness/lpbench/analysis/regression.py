"""Regressions of times and joules: over processes, over all gated metrics at once.

Owns: which metrics are gated, and when one is red.
Must not know: exact figures, files, exit codes.

Each of n intervals is held to 1 - 5 %/n (Bonferroni), so that all of them together miss with 5 % at
most, whatever the metrics have in common. Red is an interval that lies wholly above 1 + delta; and
a red that a second set of runs does not show is no regression but bad luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lpbench.analysis.comparable import machine_differences, refuse_incomparable, refuse_mixed
from lpbench.analysis.stats import CONFIDENCE, FEWEST, ProcessEffect, process_effect
from lpbench.analysis.verdict import DELTA
from lpbench.errors import InputError
from lpbench.record.schema import Record

GATED = (
    "ttft_ms_mean",
    "tbt_ms_mean",
    "tpot_ms_mean",
    "e2e_ms_mean",
    "joules_per_total_token",
    "joules_per_output_token",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One gated metric of one arm.

    Attributes:
        arm: its label.
        metric: its name.
        effect: over the processes, at the confidence that all changes share.
        is_red: whether it is a regression.
    """

    arm: str
    metric: str
    effect: ProcessEffect
    is_red: bool


def regressions(
    baseline: Sequence[Record], candidate: Sequence[Record], *, delta: float = DELTA
) -> tuple[Change, ...]:
    """Return the change of every gated metric that both sides have, valid and in every run.

    Raises:
        InputError: fewer than six runs a side, or runs of other experiments or machines.
    """
    for runs, name in ((baseline, "the baseline"), (candidate, "the record")):
        refuse_mixed(runs, name=name)
        if len(runs) < FEWEST:
            msg = (
                f"{name} has {len(runs)} runs; times and joules are gated over {FEWEST} or more, "
                f"as --num-runs {FEWEST} makes them"
            )
            raise InputError(msg)
    refuse_incomparable(baseline[0], candidate[0])
    if baseline[0].command != candidate[0].command:
        passes = f"{baseline[0].command!r} and {candidate[0].command!r}"
        raise InputError(f"not comparable: the passes are {passes}")
    if machine := machine_differences(baseline[0], candidate[0]):
        msg = f"not comparable: times and joules are of another machine ({', '.join(machine)})"
        raise InputError(msg)
    pairs = {
        (arm.label, name): sides
        for arm in baseline[0].arms
        if arm.role == "arm"
        for name in GATED
        if (sides := _sides(baseline, candidate, arm.label, name)) is not None
    }
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(pairs))
    found = []
    for (label, name), (before, after) in pairs.items():
        effect = process_effect(before, after, confidence=confidence)
        assert effect is not None, "there are enough runs"
        red = effect.low > 1 + delta
        found.append(Change(arm=label, metric=name, effect=effect, is_red=red))
    return tuple(found)


def confirmed(first: Sequence[Change], second: Sequence[Change]) -> tuple[Change, ...]:
    """Return the red changes of the first set of runs that the second set shows too."""
    again = {(one.arm, one.metric) for one in second if one.is_red}
    return tuple(one for one in first if one.is_red and (one.arm, one.metric) in again)


def _sides(
    baseline: Sequence[Record], candidate: Sequence[Record], label: str, name: str
) -> tuple[list[float], list[float]] | None:
    """Return the values of both sides; None where a run has none that is valid."""
    before, after = (
        [value for run in runs if (value := _value(run, label, name)) is not None]
        for runs in (baseline, candidate)
    )
    is_whole = len(before) == len(baseline) and len(after) == len(candidate)
    return (before, after) if is_whole else None


def _value(run: Record, label: str, name: str) -> float | None:
    arm = next((one for one in run.arms if one.label == label and one.role == "arm"), None)
    reading = None if arm is None else arm.metrics.get(name)
    if reading is None or reading.reasons or reading.value is None or reading.value <= 0:
        return None
    return float(reading.value)
