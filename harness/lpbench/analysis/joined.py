"""Several passes of one experiment as one: what each of them knows of an arm, side by side.

Owns: which records are of one experiment, whose reading stands where two passes have one, and what
is said of a figure that several runs have.
Must not know: how the table is shown.
"""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from lpbench.analysis.comparable import differing_conditions, differing_kernels
from lpbench.analysis.metrics import COMPARED
from lpbench.errors import InputError
from lpbench.record.schema import Arm, Reading, Record


class Joined(BaseModel):
    """The passes of one experiment.

    Attributes:
        spec_hash: of the experiment.
        runs: how many there are of each pass.
        arms: what is known of each by metric; over several runs a mean.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec_hash: str
    runs: dict[str, int]
    arms: dict[str, dict[str, Reading]]

    def to_json(self) -> str:
        """Return it as indented JSON with a final newline."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"


def join_passes(records: Sequence[Record]) -> Joined:
    """Return the readings of every arm by label and metric; the first pass where it is valid wins.

    Args:
        records: of one experiment, each pass in one run or in several.

    Raises:
        InputError: the records are not of one experiment and machine, or of a run that failed.
    """
    _refuse_unjoinable(records)
    passes: dict[str, list[Record]] = {}
    for record in records:
        passes.setdefault(record.command, []).append(record)
    arms: dict[str, dict[str, Reading]] = {}
    for runs in passes.values():
        for arm in runs[0].own_arms:
            known = arms.setdefault(arm.label, {})
            there = [run.arm(arm.label) for run in runs]
            for name in arm.metrics:
                if name not in known or known[name].validity != "valid":
                    known[name] = _better(known.get(name), _over(name, there))
    counts = {command: len(runs) for command, runs in passes.items()}
    return Joined(spec_hash=records[0].spec_hash, runs=counts, arms=arms)


def _refuse_unjoinable(records: Sequence[Record]) -> None:
    first = records[0]
    for record in records:
        if record.spec_hash != first.spec_hash:
            msg = (
                "not of one experiment: the records' spec_hash differ "
                f"({first.spec_hash[:8]} and {record.spec_hash[:8]})"
            )
            raise InputError(msg)
        if record.status != "complete":
            msg = f"a record is of a run that failed ({record.failure}); it cannot be joined"
            raise InputError(msg)
        if differ := differing_conditions(first, record):
            raise InputError(f"not of one machine: the records' {', '.join(differ)} differ")
        if kernels := differing_kernels(first, record):
            raise InputError(f"not of one engine: the records are of runs {kernels}")


def _better(first: Reading | None, second: Reading) -> Reading:
    """Return the second reading where it alone is valid, or there is no first."""
    return first if first is not None and second.validity != "valid" else second


def _over(name: str, arms: Sequence[Arm | None]) -> Reading:
    """Return what several runs say of a metric: their mean, with all that stands against it."""
    found = [None if arm is None else arm.metrics.get(name) for arm in arms]
    readings = [one for one in found if one is not None]
    first = readings[0]
    if len(found) == 1:
        return first
    values = [one.value for one in readings if one.value is not None]
    against = [code for one in readings for code in one.reasons]
    against += ["not_recorded"] * (len(readings) < len(found))
    against += ["differs: source"] * (len({one.instrument for one in readings}) > 1)
    is_exact = name in COMPARED and COMPARED[name].exact
    against += ["not_deterministic"] * (is_exact and len({*values}) > 1)
    return Reading(
        value=(values[0] if len({*values}) == 1 else fmean(values)) if values else None,
        unit=first.unit,
        method=first.method,
        source=f"{first.instrument}, mean of {len(values)} runs",
        validity="absent" if not values else "invalid" if against else "valid",
        reasons=tuple(dict.fromkeys(against)),
        pass_=first.pass_,
        samples=tuple(values),
    )
