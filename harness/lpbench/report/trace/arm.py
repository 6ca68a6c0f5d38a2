"""One arm's iterations in a trace: slices, segments within them, tiles by layers, counters.

Owns: how an iteration's time and bytes are split, and what its slices are called.
Must not know: the trace format, files, requests' lives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lpbench.bench.logged import MOST_LAYERS, Iteration
from lpbench.plan.grid import Span
from lpbench.plan.iteration import IterationPlan, Segment
from lpbench.report.trace.packets import Packets, Value

ORDER = MOST_LAYERS + 1
"""Spans are in the order of start * this + stop."""

ITERATIONS = "iterations and their segments (split by layers, not measured)"
TILES = "tiles by layers (split, not measured)"

BYTES = "expert bytes (B)"
ADDED = "expert bytes added by prefill (B)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A segment of an iteration with its share of the time and its bytes.

    Attributes:
        segment: layers and rows.
        start_ns: its edge in the iteration, which is split by layers: it is not measured.
        stop_ns: its other edge.
        expert_bytes: counted in its layers; None where nothing was counted by layer.
        added_bytes: of them, what no decode touched.
    """

    segment: Segment
    start_ns: int
    stop_ns: int
    expert_bytes: int | None
    added_bytes: int | None


def parts_of(line: Iteration, plan: IterationPlan, *, num_layers: int) -> tuple[Part, ...]:
    """Return an iteration's segments.

    Their times add up to the iteration's, their bytes to its expert bytes.

    Args:
        line: the iteration.
        plan: its tiles and decodes.
        num_layers: of the model.
    """
    segments = plan.segments(num_layers)
    all_layers = sum(len(one.layers) for one in segments)
    span_ns = line.stop_ns - line.start_ns
    experts = _by_layer(line.distinct_experts, line, num_layers=num_layers)
    decoding = _by_layer(line.distinct_experts_decode, line, num_layers=num_layers)
    parts, layers, edge_ns = [], 0, line.start_ns
    for one in segments:
        layers += len(one.layers)
        start_ns, edge_ns = edge_ns, line.start_ns + span_ns * layers // all_layers
        read, decoded = _within(experts, one.layers), _within(decoding, one.layers)
        parts.append(
            Part(
                segment=one,
                start_ns=start_ns,
                stop_ns=edge_ns,
                expert_bytes=read,
                added_bytes=None if read is None or decoded is None else read - decoded,
            )
        )
    return tuple(parts)


