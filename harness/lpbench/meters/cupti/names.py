"""The names of the DRAM counters, which differ by chip, and what is sampled beside them.

Owns: the names, the rule that picks them, the chips that trigger on the SYS clock.
Must not know: how a chip is asked.

Checked against libnvperf_host 13.5: `dram__bytes_read` on GA100, AD102, GH100, GB100;
`dram__bytes_op_read` on GB202, GB203, GR100. Unit bytes, one pass with or without BESIDE.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from lpbench.meters.cupti.fault import SamplerError


@dataclass(frozen=True, slots=True, kw_only=True)
class DramMetrics:
    """The pair of counters whose samples are bytes of DRAM traffic of the whole device."""

    read: str
    written: str


PAIRS = (
    DramMetrics(read="dram__bytes_read.sum", written="dram__bytes_write.sum"),
    DramMetrics(read="dram__bytes_op_read.sum", written="dram__bytes_op_write.sum"),
)
"""In the order they are tried."""

BESIDE = (
    "dram__cycles_elapsed.avg.per_second",
    "gpc__cycles_elapsed.avg.per_second",
    "sm__cycles_active.avg",
    "gpu__time_duration.sum",
)
"""Sampled in the same pass: memory clock (Hz), SM clock (Hz), busy cycles, duration (ns)."""

_SYSCLK_CHIPS = ("GA100", "TU")


def triggers_on_sysclk(chip: str) -> bool:
    """Return whether the chip cannot sample by time: Turing and GA100 count SYS clock cycles."""
    return chip.startswith(_SYSCLK_CHIPS)


def resolve(chip: str, known: Callable[[tuple[str, ...]], Collection[str]]) -> DramMetrics:
    """Return the counters that the chip has.

    Args:
        chip: its name, for the message.
        known: answers which of these metrics the chip has.

    Raises:
        SamplerError: it has none of them; nothing is guessed.
    """
    for pair in PAIRS:
        names = (pair.read, pair.written)
        if set(names) <= set(known(names)):
            return pair
    tried = ", ".join(pair.read for pair in PAIRS)
    raise SamplerError("unknown_metric", f"{chip} has none of the DRAM counters {tried}")
