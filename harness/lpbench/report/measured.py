"""What the counter pass of `lpbench traffic` measured, beside what was counted.

Owns: the words and the rounding.
Must not know: how a number was taken.
"""

from collections.abc import Mapping

from lpbench.record.schema import Arm, Reading, Record
from lpbench.report.table import Table

ABSENT = "-"

COLUMNS: Mapping[str, str] = {
    "dram_bytes_read": "read\nGB",
    "dram_bytes_written": "written\nGB",
    "dram_bytes_gpm": "both by\nGPM GB",
    "expert_bytes": "experts\ncounted",
    "expert_bytes_measured": "experts\nmeasured",
    "expert_kernel_bytes_read": "their ker-\nnels, ncu",
}
"""The headings by metric, in their order."""

MEASURED = tuple(name for name in COLUMNS if name != "expert_bytes")


def measured_table(record: Record) -> tuple[Table, ...]:
    """Return a row per arm, where anything was measured.

    Below a figure stands its uncertainty, or what is against it.
    """
    if not any(reading.value is not None for _, reading in _readings(record)):
        return ()
    names = [name for name in COLUMNS if any(name in arm.metrics for arm in record.arms)]
    return (
        Table(
            title="DRAM bytes of one run, measured",
            columns=("schedule", *(COLUMNS[name] for name in names), "re-read\nfactor"),
            rows=tuple(_row(arm, names) for arm in record.arms),
        ),
    )


def _readings(record: Record) -> list[tuple[str, Reading]]:
    return [
        (name, arm.metrics[name]) for arm in record.arms for name in MEASURED if name in arm.metrics
    ]


def _row(arm: Arm, names: list[str]) -> tuple[str, ...]:
    cells = [_cell(arm.metrics.get(name), scale=1e-9) for name in names]
    return (arm.label, *cells, _cell(arm.ledger.reread_factor, scale=1))


def _cell(reading: Reading | None, *, scale: float) -> str:
    """Return a figure; in brackets one that is not valid, with the codes against it."""
    if reading is None or reading.value is None:
        return ABSENT
    text = f"{reading.value * scale:.2f}"
    if reading.reasons:
        return "\n".join((f"({text})", *reading.reasons))
    known = reading.uncertainty
    return f"{text}\n+-{known * scale:.2g}" if known else text


def measured_notes(record: Record) -> tuple[str, ...]:
    """Return by what it was measured."""
    found = _readings(record)
    sources = dict.fromkeys(one.source for _, one in found if one.value is not None)
    if not sources:
        return ()
    said = (
        f"DRAM bytes measured by {', '.join(sources)}, in a pass of its own: slopes between "
        "windows of N and 2N runs. The re-read factor is experts measured over counted."
    )
    return (said,)
