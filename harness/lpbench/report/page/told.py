"""What a record says, as headlines and tables whose every figure says how it is known.

Owns: which figures stand in front, their units and rounding, the words above them.
Must not know: charts, HTML.

A record may be of a failed run, or have been written by hand: what is not there is not shown.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lpbench.analysis.comparable import is_modelled
from lpbench.analysis.metrics import ALL_METRICS
from lpbench.record.schema import Arm, Reading, Record
from lpbench.report import energy, traffic
from lpbench.report.ledger import ledger_tables
from lpbench.report.page.charts.arms import MOST_ARMS as DRAWN
from lpbench.report.page.number import number
from lpbench.report.table import Table

MOST_ARMS = 12
"""Schedules that stand side by side in a table; the others are named below it."""

NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure.

    Attributes:
        text: it, rounded; "-" where there is none.
        beside: what it is against the first schedule, or empty.
        reasons: what stands against it.
    """

    text: str
    beside: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A metric of every schedule.

    Attributes:
        name: what it is called.
        meaning: its formula in words.
        methods: how it is known: counted, measured, modelled.
        sources: the instruments.
        cells: one a schedule.
    """

    name: str
    meaning: str
    methods: tuple[str, ...]
    sources: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class _Shown:
    """How a metric is written: its heading, the factor to its unit there, the form."""

    heading: str
    scale: float = 1.0
    form: str = ""

    def write(self, value: float) -> str:
        """Return a value as it is shown."""
        scaled = value * self.scale
        return self.form.format(scaled) if self.form else number(scaled)


FRONT = {
    "expert_bytes": _Shown("expert weights read, GB", 1e-9),
    "expert_bytes_prefill_marginal": _Shown("added by prefill, GB", 1e-9),
    "reload_factor": _Shown("reload factor, 1 is ideal", 1, "{:.2f}"),
    "expert_coverage": _Shown("experts touched", 100, "{:.1f} %"),
    "expert_bytes_measured": _Shown("expert weights measured, GB", 1e-9),
    "dram_bytes_read": _Shown("DRAM read, GB", 1e-9),
    "ttft_ms_mean": _Shown("TTFT mean, ms"),
    "ttft_ms_p99": _Shown("TTFT p99, ms"),
    "tbt_ms_mean": _Shown("TBT mean, ms"),
    "tbt_ms_p99": _Shown("TBT p99, ms"),
    "e2e_ms_mean": _Shown("end to end mean, ms"),
    "slo_attainment": _Shown("requests that meet the SLO", 100, "{:.1f} %"),
    "goodput": _Shown("goodput, requests/s"),
    "request_rate_at_slo": _Shown("rate at the SLO, requests/s"),
    "joules_per_total_token": _Shown("joules per token"),
    "joules_per_output_token": _Shown("joules per output token"),
    "power_w_mean": _Shown("power, W"),
    "pass_ms_median": _Shown("pass, ms"),
    "bound_ms": _Shown("least it can take, ms"),
    "roofline_share": _Shown("share of the roofline", 100, "{:.1f} %"),
    "host_ms_median": _Shown("host, ms"),
}
"""The figures in front, in order; those that a record has."""


def labels(record: Record) -> tuple[str, ...]:
    """Return the schedules that stand side by side."""
    return tuple(
        f"{arm.label} (A/A)" if arm.role == "aa" else arm.label for arm in record.arms[:MOST_ARMS]
    )


def front_figures(record: Record) -> tuple[Figures, ...]:
    """Return the figures in front that any schedule has."""
    arms = record.arms[:MOST_ARMS]
    is_compared = not why_not_comparable(record)
    return tuple(
        _figures(arms, metric, shown.heading, shown.write, is_compared=is_compared)
        for metric, shown in FRONT.items()
        if any(arm.metrics[metric].value is not None for arm in arms if metric in arm.metrics)
    )


def all_figures(record: Record) -> tuple[Figures, ...]:
    """Return every reading of every schedule, in its own unit."""
    arms = record.arms[:MOST_ARMS]
    names = dict.fromkeys(name for arm in arms for name in arm.metrics)
    is_compared = not why_not_comparable(record)
    return tuple(
        _figures(arms, name, _with_unit(name, arms), "{:.6g}".format, is_compared=is_compared)
        for name in names
    )


def _with_unit(name: str, arms: Sequence[Arm]) -> str:
    units = dict.fromkeys(arm.metrics[name].unit for arm in arms if name in arm.metrics)
    return f"{name}, {' or '.join(units)}"


def _figures(
    arms: Sequence[Arm],
    metric: str,
    heading: str,
    write: Callable[[float], str],
    *,
    is_compared: bool,
) -> Figures:
    readings = [arm.metrics.get(metric) for arm in arms]
    found = [one for one in readings if one is not None]
    known = ALL_METRICS.get(metric)
    return Figures(
        name=heading,
        meaning=known.meaning if known else metric,
        methods=tuple(dict.fromkeys(one.method for one in found)),
        sources=tuple(dict.fromkeys(one.source for one in found)),
        cells=tuple(_cell(one, readings[0] if is_compared else None, write) for one in readings),
    )


def _cell(one: Reading | None, first: Reading | None, write: Callable[[float], str]) -> Cell:
    if one is None:
        return Cell(text=NOTHING)
    if one.value is None:
        return Cell(text=NOTHING, reasons=one.reasons)
    return Cell(text=write(one.value), beside=_beside(one, first), reasons=one.reasons)


def _beside(one: Reading, first: Reading | None) -> str:
    """Return by how much a valid value differs from the first schedule's."""
    if first is None or first is one or not first.valid_value or one.valid_value is None:
        return ""
    change = f"{one.valid_value / first.valid_value - 1:+.1%}"
    return "0.0%" if change in ("+0.0%", "-0.0%") else change


