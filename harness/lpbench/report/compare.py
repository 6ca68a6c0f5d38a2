"""What `lpbench compare` says: verdicts, or the passes of one experiment side by side.

Owns: the words and the rounding.
Must not know: how a verdict comes about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from lpbench.analysis.joined import Joined
from lpbench.analysis.verdict import MODELLED, PROCESSES, Verdict
from lpbench.analysis.versus import ALL
from lpbench.record.schema import Reading
from lpbench.report.table import Table
from lpbench.units import (
    BYTES,
    COUNT,
    JOULES,
    MILLISECONDS,
    PER_SECOND,
    RATIO,
    format_bytes,
)

ABSENT = "-"

JOINED: Mapping[str, tuple[str, ...]] = {
    "expert\nbytes": ("expert_bytes",),
    "reload\nfactor": ("reload_factor",),
    "DRAM\nread": ("dram_bytes_read", "dram_bytes_gpm"),
    "TTFT\nmean": ("ttft_ms_mean",),
    "TBT\nmean": ("tbt_ms_mean",),
    "J per\ntoken": ("joules_per_total_token",),
    "J per out-\nput token": ("joules_per_output_token",),
}
"""The columns of the joined table, and what stands in each, the best first."""


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Return a row per verdict; below a change its interval, below a verdict what it detects.

    What no side has is left to the notes.
    """
    shown = [one for one in verdicts if not _is_nowhere(one)]
    rows = []
    for at, one in enumerate(shown):
        is_first = at == 0 or shown[at - 1].candidate != one.candidate
        rows.append((one.candidate if is_first else "", *_cells(one)))
    return Table(
        columns=("schedule", "metric", "before", "after", "change", "verdict"),
        rows=tuple(rows),
        left=(0, 1, 5),
    )


def _is_nowhere(one: Verdict) -> bool:
    return one.status == "incomparable" and one.before is None and one.metric != ALL


def _cells(one: Verdict) -> tuple[str, ...]:
    change = ABSENT if one.ratio is None else f"{one.ratio - 1:+.2%}"
    if one.interval is not None:
        low, high = (edge - 1 for edge in one.interval)
        change += f"\n{low:+.2%}..{high:+.2%}"
    said = f"{one.status}: {one.reason}"
    if one.detectable is not None:
        said += f"\ndetects {one.detectable:.2%}"
    if one.p is not None:
        said += f", p {one.p:.2g}"
    return (
        one.metric.replace("_", " "),
        _figure(one.before, one.unit),
        _figure(one.after, one.unit),
        change,
        said + "\nwithin this process" * one.within_process,
    )


MEANINGS: Mapping[str, str] = {
    "too_few_processes": "Measured figures are judged over processes: give folders of 6 runs or "
    "more, one folder a side.",
    "not_interleaved": "The arms of such a run do not take turns, so their times are not judged; "
    "run lpbench energy for joules, or compare two folders of runs.",
    "aa_not_null": "The first arm and its repetition differ: something but the schedule moved.",
    PROCESSES: "The two sides were not taken in turn: what the machine did meanwhile looks like a "
    "change. Run them alternately where that matters.",
    MODELLED: "Modelled figures have no noise: any difference is one, however small.",
    "not_deterministic": "Runs of one experiment counted differently; no count of theirs is exact.",
}
"""What a reason says of its verdict, or to do about it."""


def verdict_notes(verdicts: Sequence[Verdict], *, delta: float) -> tuple[str, ...]:
    """Return how many verdicts there are of each kind, and what they mean."""
    counted = Counter[str](one.status for one in verdicts)
    kinds = ("better", "worse", "same", "undecided", "incomparable")
    numbers = ", ".join(f"{counted[kind]} {kind}" for kind in kinds if counted[kind])
    rule = (
        f"{numbers or 'nothing to compare'}. Same is within {delta:.2%}; an interval that is not "
        "all within or all beyond it decides nothing."
    )
    said = [rule]
    nowhere: dict[str, dict[str, None]] = {}
    for one in filter(_is_nowhere, verdicts):
        nowhere.setdefault(one.reason, {})[one.metric.replace("_", " ")] = None
    said += [f"Not comparable ({why}): {', '.join(names)}." for why, names in nowhere.items()]
    reasons = {one.reason for one in verdicts}
    said += [meaning for reason, meaning in MEANINGS.items() if reason in reasons]
    if any(one.within_process for one in verdicts):
        said.append("A verdict within this process says nothing of the next one.")
    return tuple(said)


def joined_table(found: Joined) -> Table:
    """Return a row per arm: bytes, latency and joules of the same experiment."""
    runs = ", ".join(f"{command} of {count}" for command, count in found.runs.items())
    return Table(
        title=f"one experiment, its passes side by side (runs: {runs})",
        columns=("schedule", *JOINED),
        rows=tuple(
            (label, *(_cell(_best(readings, names)) for names in JOINED.values()))
            for label, readings in found.arms.items()
        ),
    )


def joined_notes(found: Joined) -> tuple[str, ...]:
    """Return what is missing from the table, or stands in brackets, with the reasons."""
    doubts: dict[str, dict[str, None]] = {}
    for readings in found.arms.values():
        for column, names in JOINED.items():
            one = _best(readings, names)
            for code in () if one is None else one.reasons:
                doubts.setdefault(column.replace("-\n", "").replace("\n", " "), {})[code] = None
    return tuple(f"Not valid: {name} ({', '.join(codes)})." for name, codes in doubts.items())


def _best(readings: Mapping[str, Reading], names: Sequence[str]) -> Reading | None:
    """Return the first of these readings that has a value, else the first there is."""
    found = [readings[name] for name in names if name in readings]
    return next((one for one in found if one.value is not None), next(iter(found), None))


def _cell(one: Reading | None) -> str:
    """Return the figure, in brackets where something stands against it."""
    if one is None or one.value is None:
        return ABSENT
    text = _figure(one.value, one.unit)
    return f"({text})" if one.reasons else text


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ABSENT
    forms = {
        MILLISECONDS: "{:.1f} ms",
        JOULES: "{:.4g} J",
        RATIO: "{:.3f}",
        COUNT: "{:.0f}",
        PER_SECOND: "{:.4g}/s",
    }
    return format_bytes(value) if unit == BYTES else forms.get(unit, "{:.4g}").format(value)
