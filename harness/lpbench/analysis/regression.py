"""Regressions of times, rates and joules: over processes, over all gated metrics at once.

Owns: which metrics are gated, and when one is red.
Must not know: exact figures, files, exit codes.

Each of n intervals is held to 1 - 5 %/n (Bonferroni), so that all of them together miss with 5 % at
most, whatever the metrics have in common. Red is an interval that lies wholly above 1 + delta, or
below its inverse where more is better; and a red that a second set of runs does not show is no
regression but bad luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lpbench.analysis.comparable import differing_conditions, refuse_incomparable, refuse_mixed
from lpbench.analysis.metrics import COMPARED, MORE
from lpbench.analysis.pairs import in_turn
from lpbench.analysis.stats import CONFIDENCE, FEWEST, ProcessEffect, effect_between
from lpbench.analysis.verdict import DELTA
from lpbench.analysis.versus import LARGEST, SMALLEST
from lpbench.errors import InputError
from lpbench.record.schema import Record

GATED = (
    "ttft_ms_mean",
    "tbt_ms_mean",
    "tpot_ms_mean",
    "e2e_ms_mean",
    "joules_per_total_token",
    "joules_per_output_token",
    "output_token_throughput",
    "goodput",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressions:
    """What the gate over processes found.

    Attributes:
        changes: of every gated metric.
        void: arm, metric and why, of what the baseline has and the candidate has not: it proves
            nothing either way.
        in_turn: whether the two sets of runs took turns.
    """

    changes: tuple[Change, ...]
    void: tuple[tuple[str, str, str], ...]
    in_turn: bool


def regressions(
    baseline: Sequence[Record], candidate: Sequence[Record], *, delta: float = DELTA
) -> Regressions:
    """Return the change of every gated metric that is valid in all runs of the baseline.

    Raises:
        InputError: fewer than six runs a side, runs of other experiments or machines, or nothing
            to gate.
    """
    for runs, name in ((baseline, "the baseline"), (candidate, "the record")):
        refuse_mixed(runs, name=name)
        if len(runs) < FEWEST:
            msg = (
                f"{name} has {len(runs)} runs; times, rates and joules are gated over {FEWEST} or "
                f"more, as --num-runs {FEWEST} makes them"
            )
            raise InputError(msg)
    refuse_incomparable(baseline[0], candidate[0])
    if baseline[0].command != candidate[0].command:
        passes = f"{baseline[0].command!r} and {candidate[0].command!r}"
        raise InputError(f"not comparable: the passes are {passes}")
    if differ := differing_conditions(baseline[0], candidate[0]):
        msg = f"not comparable: times, rates and joules need the same {', '.join(differ)}"
        raise InputError(msg)
    turns = in_turn(baseline, candidate)
    figures, void = _side_by_side(*(turns or (baseline, candidate)))
    if not figures and not void:
        raise InputError("the baseline has no time, rate or joule that is valid in every run")
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(figures))
    found = []
    for (label, name), (before, after) in figures.items():
        effect = effect_between(before, after, is_paired=turns is not None, confidence=confidence)
        assert effect is not None, "there are enough runs"
        more = COMPARED[name].better == MORE
        red = effect.high * (1 + delta) < 1 if more else effect.low > 1 + delta
        found.append(Change(arm=label, metric=name, effect=effect, is_red=red))
    return Regressions(changes=tuple(found), void=void, in_turn=turns is not None)


def confirmed(first: Sequence[Change], second: Sequence[Change]) -> tuple[Change, ...]:
    """Return the red changes of the first set of runs that the second set shows too."""
    again = {(one.arm, one.metric) for one in second if one.is_red}
    return tuple(one for one in first if one.is_red and (one.arm, one.metric) in again)


def _side_by_side(
    baseline: Sequence[Record], candidate: Sequence[Record]
) -> tuple[
    dict[tuple[str, str], tuple[list[float], list[float]]], tuple[tuple[str, str, str], ...]
]:
    """Return both sides' values by arm and metric, and what the candidate lacks, with why."""
    pairs = {}
    void = []
    for arm in baseline[0].own_arms:
        for name in GATED:
            before, why = _values(baseline, arm.label, name)
            if why:
                continue
            after, why = _values(candidate, arm.label, name, source=arm.metrics[name].instrument)
            if why:
                void.append((arm.label, name, why))
            else:
                pairs[arm.label, name] = before, after
    return pairs, tuple(void)


def _values(
    runs: Sequence[Record], label: str, name: str, *, source: str | None = None
) -> tuple[list[float], str]:
    """Return one value a run; or what stands against the first run that has none.

    Args:
        runs: of one side.
        label: of the arm.
        name: of the metric.
        source: the instrument that the baseline's values are from; None for any.
    """
    found = []
    for run in runs:
        arm = run.arm(label)
        reading = None if arm is None else arm.metrics.get(name)
        if reading is None or reading.value is None:
            return [], ", ".join(reading.reasons) if reading else "not_recorded"
        if reading.reasons:
            return [], ", ".join(reading.reasons)
        if not SMALLEST < reading.value < LARGEST:
            return [], "out_of_range" if reading.value else "zero"
        if source is not None and reading.instrument != source:
            return [], "differs: source"
        found.append(float(reading.value))
    return found, ""
