"""How long requests wait: distributions, TTFT against TBT, SLO attainment against rate.

Owns: how curves are thinned, what a point is.
Must not know: the look of all charts, the order of a page.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import altair as alt

from lpbench.bench.logged import Served
from lpbench.report.page.charts.arms import MOST_ARMS
from lpbench.report.page.log import Log
from lpbench.report.page.picture import (
    SERIES,
    SHAPES,
    WIDTH,
    Picture,
    drawable,
    picture,
    series,
    share_axis,
)

_DECADE = 10

MOST_POINTS = 200
"""Of a curve: more, nobody would see."""


def samples_of(requests: Sequence[Served]) -> dict[str, list[float]]:
    """Return TTFT and TBT of requests, in milliseconds."""
    found: dict[str, list[float]] = {"TTFT": [], "TBT": []}
    for one in requests:
        found["TTFT"] += one.token_ms[:1]
        found["TBT"] += [after - before for before, after in pairwise(one.token_ms)]
    return found


def measured(requests: Sequence[Served], *, num_warmups: int) -> list[Served]:
    """Return the requests of a schedule that figures are of: not the first ones to arrive."""
    ranked = sorted(requests, key=lambda one: (one.arrival_ms, one.request))
    return ranked[num_warmups:]


def distribution(
    log: Log, metric: str, *, name: str, clock: str, num_warmups: int = 0
) -> Picture | None:
    """Draw the share of samples that are no longer than so many milliseconds, by schedule."""
    found = {
        drawable(arm): sorted(samples)
        for arm, requests in list(log.requests.items())[:MOST_ARMS]
        if (samples := samples_of(measured(requests, num_warmups=num_warmups))[metric])
    }
    if not found:
        return None
    data = [
        {"arm": arm, "ms": ms, "share": share}
        for arm, samples in found.items()
        for ms, share in _curve(samples)
    ]
    colour, dash = series(list(found))
    chart = (
        alt.Chart(alt.InlineData(values=data), width=WIDTH, height=150)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            alt.X("ms:Q", title=f"{metric}, ms"),
            share_axis("share of samples"),
            colour,
            dash,
        )
    )
    said = "; ".join(
        f"{arm}: median {median(samples):.4g} ms, largest {samples[-1]:.4g} ms"
        for arm, samples in found.items()
    )
    return picture(
        chart,
        name=name,
        title=f"{metric}: how many samples are how short",
        alt_text=f"Cumulative distribution of {metric}. {said}.",
        caption=f"{_counts(found)} Clock: {clock}."
        + (f" Without the first {num_warmups} requests to arrive." if num_warmups else ""),
    )


def _counts(found: Mapping[str, Sequence[float]]) -> str:
    return "Samples: " + ", ".join(f"{arm} {len(one)}" for arm, one in found.items()) + "."


def _curve(samples: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Yield points of the distribution function, the first at 0 and the last at 1."""
    count = len(samples)
    yield samples[0], 0.0
    steps = min(count, MOST_POINTS)
    for step in range(1, steps + 1):
        rank = -(-step * count // steps)
        yield samples[rank - 1], rank / count


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One schedule of one run among others."""

    label: str
    group: str
    x: float
    y: float


def pareto(points: Sequence[Point], *, name: str, caption: str) -> Picture | None:
    """Draw mean TTFT against mean TBT: towards the origin is better in both."""
    if len(points) < 2:  # noqa: PLR2004 - one point shows nothing
        return None
    groups = list(dict.fromkeys(one.group for one in points))[:MOST_ARMS]
    kept = [one for one in points if one.group in groups]
    data = [{"label": one.label, "arm": one.group, "x": one.x, "y": one.y} for one in kept]
    colours = [SERIES[at] for at in range(len(groups))]
    base = alt.Chart(alt.InlineData(values=data), width=WIDTH, height=200).encode(
        alt.X("x:Q", title="TBT mean, ms", scale=_scale([one.x for one in kept])),
        alt.Y("y:Q", title="TTFT mean, ms", scale=_scale([one.y for one in kept])),
    )
    marks = base.mark_point(size=70, filled=True, opacity=0.9).encode(
        alt.Color("arm:N", scale=alt.Scale(domain=groups, range=colours), sort=None),
        alt.Shape(
            "arm:N", scale=alt.Scale(domain=groups, range=list(SHAPES[: len(groups)])), sort=None
        ),
    )
    few = len(kept) <= MOST_ARMS
    labels = base.mark_text(align="left", dx=7, dy=-7, fontSize=9).encode(alt.Text("label:N"))
    return picture(
        alt.layer(marks, labels) if few else marks,
        name=name,
        title="TTFT against TBT",
        alt_text="Points of mean TBT and mean TTFT, lower left is better. "
        + "; ".join(f"{one.label}: TBT {one.x:.4g} ms, TTFT {one.y:.4g} ms" for one in kept[:12])
        + ".",
        caption=caption,
    )


def _scale(values: Sequence[float]) -> alt.Scale:
    """Return an axis without 0, by powers of ten where the values span more than one."""
    if 0 < _DECADE * min(values) < max(values):
        return alt.Scale(type="log", nice=False, padding=12)
    return alt.Scale(zero=False, nice=True)


def attainment(points: Sequence[Point], *, name: str) -> Picture | None:
    """Draw the share of requests that meet their SLO against the rate at which they arrive."""
    groups = list(dict.fromkeys(one.group for one in points))[:MOST_ARMS]
    kept = sorted((one for one in points if one.group in groups), key=lambda one: one.x)
    if len({one.x for one in kept}) < 2:  # noqa: PLR2004 - one rate is no curve
        return None
    data = [{"arm": one.group, "rate": one.x, "share": one.y} for one in kept]
    colour, dash = series(groups)
    chart = (
        alt.Chart(alt.InlineData(values=data), width=WIDTH, height=160)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            alt.X("rate:Q", title="requests per second"),
            share_axis("requests that meet the SLO"),
            colour,
            dash,
        )
    )
    return picture(
        chart,
        name=name,
        title="SLO attainment against rate",
        alt_text="Lines of SLO attainment by request rate. "
        + "; ".join(f"{one.group} at {one.x:.3g}/s: {one.y:.0%}" for one in kept[:24])
        + ".",
        caption="A point is a schedule at a rate; several runs of it stand there with their mean.",
    )
