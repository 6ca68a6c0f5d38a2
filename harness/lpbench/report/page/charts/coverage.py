"""Which share of the experts is touched: against the batch, and layer by layer over the iterations.

Owns: how iterations and layers are thinned.
Must not know: the look of all charts, the order of a page.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean

import altair as alt

from lpbench.report.page.charts.arms import MOST_ARMS
from lpbench.report.page.log import Log
from lpbench.report.page.picture import WIDTH, Picture, drawable, picture, series, share_axis

MOST_COLUMNS, MOST_LAYERS, MOST_POINTS = 60, 24, 200
"""Cells of a heat map across and up, and points of a curve: finer, nobody would see."""


MOST_TICKS = 6


def coverage(log: Log, *, name: str, num_experts: int) -> Picture | None:
    """Draw the share of experts that an iteration touches against its decodes, without prefill."""
    found: dict[str, dict[int, float]] = {}
    for arm, lines in list(log.iterations.items())[:MOST_ARMS]:
        counts: dict[int, list[float]] = {}
        for line in lines:
            if line.decodes and not line.tiles and line.distinct_experts:
                share = fmean(line.distinct_experts) / num_experts
                counts.setdefault(len(line.decodes), []).append(share)
        if counts:
            first = sorted(counts)[:MOST_POINTS]
            found[drawable(arm)] = {count: fmean(counts[count]) for count in first}
    if not found:
        return None
    data = [
        {"arm": arm, "decodes": count, "share": share}
        for arm, shares in found.items()
        for count, share in shares.items()
    ]
    colour, dash = series(list(found))
    chart = (
        alt.Chart(alt.InlineData(values=data), width=WIDTH, height=150)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            alt.X(
                "decodes:Q",
                title="decodes of an iteration without prefill",
                axis=alt.Axis(
                    format="d", values=_ticks([count for one in found.values() for count in one])
                ),
            ),
            share_axis("experts touched, mean"),
            colour,
            dash,
        )
    )
    said = "; ".join(
        f"{arm}: {shares[max(shares)]:.0%} with {max(shares)} decodes"
        for arm, shares in found.items()
    )
    return picture(
        chart,
        name=name,
        title="Expert coverage against batch",
        alt_text=f"Share of a layer's experts that decodes touch, by their number. {said}.",
        caption="Counted. Where decodes touch few experts, prefill adds much, and cutting a prompt "
        "adds it again and again.",
    )


def _ticks(counts: Sequence[int]) -> list[int]:
    """Return whole numbers from the least count on, a handful: an axis has none of its own."""
    first, last = min(counts), max(counts)
    return list(range(first, last + 1, max(1, -(-(last - first) // MOST_TICKS))))


def heat(log: Log, *, name: str, num_experts: int) -> Picture | None:
    """Draw the share of experts touched, layer by layer, over the iterations of each schedule."""
    data, means = [], {}
    layers = 0
    for arm, lines in list(log.iterations.items())[: MOST_ARMS // 2]:
        counted = [line.distinct_experts for line in lines if line.distinct_experts]
        if not counted:
            continue
        layers = max(layers, len(counted[0]))
        cells = list(_cells(counted, num_experts))
        means[drawable(arm)] = fmean(count for row in counted for count in row) / num_experts
        data += [
            {"arm": drawable(arm), "x": x, "x2": x2, "y": y, "y2": y2, "share": share}
            for x, x2, y, y2, share in cells
        ]
    if not data:
        return None
    chart = (
        alt.Chart()
        .mark_rect()
        .encode(
            alt.X("x:Q", title="iteration", scale=alt.Scale(nice=False)),
            alt.X2("x2:Q"),
            alt.Y("y:Q", title="layer", scale=alt.Scale(domain=[0, layers], nice=False)),
            alt.Y2("y2:Q"),
            alt.Color(
                "share:Q",
                scale=alt.Scale(domain=[0, 1], range=["#f2f0f7", "#2d004b"]),
                legend=alt.Legend(
                    direction="horizontal", format="%", title="experts touched", gradientLength=160
                ),
            ),
        )
        .properties(width=WIDTH, height=110)
    )
    return picture(
        chart.facet(
            row=alt.Row("arm:N", title=None, sort=list(means)),
            data=alt.InlineData(values=data),
            spacing=8,
        ),
        name=name,
        title="Distinct experts, layer by layer",
        alt_text="Heat map of the share of each layer's experts that an iteration touches. "
        + "; ".join(f"{arm}: {mean:.0%} in the mean" for arm, mean in means.items())
        + ".",
        caption="Counted. Darker: more of the layer's experts were read in that iteration. "
        "Neighbouring iterations and layers are averaged where there are too many to draw.",
    )


def _cells(
    counts: Sequence[Sequence[int]], num_experts: int
) -> Iterator[tuple[int, int, int, int, float]]:
    """Yield edges and mean share of cells of a few iterations by a few layers."""
    across, up = _edges(len(counts), MOST_COLUMNS), _edges(len(counts[0]), MOST_LAYERS)
    for x, x2 in pairwise(across):
        rows = counts[x:x2]
        for y, y2 in pairwise(up):
            values = [count for row in rows for count in row[y:y2]]
            yield x, x2, y, y2, fmean(values) / num_experts if values else 0.0


def _edges(count: int, most: int) -> list[int]:
    """Return the edges of at most so many stretches of 0 to count, alike but for one."""
    steps = min(count, most)
    return [at * count // steps for at in range(steps + 1)]
