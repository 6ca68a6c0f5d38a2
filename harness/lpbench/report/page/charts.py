"""What is drawn of runs, each chart from the records' own figures.

Owns: which figures stand in which chart, how they are thinned, what an alt text says.
Must not know: the look of all charts, the order of a page.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

import altair as alt

from lpbench.analysis.stats import median_interval
from lpbench.record.schema import Arm, Record
from lpbench.report.page.log import IterationLine, Log, RequestLine
from lpbench.report.page.picture import (
    INK,
    PAPER,
    SERIES,
    SHAPES,
    WIDTH,
    Picture,
    drawable,
    picture,
    series,
)

MOST_ARMS = 6
"""Schedules of a chart: so many are told apart."""

MOST_TERMS = 5
"""Terms of the ledger that have a colour of their own."""

MOST_TILES = 400
"""Tiles of a picture; a prompt cut finer is drawn as far."""

LABELLED_TILES = 48
"""A picture of no more tiles has their iterations written in."""

MOST_COLUMNS, MOST_LAYERS, MOST_POINTS = 60, 24, 200
"""Cells of a heat map across and up, and points of a curve: finer, nobody would see."""

GB = 1e9


def _arms(record: Record) -> tuple[Arm, ...]:
    return record.own_arms[:MOST_ARMS]


def _valid(arm: Arm, metric: str) -> float | None:
    reading = arm.metrics.get(metric)
    return None if reading is None or reading.validity != "valid" else reading.value


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


def _tiles_of(lines: Sequence[IterationLine]) -> list[tuple[int, int, int, int, int]]:
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


def experts(record: Record, *, name: str) -> Picture | None:
    """Draw the expert bytes of each schedule, those that prefill added apart."""
    data = []
    for arm in _arms(record):
        whole = _valid(arm, "expert_bytes")
        added = _valid(arm, "expert_bytes_prefill_marginal")
        if whole is None or added is None:
            continue
        for part, value, at in (
            ("read for decodes anyway", whole - added, 0),
            ("added by prefill", added, 1),
        ):
            data.append({"arm": drawable(arm.label), "part": part, "gb": value / GB, "at": at})
    if not data:
        return None
    method = _method(record, "expert_bytes")
    parts = ["read for decodes anyway", "added by prefill"]
    chart = _bars(data, parts=parts, title=f"GB of expert weights, {method}")
    said = _said(record, "expert_bytes", GB, "GB")
    return picture(
        chart,
        name=name,
        title="Expert weights that were read",
        alt_text=f"Stacked bars of expert bytes, {method}. {said}.",
        caption=f"All iterations of the run. Method: {method}.",
    )


def ledger(record: Record, *, name: str) -> Picture | None:
    """Draw every schedule's reads by term, the counted experts and the measured bytes beside."""
    data, marks = [], []
    for arm in _arms(record):
        label = drawable(arm.label)
        for at, (part, amount) in enumerate(_terms(arm).items()):
            data.append({"arm": label, "part": part, "gb": amount / GB, "at": at})
        counted, measured = arm.ledger.counted_bytes, arm.ledger.dram_bytes
        if counted is not None:
            marks.append({"arm": label, "what": "experts, counted", "gb": counted / GB})
        if measured is not None and measured.validity == "valid" and measured.value is not None:
            marks.append({"arm": label, "what": "all DRAM, measured", "gb": measured.value / GB})
    if not data:
        return None
    parts = list(dict.fromkeys(str(one["part"]) for one in data))
    bars = _bars(data, parts=parts, title="GB read, modelled")
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
        title="The ledger: all that passes read",
        alt_text="Stacked bars of modelled bytes by term, with marks for counted expert bytes and "
        f"measured DRAM bytes. {_ledger_said(record)}.",
        caption="Bars: modelled in closed form, experts for the routing that happened. "
        "Triangle: experts as counted. Diamond: DRAM as measured, where it was.",
    )


def _terms(arm: Arm) -> dict[str, float]:
    """Return the bytes of the largest terms, and those of all others together."""
    ranked = sorted(arm.ledger.modelled, key=lambda term: -term.bytes)
    found = {drawable(one.name.replace("_", " ")): float(one.bytes) for one in ranked[:MOST_TERMS]}
    if len(ranked) > MOST_TERMS:
        found["all others"] = float(sum(one.bytes for one in ranked[MOST_TERMS:]))
    return found


def _ledger_said(record: Record) -> str:
    return "; ".join(
        f"{drawable(arm.label)}: "
        + ", ".join(f"{part} {amount / GB:.3g} GB" for part, amount in _terms(arm).items())
        for arm in _arms(record)
    )


