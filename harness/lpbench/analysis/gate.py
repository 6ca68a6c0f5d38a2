"""The exact gate: deterministic figures equal the baseline's, or they do not.

Owns: which records may be compared, and the differences found.
Must not know: statistics, exit codes.
"""

from dataclasses import dataclass

from lpbench.analysis.metrics import METRICS
from lpbench.errors import InputError
from lpbench.record.schema import Arm, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure that is not the baseline's."""

    arm: str
    metric: str
    baseline: float | None
    candidate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the gate found.

    Attributes:
        compared: figures compared.
        arms: arms compared.
        differences: those that differ.
    """

    compared: int
    arms: int
    differences: tuple[Difference, ...]


def gate(baseline: Record, candidate: Record) -> Gate:
    """Compare every exact metric of every arm.

    Raises:
        InputError: the records are not of the same experiment, or one is not complete; names the
            key.
    """
    for name, record in (("baseline", baseline), ("record", candidate)):
        if record.status != "complete":
            msg = f"the {name} is of a run that failed ({record.failure}); it cannot be compared"
            raise InputError(msg)
    if baseline.spec.get("routing") == "model":
        msg = "routing=model follows float rounding; an exact gate needs calibrated or uniform"
        raise InputError(msg)
    for key in sorted({*baseline.spec, *candidate.spec}):
        before, after = baseline.spec.get(key), candidate.spec.get(key)
        if before != after:
            msg = f"not comparable: {key} is {after!r}, in the baseline {before!r}"
            raise InputError(msg)
    compared = 0
    differences: list[Difference] = []
    for arm, other in zip(baseline.arms, candidate.arms, strict=True):
        names = [name for name, metric in METRICS.items() if metric.exact]
        compared += len(names)
        differences += [found for name in names if (found := _differ(name, arm, other))]
    return Gate(compared=compared, arms=len(baseline.arms), differences=tuple(differences))


def _differ(name: str, baseline: Arm, candidate: Arm) -> Difference | None:
    before = baseline.metrics[name].value if name in baseline.metrics else None
    after = candidate.metrics[name].value if name in candidate.metrics else None
    if before == after:
        return None
    return Difference(arm=candidate.label, metric=name, baseline=before, candidate=after)
