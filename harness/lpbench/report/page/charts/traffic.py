"""What passes read: experts' weights, and all terms of the ledger.

Owns: which terms stand apart.
Must not know: the look of all charts, the order of a page.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import altair as alt

from lpbench.record.schema import Arm, Record
from lpbench.report.page.charts.arms import arms, method, said, valid
from lpbench.report.page.number import number
from lpbench.report.page.picture import DARK, INK, PAPER, SERIES, WIDTH, Picture, drawable, picture

MOST_TERMS = 5
"""Terms of the ledger that have a colour of their own."""

GB = 1e9

_ROOM = 1.15
"""Of the axis over the longest bar, so that its sum fits behind it."""

_CHARACTER, _ASIDE = 6, 8
"""Pixels of a figure's character, and between it and its part's end, where a mark may stand."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a schedule's bar: so many GB, stacked in the order of `at`."""

    arm: str
    part: str
    gb: float
    at: int


def experts(record: Record, *, name: str) -> Picture | None:
    """Draw the expert bytes of each schedule, those that prefill added apart."""
    parts = []
    for arm in arms(record):
        whole = valid(arm, "expert_bytes")
        added = valid(arm, "expert_bytes_prefill_marginal")
        if whole is not None and added is not None:
            label = drawable(arm.label)
            parts.append(_Part(label, "read for decodes anyway", (whole - added) / GB, 0))
            parts.append(_Part(label, "added by prefill", added / GB, 1))
    if not parts:
        return None
    how = method(record, "expert_bytes")
    chart = _bars(parts, title=f"GB of expert weights, {how}")
    words = said(record, "expert_bytes", GB, "GB")
    return picture(
        chart,
        name=name,
        title="Expert weights that were read",
        alt_text=f"Stacked bars of expert bytes, {how}. {words}.",
        caption=f"All iterations of the run. Method: {how}.",
    )


def ledger(record: Record, *, name: str) -> Picture | None:
    """Draw every schedule's reads by term, the counted experts and the measured bytes beside."""
    parts, marks = [], []
    for arm in arms(record):
        label = drawable(arm.label)
        for at, (part, amount) in enumerate(_terms(arm).items()):
            parts.append(_Part(label, part, amount / GB, at))
        counted, measured = arm.ledger.counted_bytes, arm.ledger.dram_bytes
        if counted is not None:
            marks.append({"arm": label, "what": "experts, counted", "gb": counted / GB})
        if measured is not None and measured.validity == "valid" and measured.value is not None:
            marks.append({"arm": label, "what": "all DRAM, measured", "gb": measured.value / GB})
    if not parts:
        return None
    bars = _bars(parts, title="GB read and written, modelled")
    kinds = ["experts, counted", "all DRAM, measured"]
    ticks = (
        alt.Chart(alt.InlineData(values=marks))
        .mark_point(size=70, filled=True, color=INK, opacity=1)
        .encode(
            alt.X("gb:Q"),
            alt.Y("arm:N", sort=None),
            alt.Shape("what:N", scale=alt.Scale(domain=kinds, range=["triangle-up", "diamond"])),
        )
    )
    return picture(
        alt.layer(bars, ticks),
        name=name,
        title="The ledger: all that passes move",
        alt_text="Stacked bars of modelled bytes by term, with marks for counted expert bytes and "
        f"measured DRAM bytes. {_ledger_said(record)}.",
        caption="Bars: modelled in closed form, experts for the routing that happened. "
        "Triangle: experts as counted. Diamond: DRAM as measured, where it was.",
    )


def _terms(arm: Arm) -> dict[str, float]:
    """Return the bytes of the largest terms, and those of all others together."""
    ranked = sorted((one for one in arm.ledger.modelled if one.bytes), key=lambda one: -one.bytes)
    found = {drawable(one.name.replace("_", " ")): float(one.bytes) for one in ranked[:MOST_TERMS]}
    if len(ranked) > MOST_TERMS:
        found["all others"] = float(sum(one.bytes for one in ranked[MOST_TERMS:]))
    return found


def _ledger_said(record: Record) -> str:
    return "; ".join(
        f"{drawable(arm.label)}: "
        + ", ".join(f"{part} {number(amount / GB)} GB" for part, amount in _terms(arm).items())
        for arm in arms(record)
    )


def _bars(parts: Sequence[_Part], *, title: str) -> alt.LayerChart:
    """Return stacked bars, a schedule a line, each with its sum; wide parts have their figure."""
    kinds = list(dict.fromkeys(one.part for one in parts))
    sums: defaultdict[str, float] = defaultdict(float)
    for one in parts:
        sums[one.arm] += one.gb
    longest = max(sums.values()) or 1.0
    colours = [SERIES[at % len(SERIES)] for at in range(len(kinds))]
    dark = {kind: colour in DARK for kind, colour in zip(kinds, colours, strict=True)}
    values = [
        {**asdict(one), "text": _text_in(one.gb, longest=longest), "dark": dark[one.part]}
        for one in parts
    ]
    base = alt.Chart().encode(
        alt.X("gb:Q", title=title, stack="zero", scale=alt.Scale(domainMax=_ROOM * longest)),
        alt.Y("arm:N", sort=None, title=None),
        order=alt.Order("at:Q"),
    )
    bars = base.mark_bar(stroke=PAPER, strokeWidth=1).encode(
        alt.Color("part:N", scale=alt.Scale(domain=kinds, range=colours), sort=None)
    )
    ink = alt.when("datum.dark").then(alt.value("white")).otherwise(alt.value("black"))
    text = base.mark_text(align="right", dx=-_ASIDE, fontSize=10).encode(
        alt.Text("text:N"), detail="part:N", color=ink
    )
    totals = [{"arm": arm, "gb": gb, "text": number(gb)} for arm, gb in sums.items()]
    ends = (
        alt.Chart(alt.InlineData(values=totals))
        .mark_text(align="left", dx=4, fontSize=10)
        .encode(alt.X("gb:Q"), alt.Y("arm:N", sort=None), alt.Text("text:N"))
    )
    return alt.LayerChart(
        data=alt.InlineData(values=values),
        layer=[bars, text, ends],
        width=WIDTH,
        height=alt.Step(30),
    )


def _text_in(gb: float, *, longest: float) -> str:
    """Return a part's figure where the part is wide enough for it, else nothing."""
    text = number(gb)
    return text if gb / (_ROOM * longest) * WIDTH > _CHARACTER * len(text) + _ASIDE else ""
