"""What the counter pass of `lpbench traffic` measured, beside what was counted.

Owns: the words and the rounding.
Must not know: how a number was taken.
"""

from collections.abc import Iterator, Mapping, Sequence

from lpbench.record.schema import Arm, Reading, Record
from lpbench.report.ledger import ABSENT, ARMS_ABREAST
from lpbench.report.table import Table
from lpbench.units import format_bytes

ROWS: Mapping[str, str] = {
    "dram_bytes_read": "DRAM read",
    "dram_bytes_written": "DRAM written",
    "dram_bytes_gpm": "DRAM, both",
    "expert_bytes": "experts",
    "expert_bytes_measured": "experts",
    "expert_kernel_bytes_read": "experts' kernels, read",
}
"""What a metric is called, in the order of the rows."""

MEASURED = tuple(name for name in ROWS if name != "expert_bytes")


def measured_tables(record: Record) -> tuple[Table, ...]:
    """Return a row per figure and a column per schedule, where anything was measured.

    Below a figure stands what its method leaves open, or what is against it.
    """
    if not _sources(record):
        return ()
    return tuple(
        _table(record.arms[at : at + ARMS_ABREAST])
        for at in range(0, len(record.arms), ARMS_ABREAST)
    )


def _table(arms: Sequence[Arm]) -> Table:
    rows = [
        (ROWS[name], _how(name, arms), *(_cell(arm.metrics.get(name)) for arm in arms))
        for name in ROWS
        if any(name in arm.metrics for arm in arms)
    ]
    factors = tuple(_factor(arm.ledger.reread_factor) for arm in arms)
    return Table(
        title="bytes of one run",
        columns=("", "by", *(arm.label for arm in arms)),
        rows=(*rows, ("measured over counted", "", *factors)),
        left=(0, 1),
    )


def _how(name: str, arms: Sequence[Arm]) -> str:
    """Return which instrument, in a word."""
    if name == "expert_bytes":
        return "count"
    found = [arm.metrics[name] for arm in arms if name in arm.metrics]
    best = next((one for one in found if one.value is not None), found[0])
    return best.source.replace(":", " ").replace(",", " ").split()[0]


def _cell(reading: Reading | None) -> str:
    if reading is None or reading.value is None:
        return "\n".join((ABSENT, *(reading.reasons if reading else ())))
    text = format_bytes(reading.value)
    if reading.reasons:
        return "\n".join((f"({text})", *reading.reasons))
    return f"{text}\n±{format_bytes(reading.uncertainty)}" if reading.uncertainty else text


def _factor(reading: Reading | None) -> str:
    if reading is None or reading.value is None:
        return ABSENT
    return f"({reading.value:.2f})" if reading.reasons else f"{reading.value:.2f}"


def _sources(record: Record) -> tuple[str, ...]:
    """Return the instruments that gave a number."""
    return tuple(dict.fromkeys(_instruments(record)))


def _instruments(record: Record) -> Iterator[str]:
    for arm in record.arms:
        for name in MEASURED:
            reading = arm.metrics.get(name)
            if reading is not None and reading.value is not None:
                yield reading.source.partition(", kernels")[0]


def measured_notes(record: Record) -> tuple[str, ...]:
    """Return by what it was measured, and how."""
    sources = _sources(record)
    said = []
    if windowed := [one for one in sources if one != "ncu"]:
        said.append(
            f"DRAM bytes measured by {' and '.join(windowed)}, in a pass of its own: slopes "
            "between windows of N and 2N runs. Figures in brackets are not valid, for the reason "
            "below them."
        )
    if "ncu" in sources:
        said.append(
            "ncu sums what the experts' kernels read in one run, one kernel at a time: weights, "
            "and rows where no cache has them."
        )
    return tuple(said)
