"""Several passes of one experiment as one: what each of them knows of an arm, side by side.

Owns: which records are of one experiment, and whose reading stands where two have one.
Must not know: how the table is shown.
"""

from collections.abc import Mapping, Sequence

from lpbench.analysis.comparable import machine_differences
from lpbench.errors import InputError
from lpbench.record.schema import Reading, Record


def join_passes(records: Sequence[Record]) -> Mapping[str, Mapping[str, Reading]]:
    """Return the readings of every arm by label and metric; the first record that has one wins.

    Raises:
        InputError: the records are not of one experiment and machine, or of a run that failed.
    """
    arms: dict[str, dict[str, Reading]] = {}
    for record in records:
        if record.spec_hash != records[0].spec_hash:
            msg = (
                "not of one experiment: the records' spec_hash differ "
                f"({records[0].spec_hash[:8]} and {record.spec_hash[:8]})"
            )
            raise InputError(msg)
        if record.status != "complete":
            msg = f"a record is of a run that failed ({record.failure}); it cannot be joined"
            raise InputError(msg)
        if machine := machine_differences(records[0], record):
            raise InputError(f"not of one machine: the records' {', '.join(machine)} differ")
        for arm in record.arms:
            if arm.role == "arm":
                known = arms.setdefault(arm.label, {})
                known |= {name: one for name, one in arm.metrics.items() if name not in known}
    return arms
