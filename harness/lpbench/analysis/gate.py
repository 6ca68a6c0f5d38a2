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
    check_exact(baseline, name="baseline")
    _check_complete(candidate, name="record")
    for key in sorted({*baseline.spec, *candidate.spec}):
        before, after = baseline.spec.get(key), candidate.spec.get(key)
        if before != after:
            msg = f"not comparable: {key} is {after!r}, in the baseline {before!r}"
            raise InputError(msg)
    labels = [arm.label for arm in baseline.arms], [arm.label for arm in candidate.arms]
    if labels[0] != labels[1]:
        msg = f"not comparable: the arms are {labels[1]}, in the baseline {labels[0]}"
        raise InputError(msg)
    compared = 0
    differences: list[Difference] = []
    for arm, other in zip(baseline.arms, candidate.arms, strict=True):
        there = arm.metrics.keys() | other.metrics.keys()
        names = [name for name, metric in METRICS.items() if metric.exact and name in there]
        compared += len(names)
        differences += [found for name in names if (found := _differ(name, arm, other))]
    return Gate(compared=compared, arms=len(baseline.arms), differences=tuple(differences))


def check_exact(record: Record, *, name: str) -> None:
    """Hold a record to having figures that an exact gate can compare.

    Raises:
        InputError: its run failed, or its routing follows float rounding.
    """
    _check_complete(record, name=name)
    if record.spec.get("routing") == "model":
        msg = "routing=model follows float rounding; an exact gate needs calibrated or uniform"
        raise InputError(msg)


def _check_complete(record: Record, *, name: str) -> None:
    if record.status != "complete":
        msg = f"the {name} is of a run that failed ({record.failure}); it cannot be compared"
        raise InputError(msg)


def _differ(name: str, baseline: Arm, candidate: Arm) -> Difference | None:
    before = baseline.metrics[name].value if name in baseline.metrics else None
    after = candidate.metrics[name].value if name in candidate.metrics else None
    if before == after:
        return None
    return Difference(arm=candidate.label, metric=name, baseline=before, candidate=after)
