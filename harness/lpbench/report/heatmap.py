"""The regime map as a picture: who wins where, by how much, and what adaptive gains.

Owns: colours, layout, the words around the panels, the SVG.
Must not know: who wins a field and what is written in it (`regime` says), how a point was run,
files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import altair as alt
import vl_convert

from lpbench.analysis.regime import ADAPTIVE, Field
from lpbench.report.regime import Spot, gain_text, win_text

CELL_WIDTH, CELL_HEIGHT = 34, 21
"""Pixels of a cell: "C alone" must fit."""

WIDTH, GAP = 1125, 12
"""Pixels that panels side by side may take, unless one alone is wider, and between them."""

LABELS = 30
"""Pixels for the numbers of decodes: the same for every machine, so that panels line up."""

FULL = 1.0
"""The share at which a colour is full: the other takes twice as long."""

WHITE_FROM = 0.7
"""The share from which white is read better on a colour than black: both at 4.5 to 1 there."""

SHARES = (-FULL, -WHITE_FROM, -0.25, 0.0, 0.25, WHITE_FROM, FULL)
"""Where the seven colours of a drawing stand; a quarter is told from a tie at a glance."""

GREY = "#bdbdbd"

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""As narrow as the one by which the layout was measured, which the renderer brings."""

TITLE = "Regime map: the least mean TTFT where the p99 TBT keeps the budget"
SUBTITLE = (
    "All figures are modelled; each schedule with its best parameters there.",
    "Down: decodes in flight. Across: prompts x tokens of each. A panel: a budget for the TBT.",
)

Datum: TypeAlias = Mapping[str, str | int | float | None]
"""A cell: its place `across` and `down`, the `budget` whose panel it is in, `text` and `share`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One way to look at a map.

    Attributes:
        title: what is compared.
        colours: those of `SHARES`; two hues that the colour-blind tell apart.
        text: what stands in a field.
        share: where between the colours a field is; None where nobody is ahead.
        key: an example of every text with its share, and what it means.
    """

    title: str
    colours: tuple[str, ...]
    text: Callable[[Field], str]
    share: Callable[[Field], float | None]
    key: tuple[tuple[str, float | None, str], ...]


def _win_share(field: Field) -> float | None:
    """Return by how much layered leads; negative where chunked does."""
    if field.winner in (None, "tie"):
        return None if field.winner is None else 0.0
    lead = FULL if field.margin is None else field.margin
    return lead if field.winner == "layered" else -lead


def _gain_share(field: Field) -> float | None:
    """Return by how much adaptive leads; negative where it is slower or over the budget."""
    if ADAPTIVE in field.void:
        return None
    if field.adaptive_gain is None:
        return FULL if ADAPTIVE in field.best else None
    return max(field.adaptive_gain, -FULL)


DRAWINGS = (
    Drawing(
        title="Chunked or layered prefill: who wins, and by how many %",
        colours=("#084594", "#2379c2", "#9ecae1", "#f7f7f7", "#fdbe85", "#c35406", "#8c2d04"),
        text=win_text,
        share=_win_share,
        key=(
            ("C alone", -FULL, "only chunked keeps the budget"),
            ("C 40", -0.4, "chunked wins: layered takes 40 % longer"),
            ("=", 0.0, "a tie: within 1 %"),
            ("L 40", 0.4, "layered wins: chunked takes 40 % longer; the colour is full at 100 %"),
            ("L alone", FULL, "only layered keeps the budget"),
            ("-", None, "neither keeps the budget"),
            ("?", None, "no valid figure: a schedule preempted decodes, or they ended"),
        ),
    ),
    Drawing(
        title="Adaptive: by how many % it is faster than the better of the two",
        colours=("#5b1a6e", "#a556b4", "#d2b6de", "#f7f7f7", "#a6dba0", "#2d8643", "#00551f"),
        text=gain_text,
        share=_gain_share,
        key=(
            ("alone", FULL, "only adaptive keeps the budget"),
            ("+40", 0.4, "adaptive is faster: the better of the two takes 40 % longer"),
            ("-4", -0.04, "adaptive is slower: the better of the two takes 4 % less"),
            ("over", -FULL, "adaptive breaks the budget, which one of the two keeps"),
            ("-", None, "none of the three keeps the budget"),
            ("?", None, "no valid figure of adaptive"),
        ),
    ),
)