def title(record: Record) -> str:
    """Return what ran, and where."""
    spec = record.spec
    what = " ".join(str(spec[key]) for key in ("model", "workload") if key in spec)
    how = ", ".join(
        f"{words} {spec[key]}"
        for key, words in (("routing", "routing"), ("dtype", "in"), ("device", "on"))
        if key in spec
    )
    return ", ".join(part for part in (f"{record.command}: {what}".strip(": "), how) if part)


def why_not_comparable(record: Record) -> str:
    """Return why the schedules of a run are not put against each other; empty where they are."""
    if record.status != "complete":
        return (
            f"This run failed ({record.failure}). What stands below is what was done until then; "
            "its figures are not comparable."
        )
    if record.audit is not None and not record.audit.is_sound:
        return "The schedules did not compute the same: their figures are not comparable."
    if record.spec.get("find_rate"):
        return (
            "Each schedule is at a rate of its own: their rates compare, their times and joules do "
            "not."
        )
    return ""


def headlines(record: Record) -> Iterator[str]:
    """Yield who wins, by how much and how sure that is, as far as the record says it."""
    if why := why_not_comparable(record):
        yield why
        return
    arms = record.arms
    is_told = arms and {"routing", "device"} <= record.spec.keys()
    if is_told and record.command == "traffic" and _have(arms, "expert_bytes"):
        yield traffic.finding(record)
    elif is_told and record.command == "energy" and _have(arms, "joules_per_total_token"):
        yield energy.finding(record)
    shortest = tuple(_shortest(record))
    yield from shortest
    if shortest and record.command != "latency":
        yield traffic.clock_note(record)


def _have(arms: Sequence[Arm], metric: str) -> bool:
    return all(metric in arm.metrics for arm in arms)


def _shortest(record: Record) -> Iterator[str]:
    """Yield which schedule has the least mean TTFT and TBT, where they were taken."""
    sure = (
        "modelled: no noise, no machine"
        if is_modelled(record)
        else "one run, no interval: no verdict"
    )
    for metric, words in (("ttft_ms_mean", "mean TTFT"), ("tbt_ms_mean", "mean TBT")):
        found = [
            (value, arm.label)
            for arm in record.own_arms
            if metric in arm.metrics and (value := arm.metrics[metric].valid_value)
        ]
        if len(found) < 2:  # noqa: PLR2004 - there is nobody to be faster than
            continue
        (base, first), (best, label), (second, other) = found[0], *sorted(found)[:2]
        if second == best:
            yield f"{label} and {other} have the same {words}, the shortest: {best:.4g} ms."
            continue
        if label == first:
            against = f"{other} takes {second / best - 1:.1%} longer"
        else:
            against = f"{1 - best / base:.1%} less than {first}"
        yield f"{label} has the shortest {words}: {best:.4g} ms, {against} ({sure})."


def warnings(record: Record) -> tuple[str, ...]:
    """Return what to know before trusting a number."""
    seen = dict.fromkeys(
        f"{one.message} [{one.code}]" for arm in record.arms for one in arm.warnings
    )
    if len(record.own_arms) > DRAWN:
        shown = f"Pictures show the first {DRAWN} of {len(record.own_arms)} schedules, heat maps 3."
        seen[shown] = None
    left = record.arms[MOST_ARMS:]
    if left:
        seen[f"Not shown side by side: {', '.join(arm.label for arm in left[:50])}."] = None
    return tuple(seen)


def ledgers(record: Record) -> tuple[Table, ...]:
    """Return the ledger's tables, where there is one."""
    if not any(arm.ledger.modelled for arm in record.arms):
        return ()
    return ledger_tables(record.model_copy(update={"arms": record.arms[:MOST_ARMS]}))
