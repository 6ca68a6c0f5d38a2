"""The ledger of a run as a table: bytes counted, modelled and measured, term by term.

Owns: the words of the terms, the rounding, how many schedules stand side by side.
Must not know: how a number was taken.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from lpbench.record.schema import Arm, Ledger, Reading, Record
from lpbench.report.table import Table
from lpbench.units import format_bytes

ABSENT = "-"
ARMS_ABREAST = 4
"""So many schedules fit beside the terms in 80 columns."""

WORDS: Mapping[str, str] = {
    "experts": "experts, this routing",
    "kv_read": "KV read",
    "kv_written": "KV written",
    "unmodelled_dram": "DRAM - whole passes",
    "routing_skew": "counted - uniform",
    "iteration_log": "counted - this routing",
}
"""What a term is called in the table, where its name with spaces would not do."""


def ledger_tables(record: Record) -> tuple[Table, ...]:
    """Return the terms as rows and the schedules as columns, a few schedules a table."""
    return tuple(
        _table(record.arms[at : at + ARMS_ABREAST])
        for at in range(0, len(record.arms), ARMS_ABREAST)
    )


def _table(arms: Sequence[Arm]) -> Table:
    columns = [list(_cells(arm.ledger)) for arm in arms]
    terms = dict.fromkeys(name for cells in columns for name, _ in cells)
    found = [dict(cells) for cells in columns]
    return Table(
        title="ledger: bytes of all iterations",
        columns=("term", "how", *(arm.label for arm in arms)),
        rows=tuple((*term, *(cells.get(term, ABSENT) for cells in found)) for term in terms),
        left=(0, 1),
    )


def _cells(ledger: Ledger) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield ((term, how it is known), figure)."""
    yield ("experts", "counted"), _bytes(ledger.counted_bytes)
    yield ("experts", "measured"), _bytes(ledger.measured_bytes)
    yield ("experts, uniform routing", "modelled"), _bytes(ledger.modelled_bytes)
    for term in ledger.modelled:
        yield (_words(term.name), "modelled"), _bytes(term.bytes)
    whole = sum(term.bytes for term in ledger.modelled) if ledger.modelled else None
    yield ("whole passes", "modelled"), _bytes(whole)
    yield ("whole passes, DRAM", "measured"), _reading(ledger.dram_bytes, _bytes)
    for term in ledger.residual:
        yield (_words(term.name), "residual"), _bytes(term.bytes)
    yield ("re-read factor", "measured"), _reading(ledger.reread_factor, "{:.2f}".format)


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _bytes(value: float | None) -> str:
    return ABSENT if value is None else format_bytes(value)


def _reading(reading: Reading | None, show: Callable[[float], str]) -> str:
    """Return a reading with the reasons against it; without one, that nothing is known."""
    if reading is None:
        return ABSENT
    value = ABSENT if reading.value is None else show(reading.value)
    return "\n".join((value, *reading.reasons))