def _bars(data: Sequence[Mapping[str, object]], *, parts: list[str], title: str) -> alt.LayerChart:
    """Return stacked bars, a schedule a line; a part that is wide enough has its figure in it."""
    colours = [SERIES[at % len(SERIES)] for at in range(len(parts))]
    widest: dict[object, float] = {}
    for one in data:
        widest[one["arm"]] = widest.get(one["arm"], 0.0) + float(str(one["gb"]))
    whole = max(widest.values(), default=0.0) or 1.0
    values = [
        {**one, "text": f"{float(str(one['gb'])):.3g}" if _is_wide(one, whole) else ""}
        for one in data
    ]
    base = alt.Chart().encode(
        alt.X("gb:Q", title=title, stack="zero", scale=alt.Scale(domainMax=1.15 * whole)),
        alt.Y("arm:N", sort=None, title=None),
        order=alt.Order("at:Q"),
    )
    bars = base.mark_bar(stroke=PAPER, strokeWidth=1).encode(
        alt.Color("part:N", scale=alt.Scale(domain=parts, range=colours), sort=None)
    )
    text = base.mark_text(color="white", align="right", dx=-3, fontSize=10).encode(
        alt.Text("text:N"), detail="part:N"
    )
    totals = alt.InlineData(
        values=[{"arm": arm, "gb": gb, "text": f"{gb:.4g}"} for arm, gb in widest.items()]
    )
    ends = (
        alt.Chart(totals)
        .mark_text(align="left", dx=4, fontSize=10)
        .encode(alt.X("gb:Q"), alt.Y("arm:N", sort=None), alt.Text("text:N"))
    )
    return alt.LayerChart(
        data=alt.InlineData(values=values),
        layer=[bars, text, ends],
        width=WIDTH,
        height=alt.Step(30),
    )


def _is_wide(one: Mapping[str, object], whole: float) -> bool:
    return float(str(one["gb"])) > 0.15 * whole


def _method(record: Record, metric: str) -> str:
    methods = (arm.metrics[metric].method for arm in record.own_arms if metric in arm.metrics)
    return " and ".join(dict.fromkeys(methods)) or "unknown"


def _said(record: Record, metric: str, unit: float, name: str) -> str:
    found = ((arm.label, _valid(arm, metric)) for arm in _arms(record))
    return "; ".join(
        f"{drawable(label)} {value / unit:.4g} {name}"
        for label, value in found
        if value is not None
    )


def samples_of(requests: Sequence[RequestLine]) -> dict[str, list[float]]:
    """Return TTFT and TBT of requests, in milliseconds."""
    found: dict[str, list[float]] = {"TTFT": [], "TBT": []}
    for one in requests:
        found["TTFT"] += one.token_ms[:1]
        found["TBT"] += [after - before for before, after in pairwise(one.token_ms)]
    return found


