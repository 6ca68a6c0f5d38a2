"""A chart as SVG for the page and as PNG for elsewhere, in one look.

Owns: colours, type, sizes, what makes a picture readable in the dark, in print and without colour.
Must not know: what is drawn.

Text and lines of a chart are given colours that occur nowhere else; in the SVG they become those of
the page around it, so that one picture serves in light and in dark.
"""

import re
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import altair as alt
import vl_convert

Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.VConcatChart | alt.FacetChart

WIDTH = 270
"""Pixels of a plot: with its axis it fits a phone, and two stand side by side on a desk."""

SERIES = ("#0072b2", "#d55e00", "#009e73", "#a0528a", "#b8860b", "#5b6b7a")
"""Colours that the colour-blind tell apart (Okabe and Ito), dark enough on white and light enough
on black: 3 to 1."""

DARK = frozenset({SERIES[0], SERIES[3], SERIES[5]})
"""Those on which white is read better than black: at 4.5 to 1 at least, as black on the others."""

DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (4, 4), (1, 3))
"""The same for those who see no colours."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""As narrow as the one by which the renderer lays text out."""

INK, LINE, PAPER = "#010203", "#040506", "#070809"
_ON_PAGE = {INK: "currentColor", LINE: "var(--line)", PAPER: "var(--paper)"}
_ON_PAPER = {INK: "#1b1b1b", LINE: "#d4d4d4", PAPER: "#ffffff"}

_SCALE = 2
"""Pixels of a PNG by pixel of the layout."""

_ID = re.compile(r'(\bid="|url\(#|href="#)([\w-]+)')

_NAMED = re.compile(r' (role="graphics-[a-z]+"|aria-(roledescription|label)="[^"<>]*")')
"""Roles and names of parts of a chart, which its own alt text stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart.

    Attributes:
        name: of its PNG, without the ending; unique on a page.
        title: above it.
        alt: what it shows, for those who do not see it.
        caption: where its figures are from, and what to know of them.
        spec: Vega-Lite, as JSON.
    """

    name: str
    title: str
    alt: str
    caption: str
    spec: str

    def svg(self) -> str:
        """Return it as an SVG element that refers to nothing outside itself.

        The renderer counts ids on from picture to picture; here they begin anew, so that the same
        picture is the same text.
        """
        text = vl_convert.vegalite_to_svg(self.spec, allowed_base_urls=[])
        for colour, name in _ON_PAGE.items():
            text = text.replace(f'"{colour}"', f'"{name}"')
        ids: dict[str, str] = {}
        text = _ID.sub(
            lambda found: found[1] + ids.setdefault(found[2], f"{self.name}-{len(ids)}"), text
        )
        text = without_names(text)
        return text.replace("<svg ", f'<svg role="img" aria-label="{escape(self.alt)}" ', 1)

    def png(self) -> bytes:
        """Return it as a PNG on white."""
        spec = self.spec
        for colour, other in _ON_PAPER.items():
            spec = spec.replace(f'"{colour}"', f'"{other}"')
        return vl_convert.vegalite_to_png(spec, scale=_SCALE, allowed_base_urls=[])


def without_names(svg: str) -> str:
    """Return an SVG whose parts have no roles and names of their own: it has one alt text."""
    return _NAMED.sub("", svg)


def svg_to_png(svg: str) -> bytes:
    """Return an SVG document as a PNG."""
    return vl_convert.svg_to_png(svg, scale=_SCALE)


def picture(chart: Chart, *, name: str, title: str, alt_text: str, caption: str) -> Picture:
    """Return a chart in the look of all."""
    drawn = (
        chart.configure(font=FONT, background=PAPER, aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            tickColor=LINE,
            domainColor=LINE,
            gridColor=LINE,
            labelFontSize=11,
            titleFontSize=11,
            titleFontWeight="normal",
            labelLimit=120,
        )
        .configure_legend(
            labelColor=INK,
            titleColor=INK,
            orient="bottom",
            direction="vertical",
            labelLimit=WIDTH,
            title=None,
            symbolStrokeWidth=2,
            labelFontSize=11,
        )
        .configure_header(labelColor=INK, labelAnchor="start", labelFontSize=11, labelLimit=WIDTH)
        .configure_text(color=INK, fontSize=11)
        .configure_title(color=INK)
    )
    return Picture(
        name=name, title=title, alt=alt_text, caption=caption, spec=drawn.to_json(indent=None)
    )


def drawable(label: str) -> str:
    """Return a label without the characters that XML has no way to write.

    What every object of the renderer's language has by name gets a space: it would be taken for it.
    """
    text = "".join(one if one.isprintable() else "?" for one in label)
    return f"{text} " if text in _INHERITED else text


_INHERITED = frozenset(
    (
        *("__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"),
        *("__proto__", "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable"),
        *("toLocaleString", "toString", "valueOf"),
    )
)
"""Properties of JavaScript's `Object.prototype`."""


def series(labels: list[str], *, field: str = "arm") -> tuple[alt.Color, alt.StrokeDash]:
    """Return the colour and the dash of each of the labels."""
    count = len(labels)
    colours = [SERIES[at % len(SERIES)] for at in range(count)]
    dashes = [list(DASHES[at % len(DASHES)]) for at in range(count)]
    return (
        alt.Color(
            f"{field}:N",
            scale=alt.Scale(domain=labels, range=colours),
            sort=None,
            legend=alt.Legend(symbolType="stroke"),
        ),
        alt.StrokeDash(
            f"{field}:N",
            scale=alt.Scale(domain=labels, range=dashes),
            sort=None,
            legend=alt.Legend(symbolType="stroke"),
        ),
    )


def share_axis(title: str) -> alt.Y:
    """Return the axis of a `share` from none to all."""
    percent, whole = alt.Axis(format="%"), alt.Scale(domain=[0, 1])
    return alt.Y("share:Q", title=title, axis=percent, scale=whole)
