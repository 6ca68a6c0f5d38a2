"""Verdicts: better, worse, same, undecided, incomparable, each with its reason.

Owns: the rule by which an interval becomes a verdict, and the evidence that stands beside it.
Must not know: readings, files, how a verdict is shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from lpbench.analysis.stats import ProcessEffect
from lpbench.record.schema import Record

PROCESSES, IN_TURN = "processes", "in_turn"
"""Reasons: by two sets of runs, each taken at a stretch, or by pairs of them."""

EXACT, MODELLED = "exact", "modelled"
"""Reasons: counts, and figures of which every run has the same, but for the last digits."""

ROUNDING = 1e-9
"""Share by which a modelled figure may differ from machine to machine: their libraries round
exponentials and sums otherwise."""

Status = Literal["better", "worse", "same", "undecided", "incomparable"]

DELTA = 0.01
"""Two figures within this of each other are the same, unless told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said of one metric of one arm.

    Attributes:
        metric: its name.
        unit: of the values.
        baseline: label of the arm it is compared with.
        candidate: label of the arm.
        status: the verdict.
        reason: its code.
        before: the baseline's value; None where there is none.
        after: the candidate's.
        ratio: candidate over baseline.
        interval: low and high of the ratio.
        within_process: whether the interval is of one process alone, and says nothing of the next.
        processes: of baseline and candidate.
        detectable: smallest change that would have been seen, as a share.
        p: by sign flips, as a second opinion.
    """

    metric: str
    unit: str
    baseline: str
    candidate: str
    status: Status
    reason: str
    before: float | None = None
    after: float | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    within_process: bool = False
    processes: tuple[int, int] = (1, 1)
    detectable: float | None = None
    p: float | None = None


class Side(BaseModel):
    """The runs on one side: of which experiment and pass, and how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec_hash: str
    command: str
    runs: int

    @classmethod
    def of(cls, runs: Sequence[Record]) -> Self:
        """Return what these runs are, all of one experiment."""
        return cls(spec_hash=runs[0].spec_hash, command=runs[0].command, runs=len(runs))


class Verdicts(BaseModel):
    """What `lpbench compare` found, as a document.

    Attributes:
        delta: what is the same.
        allowed: keys that were allowed to differ.
        sides: the runs that were compared, the baseline first; one for the arms of one experiment.
        verdicts: on every arm and metric.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    delta: float
    allowed: tuple[str, ...] = ()
    sides: tuple[Side, ...]
    verdicts: tuple[Verdict, ...]

    def to_json(self) -> str:
        """Return it as indented JSON with a final newline."""
        return self.model_dump_json(indent=1) + "\n"


def judge(low: float, high: float, *, delta: float) -> Status:
    """Return the verdict on an interval of candidate over baseline, where less is better.

    Same: all of it within `delta` either way. Better or worse: all of it beyond. Else undecided.
    Both sides are taken in logarithms: twice as much is as far as half as much.
    """
    assert low <= high, (low, high)
    margin = math.log1p(delta)
    first, last = math.log(low), math.log(high)
    if -margin <= first and last <= margin:
        return "same"
    if first > margin:
        return "worse"
    return "better" if last < -margin else "undecided"


def judge_exact(before: float, after: float, *, rounding: float = 0) -> Status:
    """Return the verdict on figures without noise, where less is better."""
    if math.isclose(before, after, rel_tol=rounding):
        return "same"
    return "better" if after < before else "worse"


def judge_effect(
    known: dict[str, Any], effect: ProcessEffect, *, delta: float, reason: str = PROCESSES
) -> Verdict:
    """Return the verdict on an effect over processes; `known` is what it holds in any case."""
    evidence = known | {
        "ratio": effect.ratio,
        "interval": (effect.low, effect.high),
        "detectable": effect.detectable - 1,
    }
    status = judge(effect.low, effect.high, delta=delta)
    return Verdict(**evidence, status=status, reason=reason)


def judge_plain(known: dict[str, Any], values: Sequence[Sequence[float]]) -> Verdict | None:
    """Return the verdict on figures of which no ratio can be taken, or that are all one number."""
    if len({value for side in values for value in side}) == 1:
        return Verdict(**known, status="same", reason="identical")
    if has_zero(values):
        return Verdict(**known, status="undecided", reason="zero")
    return None


def has_zero(sides: Sequence[Sequence[float]]) -> bool:
    """Return whether a value has no logarithm."""
    return any(value <= 0 for side in sides for value in side)
