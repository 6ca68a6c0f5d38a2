"""How schedules cut a prompt: the tiles, the idea at a glance.

Owns: which prompt, how many tiles.
Must not know: the look of all charts, the order of a page.
"""

from collections.abc import Sequence

import altair as alt

from lpbench.bench.logged import Iteration
from lpbench.report.page.charts.arms import MOST_ARMS
from lpbench.report.page.log import Log
from lpbench.report.page.picture import PAPER, WIDTH, Picture, drawable, picture

MOST_TILES = 400
"""Tiles of a picture; a prompt cut finer is drawn as far."""

LABELLED_TILES = 48
"""A picture of no more tiles has their iterations written in."""


def tiles(log: Log, *, name: str, num_layers: int) -> Picture | None:
    """Draw how each schedule cuts the longest prompt: tokens to the right, layers upwards."""
    found = {
        drawable(arm): shapes
        for arm, lines in list(log.iterations.items())[:MOST_ARMS]
        if (shapes := _tiles_of(lines))
    }
    if not found:
        return None
    data = [
        {"arm": arm, "x": x, "x2": x2, "y": y, "y2": y2, "order": order, "text": str(order)}
        for arm, shapes in found.items()
        for order, x, x2, y, y2 in shapes
    ]
    most = max(len(shapes) for shapes in found.values())
    base = alt.Chart().encode(
        alt.X("x:Q", title="tokens of the prompt", scale=alt.Scale(nice=False)),
        alt.Y("y:Q", title="layers", scale=alt.Scale(domain=[0, num_layers], nice=False)),
    )
    layers: list[alt.Chart] = [
        base.mark_rect(stroke=PAPER, strokeWidth=1).encode(
            alt.X2("x2:Q"),
            alt.Y2("y2:Q"),
            alt.Color("order:Q", scale=alt.Scale(range=["#cfe3f3", "#08306b"]), legend=None),
        )
    ]
    if most <= LABELLED_TILES:
        middle = base.transform_calculate(
            mx="(datum.x + datum.x2) / 2", my="(datum.y + datum.y2) / 2"
        ).encode(alt.X("mx:Q"), alt.Y("my:Q"))
        last = max(shapes[-1][0] for shapes in found.values())
        dark = alt.when(f"datum.order > {(1 + last) / 2}").then(alt.value("white"))
        layers.append(
            middle.mark_text(fontSize=9).encode(
                alt.Text("text:N"), color=dark.otherwise(alt.value("black"))
            )
        )
    chart = alt.LayerChart(
        data=alt.InlineData(values=data), layer=layers, width=WIDTH, height=110
    ).facet(row=alt.Row("arm:N", title=None, sort=list(found)), spacing=8)
    said = "; ".join(
        f"{arm}: {len(shapes)} tiles in {shapes[-1][0]} iterations" for arm, shapes in found.items()
    )
    return picture(
        chart,
        name=name,
        title="How the longest prompt is cut",
        alt_text=f"Tiles of the longest prompt, tokens across and layers up. {said}.",
        caption="A rectangle is what one iteration computes of the prompt; darker is later"
        + (", the number says which." if most <= LABELLED_TILES else "."),
    )


def _tiles_of(lines: Sequence[Iteration]) -> list[tuple[int, int, int, int, int]]:
    """Return (iteration from 1, tokens, layers) of the longest prompt's tiles."""
    ends: dict[int, int] = {}
    for line in lines:
        for tile in line.tiles:
            ends[tile.request] = max(ends.get(tile.request, 0), tile.tokens[1])
    if not ends:
        return []
    longest = max(ends, key=lambda request: (ends[request], -request))
    found, order = [], 0
    for line in lines:
        its = [tile for tile in line.tiles if tile.request == longest]
        order += bool(its)
        found += [(order, *tile.tokens, *tile.layers) for tile in its]
        if len(found) >= MOST_TILES:
            break
    return found
