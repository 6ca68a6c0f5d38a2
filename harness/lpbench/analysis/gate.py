"""The gate: deterministic figures equal the baseline's, measured DRAM bytes are near them.

Where nothing ran every figure is deterministic, but for the last digits of what is modelled.

Owns: which records may be compared, and the differences found.
Must not know: statistics, exit codes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lpbench.analysis.comparable import (
    differing_conditions,
    follows_the_clock,
    inexact,
    is_modelled,
)
from lpbench.analysis.metrics import ALL_METRICS
from lpbench.analysis.verdict import ROUNDING
from lpbench.errors import InputError
from lpbench.record.schema import Arm, Record

DRAM = ("dram_bytes_read", "dram_bytes_written", "dram_bytes_gpm", "expert_bytes_measured")
"""Measured figures that are steady enough to be gated without statistics ..."""

DRAM_TOLERANCE = 0.02
"""... within this share of the baseline's, either way (MEASURING.md 4.3)."""

_WAY_OUT = {
    False: "calibrated or uniform",
    True: "--executor roofline, or folders of 6 runs or more on either side",
}
"""What to do about counts that differ from run to run: by whether the clock is why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of an arm beside the baseline's.

    Attributes:
        arm: its label.
        metric: its name.
        baseline: the baseline's value; None where it has none.
        candidate: the record's.
        tolerance: share by which they may differ; 0 for a count, and next to nothing for what is
            modelled.
    """

    arm: str
    metric: str
    baseline: float | None
    candidate: float | None
    tolerance: float = 0

    @property
    def is_exact(self) -> bool:
        """Whether it is the same on every machine."""
        return self.tolerance <= ROUNDING

    @property
    def is_equal(self) -> bool:
        """Whether both are the same, within the tolerance."""
        if self.baseline is None or self.candidate is None or not self.tolerance:
            return self.baseline == self.candidate
        return abs(self.candidate - self.baseline) <= self.tolerance * abs(self.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the gate found.

    Attributes:
        arms: arms compared.
        figures: figures compared.
        void: arm, metric and codes of DRAM figures that the baseline has and the record measured
            without success: they prove nothing either way.
        skipped: arm, metric and why, of DRAM figures that the baseline has and that are not
            comparable here.
    """

    arms: int
    figures: tuple[Figure, ...]
    void: tuple[tuple[str, str, str], ...] = ()
    skipped: tuple[tuple[str, str, str], ...] = ()

    @property
    def differences(self) -> tuple[Figure, ...]:
        """The figures that differ."""
        return tuple(one for one in self.figures if not one.is_equal)


def gate(baseline: Record, candidate: Record) -> Gate:
    """Compare every exact metric of every arm; on the baseline's own machine DRAM bytes too.

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
    if baseline.command != candidate.command:
        msg = f"not comparable: the passes are {candidate.command!r} and {baseline.command!r}"
        raise InputError(msg)
    labels = [arm.label for arm in baseline.arms], [arm.label for arm in candidate.arms]
    if labels[0] != labels[1]:
        msg = f"not comparable: the arms are {labels[1]}, in the baseline {labels[0]}"
        raise InputError(msg)
    figures: list[Figure] = []
    void: list[tuple[str, str, str]] = []
    skipped: list[tuple[str, str, str]] = []
    differ = differing_conditions(baseline, candidate)
    for arm, other in zip(baseline.arms, candidate.arms, strict=True):
        figures += _exact(arm, other, modelled=is_modelled(baseline))
        if differ:
            why = f"differs: {', '.join(differ)}"
            skipped += [(arm.label, name, why) for name in DRAM if _is_valid(arm, name)]
            continue
        figures += _near(arm, other)
        void += _void(arm, other)
        skipped += _skipped(arm, other)
    if not figures:
        raise InputError("the records have no figure that is gated")
    return Gate(
        arms=len(baseline.arms), figures=tuple(figures), void=tuple(void), skipped=tuple(skipped)
    )


def check_exact(record: Record, *, name: str) -> None:
    """Hold a record to having figures that an exact gate can compare.

    Raises:
        InputError: its run failed, or its counts differ from run to run.
    """
    _check_complete(record, name=name)
    if why := inexact(record):
        msg = f"{why}; an exact gate needs {_WAY_OUT[follows_the_clock(record)]}"
        raise InputError(msg)


def _check_complete(record: Record, *, name: str) -> None:
    if record.status != "complete":
        msg = f"the {name} is of a run that failed ({record.failure}); it cannot be compared"
        raise InputError(msg)


def _exact(baseline: Arm, candidate: Arm, *, modelled: bool) -> Iterator[Figure]:
    there = baseline.metrics.keys() | candidate.metrics.keys()
    for name, metric in ALL_METRICS.items():
        if name in there and (metric.exact or modelled):
            yield _figure(name, baseline, candidate, tolerance=ROUNDING if modelled else 0)


def _near(baseline: Arm, candidate: Arm) -> Iterator[Figure]:
    """Return the DRAM figures that both have, valid and from one instrument."""
    for name in DRAM:
        before, after = baseline.metrics.get(name), candidate.metrics.get(name)
        if before is None or after is None or before.reasons or after.reasons:
            continue
        if before.source == after.source:
            yield _figure(name, baseline, candidate, tolerance=DRAM_TOLERANCE)


def _void(baseline: Arm, candidate: Arm) -> Iterator[tuple[str, str, str]]:
    """Return the DRAM figures that the baseline has, and the record has not, for a reason."""
    for name in DRAM:
        after = candidate.metrics.get(name)
        if _is_valid(baseline, name) and (after is None or after.reasons):
            codes = ("not_recorded",) if after is None else after.reasons
            yield candidate.label, name, ", ".join(codes)


def _skipped(baseline: Arm, candidate: Arm) -> Iterator[tuple[str, str, str]]:
    """Return the DRAM figures that are from another instrument than the baseline's."""
    for name in DRAM:
        if _is_valid(baseline, name) and _is_valid(candidate, name):
            source = candidate.metrics[name].source
            if source != baseline.metrics[name].source:
                yield candidate.label, name, f"differs: source ({source})"


def _is_valid(arm: Arm, name: str) -> bool:
    return name in arm.metrics and not arm.metrics[name].reasons


def _figure(name: str, baseline: Arm, candidate: Arm, *, tolerance: float) -> Figure:
    before, after = (one.metrics.get(name) for one in (baseline, candidate))
    return Figure(
        arm=candidate.label,
        metric=name,
        baseline=None if before is None else before.value,
        candidate=None if after is None else after.value,
        tolerance=tolerance,
    )