def _by_layer(
    experts: Sequence[int] | None, line: Iteration, *, num_layers: int
) -> tuple[int, ...] | None:
    """Return the bytes of experts by layer; None where they do not follow from the line."""
    known = line.distinct_experts
    if experts is None or known is None or not len(experts) == len(known) == num_layers:
        return None
    total, loads = line.expert_bytes, sum(known)
    if not isinstance(total, int) or not loads or total % loads:
        return None
    return tuple(count * (total // loads) for count in experts)


def _within(by_layer: Sequence[int] | None, layers: Span) -> int | None:
    return None if by_layer is None else sum(by_layer[layers.start : layers.stop])


class ArmTracks:
    """The tracks of one arm; takes its iterations in order."""

    def __init__(
        self, packets: Packets, process: int, *, num_layers: int, is_modelled: bool
    ) -> None:
        """Begin the tracks that every arm has.

        Args:
            packets: of the trace.
            process: the arm's group.
            num_layers: of the model.
            is_modelled: whether expert bytes are, for nothing ran.
        """
        self._packets = packets
        self._process = process
        self._num_layers = num_layers
        self._how = "modelled" if is_modelled else "counted"
        self._iterations = packets.track(process, ITERATIONS, rank=1)
        self._tiles = packets.track(process, TILES, rank=2)
        self._spans: dict[Span, int] = {}
        self._counters: dict[str, int] = {}
        self._last_ns = 0

    def draw(self, line: Iteration) -> None:
        """Draw an iteration."""
        packets, plan = self._packets, line.plan()
        parts = parts_of(line, plan, num_layers=self._num_layers)
        packets.begin(self._iterations, line.start_ns, _rows(plan), self._values(line, plan))
        for part in parts:
            layers = f"layers {_span(part.segment.layers)}"
            name = f"{layers}: {_segment_rows(part.segment)}"
            packets.begin(self._iterations, part.start_ns, name, _part_values(part))
            packets.end(self._iterations, part.stop_ns)
        packets.end(self._iterations, line.stop_ns)
        self._draw_tiles(plan, parts)
        self._count(line, plan)
        self._last_ns = line.stop_ns

    def close(self) -> None:
        """Let the counters fall: nothing runs after the last iteration that was drawn."""
        for track in self._counters.values():
            self._packets.count(track, self._last_ns, 0)

    @property
    def last_ns(self) -> int:
        """When the last iteration ended that was drawn."""
        return self._last_ns

    def _draw_tiles(self, plan: IterationPlan, parts: Sequence[Part]) -> None:
        """Draw every tile over the segments that its layers are.

        Tiles of several requests through the same layers run at once: one slice lies in another.
        """
        by_span: dict[Span, list[tuple[str, dict[str, Value]]]] = {}
        for one in plan.prefill:
            tokens = _span(one.tile.tokens)
            values: dict[str, Value] = {
                "request": one.request,
                "tokens": len(one.tile.tokens),
                "layers": len(one.tile.layers),
            }
            drawn = by_span.setdefault(one.tile.layers, [])
            drawn.append((f"request {one.request}: tokens {tokens}", values))
        starts = {one.segment.layers.start: one.start_ns for one in parts}
        stops = {one.segment.layers.stop: one.stop_ns for one in parts}
        for layers, tiles in by_span.items():
            track = self._span_track(layers)
            for name, values in tiles:
                self._packets.begin(track, starts[layers.start], name, values)
            for _ in tiles:
                self._packets.end(track, stops[layers.stop])

    def _span_track(self, layers: Span) -> int:
        """Return the track of tiles through these layers; the last layers are on top."""
        if layers not in self._spans:
            rank = -(layers.start * ORDER + layers.stop)
            name = f"layers {_span(layers)}"
            self._spans[layers] = self._packets.track(self._tiles, name, rank=rank)
        return self._spans[layers]

    def _values(self, line: Iteration, plan: IterationPlan) -> dict[str, Value]:
        found: dict[str, Value | None] = {
            "iteration": line.iteration,
            "decodes": len(plan.decodes),
            "prompt tokens": plan.num_prefill_tokens,
            "layer groups": line.num_groups,
            "preempted": ", ".join(map(str, line.preempted)) or None,
            "device time (ms)": line.device_ms,
            BYTES: line.expert_bytes,
            "distinct experts, all layers": _total(line.distinct_experts),
            "bytes read, modelled (B)": line.bytes,
            "flops, modelled": line.flops,
            "joules, modelled (J)": line.joules,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _count(self, line: Iteration, plan: IterationPlan) -> None:
        seconds = (line.stop_ns - line.start_ns) / 1e9
        for name, unit, value in (
            (f"expert bytes per iteration, {self._how}", "B", line.expert_bytes),
            ("requests decoding", "1", len(plan.decodes)),
            ("prompt tokens in some layer", "1", plan.num_prefill_tokens),
            ("device busy, by its own events", "%", _share(line)),
            ("power, modelled", "W", _rate(line.joules, seconds)),
            ("DRAM bandwidth, modelled", "B/s", _rate(line.bytes, seconds)),
        ):
            if value is None:
                continue
            if name not in self._counters:
                rank = 4 + len(self._counters)
                self._counters[name] = self._packets.counter(
                    self._process, name, unit=unit, rank=rank
                )
            if self._last_ns < line.start_ns:  # nothing ran in between
                self._packets.count(self._counters[name], self._last_ns, 0)
            self._packets.count(self._counters[name], line.start_ns, value)


def _total(counts: Sequence[int] | None) -> int | None:
    return None if counts is None else sum(counts)


def _share(line: Iteration) -> float | None:
    """Return the percentage of an iteration in which the device's pass ran."""
    if line.device_ms is None or not line.duration_ms:
        return None
    return 100 * line.device_ms / line.duration_ms


def _rate(amount: float | None, seconds: float) -> float | None:
    return amount / seconds if amount is not None and seconds else None


def _part_values(part: Part) -> dict[str, Value]:
    found: dict[str, Value | None] = {
        "decodes": len(part.segment.decodes),
        "prompt tokens": part.segment.num_prefill_rows,
        BYTES: part.expert_bytes,
        ADDED: part.added_bytes,
    }
    return {name: value for name, value in found.items() if value is not None}


def _rows(plan: IterationPlan) -> str:
    return " + ".join(_row_words(len(plan.decodes), plan.num_prefill_tokens)) or "nothing"


def _segment_rows(segment: Segment) -> str:
    return " + ".join(_row_words(len(segment.decodes), segment.num_prefill_rows))


def _row_words(decodes: int, prompt_tokens: int) -> Iterator[str]:
    if decodes:
        yield f"{decodes} decode{'s' * (decodes > 1)}"
    if prompt_tokens:
        yield f"{prompt_tokens} prompt token{'s' * (prompt_tokens > 1)}"


def _span(span: Span) -> str:
    return f"{span.start}-{span.stop}"