def distribution(log: Log, metric: str, *, name: str, clock: str) -> Picture | None:
    """Draw the share of samples that are no longer than so many milliseconds, by schedule."""
    found = {
        drawable(arm): sorted(samples)
        for arm, requests in list(log.requests.items())[:MOST_ARMS]
        if (samples := samples_of(requests)[metric])
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
            alt.Y("share:Q", title="share of samples", axis=alt.Axis(format="%")),
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
        caption=f"{_counts(found)} Clock: {clock}.",
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
    """Draw mean TTFT against p99 or mean TBT: towards the origin is better in both."""
    if len(points) < 2:  # noqa: PLR2004 - one point shows nothing
        return None
    groups = list(dict.fromkeys(one.group for one in points))[:MOST_ARMS]
    kept = [one for one in points if one.group in groups]
    data = [{"label": one.label, "arm": one.group, "x": one.x, "y": one.y} for one in kept]
    colours = [SERIES[at] for at in range(len(groups))]
    base = alt.Chart(alt.InlineData(values=data), width=WIDTH, height=200).encode(
        alt.X("x:Q", title="TBT mean, ms", scale=alt.Scale(zero=False, padding=12)),
        alt.Y("y:Q", title="TTFT mean, ms", scale=alt.Scale(zero=False, padding=12)),
    )
    marks = base.mark_point(size=70, filled=True, opacity=0.9).encode(
        alt.Color("arm:N", scale=alt.Scale(domain=groups, range=colours), sort=None),
        alt.Shape(
            "arm:N", scale=alt.Scale(domain=groups, range=list(SHAPES[: len(groups)])), sort=None
        ),
    )
    few = len(kept) <= 2 * MOST_ARMS
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
            alt.Y(
                "share:Q",
                title="requests that meet the SLO",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
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
        caption="A point is one run of one schedule.",
    )


def joules(record: Record, *, name: str) -> Picture | None:
    """Draw joules per token of each schedule with the interval of its median over the blocks."""
    data = []
    for arm in record.arms[: 2 * MOST_ARMS]:
        reading = arm.metrics.get("joules_per_total_token")
        if reading is None or reading.validity != "valid" or reading.value is None:
            continue
        interval = median_interval(reading.samples)
        low, high = (reading.value,) * 2 if interval is None else (interval.low, interval.high)
        label = drawable(arm.label) + (" (A/A)" if arm.role == "aa" else "")
        data.append({"arm": label, "j": reading.value, "low": low, "high": high})
    if not data:
        return None
    base = alt.Chart().encode(alt.Y("arm:N", sort=None, title=None))
    rules = base.mark_rule(strokeWidth=2, color=SERIES[0]).encode(
        alt.X("low:Q", title="joules per token", scale=alt.Scale(zero=False, padding=10)),
        alt.X2("high:Q"),
    )
    points = base.mark_point(size=70, filled=True, color=SERIES[0], opacity=1).encode(alt.X("j:Q"))
    chart = alt.LayerChart(
        data=alt.InlineData(values=data), layer=[rules, points], width=WIDTH, height=alt.Step(30)
    )
    method = _method(record, "joules_per_total_token")
    return picture(
        chart,
        name=name,
        title="Joules per token",
        alt_text=f"Joules per prompt or output token, {method}, with intervals. "
        + "; ".join(
            f"{one['arm']}: {one['j']:.4g} J ({one['low']:.4g} to {one['high']:.4g})"
            for one in data
        )
        + ".",
        caption=f"Point: the median of the blocks, {method}; line: its interval, where there are "
        "blocks enough. The axis does not begin at 0.",
    )


def coverage(log: Log, *, name: str, num_experts: int) -> Picture | None:
    """Draw the share of experts that an iteration touches against its decodes, without prefill."""
    data = []
    labels = []
    for arm, lines in list(log.iterations.items())[:MOST_ARMS]:
        by_count: dict[int, list[float]] = {}
        for line in lines:
            if line.decodes and not line.tiles and line.distinct_experts:
                share = fmean(line.distinct_experts) / num_experts
                by_count.setdefault(len(line.decodes), []).append(share)
        labels += [drawable(arm)] if by_count else []
        data += [
            {"arm": drawable(arm), "decodes": count, "share": fmean(shares)}
            for count, shares in sorted(by_count.items())[:MOST_POINTS]
        ]
    if not data:
        return None
    colour, dash = series(labels)
    chart = (
        alt.Chart(alt.InlineData(values=data), width=WIDTH, height=150)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            alt.X("decodes:Q", title="decodes of an iteration without prefill"),
            alt.Y(
                "share:Q",
                title="experts touched, mean",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            colour,
            dash,
        )
    )
    last = data[-1]
    return picture(
        chart,
        name=name,
        title="Expert coverage against batch",
        alt_text="Share of a layer's experts that decodes touch, by their number. "
        f"{last['arm']} with {last['decodes']} decodes: {float(str(last['share'])):.0%}.",
        caption="Counted. Where decodes touch few experts, prefill adds much, and cutting a prompt "
        "adds it again and again.",
    )


def heat(log: Log, *, name: str, num_experts: int) -> Picture | None:
    """Draw the share of experts touched, layer by layer, over the iterations of each schedule."""
    data: list[dict[str, object]] = []
    labels, layers = [], 0
    for arm, lines in list(log.iterations.items())[: MOST_ARMS // 2]:
        counted = [line for line in lines if line.distinct_experts]
        if not counted:
            continue
        labels.append(drawable(arm))
        layers = max(layers, len(counted[0].distinct_experts))
        data += [
            {"arm": drawable(arm), "x": x, "x2": x2, "y": y, "y2": y2, "share": share}
            for x, x2, y, y2, share in _cells(counted, num_experts)
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
            row=alt.Row("arm:N", title=None, sort=labels),
            data=alt.InlineData(values=data),
            spacing=8,
        ),
        name=name,
        title="Distinct experts, layer by layer",
        alt_text="Heat map of the share of each layer's experts that an iteration touches, for "
        + ", ".join(labels)
        + f". Mean {fmean(float(str(one['share'])) for one in data):.0%}.",
        caption="Counted. Darker: more of the layer's experts were read in that iteration. "
        "Neighbouring iterations and layers are averaged where there are too many to draw.",
    )


def _cells(
    lines: Sequence[IterationLine], num_experts: int
) -> Iterator[tuple[int, int, int, int, float]]:
    """Yield edges and mean share of cells of a few iterations by a few layers."""
    layers = len(lines[0].distinct_experts)
    across, up = (_edges(len(lines), MOST_COLUMNS), _edges(layers, MOST_LAYERS))
    for x, x2 in pairwise(across):
        rows = [one.distinct_experts for one in lines[x:x2]]
        for y, y2 in pairwise(up):
            values = [count for row in rows for count in row[y:y2]]
            yield x, x2, y, y2, fmean(values) / num_experts if values else 0.0


def _edges(count: int, most: int) -> list[int]:
    """Return the edges of at most so many stretches of 0 to count, alike but for one."""
    steps = min(count, most)
    return [at * count // steps for at in range(steps + 1)]