def heatmap_svg(spots: Sequence[Spot]) -> str:
    """Return a map as an SVG document, which refers to nothing outside itself.

    Args:
        spots: at least one; those of a machine follow each other, as `spots_of` returns them.
    """
    chart = (
        alt.vconcat(*(_block(drawing, spots) for drawing in DRAWINGS), spacing=50)
        .resolve_scale(color="independent")
        .properties(title=alt.Title(TITLE, fontSize=18, subtitle=SUBTITLE, offset=20))
        .configure(font=FONT)
        .configure_title(anchor="start", subtitlePadding=6)
        .configure_view(stroke=None)
        .configure_scale(invalid={"color": {"value": GREY}})
    )
    return vl_convert.vegalite_to_svg(chart.to_json(), allowed_base_urls=[])


def _block(drawing: Drawing, spots: Sequence[Spot]) -> alt.VConcatChart:
    by_machine = groupby(spots, key=lambda spot: spot.machine)
    panels = (_panels(drawing, tuple(found), machine=machine) for machine, found in by_machine)
    return alt.vconcat(_key(drawing), *panels, title=alt.Title(drawing.title, fontSize=15))


def _key(drawing: Drawing) -> alt.LayerChart:
    """Return the examples below each other, each with its meaning on the right."""
    data = [
        {"across": "", "down": words, "text": text, "share": share}
        for text, share, words in drawing.key
    ]
    words = alt.Axis(orient="right", ticks=False, domain=False, labelLimit=WIDTH)
    return _cells(
        drawing,
        data,
        across=alt.X("across:N", axis=None),
        down=alt.Y("down:N", axis=words, sort=None, title=None),
    )


def _panels(drawing: Drawing, spots: Sequence[Spot], *, machine: str) -> alt.FacetChart:
    """Return the panels of a machine, one a budget."""
    columns = sorted({(spot.prompt_len, spot.prompts) for spot in spots})
    budgets = sorted({spot.field.budget_ms for spot in spots})
    data = [
        {
            "across": _column(spot.prompt_len, spot.prompts),
            "down": spot.decodes,
            "budget": _panel(spot.field.budget_ms),
            "text": drawing.text(spot.field),
            "share": drawing.share(spot.field),
        }
        for spot in spots
    ]
    two_lines = alt.Axis(labelExpr="split(datum.label, '\\n')", labelAngle=0)
    across = alt.X("across:N", axis=two_lines, title=None)
    cells = _cells(
        drawing,
        data,
        across=across.scale(domain=[_column(*column) for column in columns]),
        down=alt.Y("down:O", axis=alt.Axis(minExtent=LABELS, maxExtent=LABELS), title="decodes"),
    )
    side_by_side = max(1, (WIDTH + GAP) // (CELL_WIDTH * len(columns) + GAP))
    return cells.facet(
        alt.Facet("budget:N", sort=list(map(_panel, budgets)), title=None),
        columns=side_by_side,
        spacing=GAP,
        title=_drawable(machine),
    )


def _column(prompt_len: int, prompts: int) -> str:
    return f"{prompts} x\n{prompt_len}"


def _panel(budget_ms: int) -> str:
    return f"TBT {budget_ms} ms"


def _drawable(label: str) -> str:
    """Return a label without the characters that XML has no way to write."""
    return "".join(one if one.isprintable() else "?" for one in label)


def _cells(
    drawing: Drawing, data: Sequence[Datum], *, across: alt.X, down: alt.Y
) -> alt.LayerChart:
    scale = alt.Scale(domain=SHARES, range=drawing.colours, interpolate="rgb", clamp=True)
    base = alt.Chart().encode(across, down)
    ground = base.mark_rect(invalid="show", stroke="#d9d9d9", aria=False).encode(
        alt.Color("share:Q", scale=scale, legend=None)
    )
    ink = alt.when(f"abs(datum.share) >= {WHITE_FROM}").then(alt.value("white"))
    text = base.mark_text(fontSize=9, aria=False).encode(
        alt.Text("text:N"), color=ink.otherwise(alt.value("black"))
    )
    return alt.LayerChart(
        data=alt.InlineData(values=data),
        layer=[ground, text],
        width=alt.Step(CELL_WIDTH),
        height=alt.Step(CELL_HEIGHT),
    )
