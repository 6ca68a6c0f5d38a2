"""The layers of fused kernels, all requests of a segment together: on a GPU.

Owns: the order of a layer's kernels, the rows' arrays, which spans are captured.
Must not know: schedules, token ids.

A segment's rows are put into one array and sent; its layers then run as kernels that are launched
one by one, or as captured pieces of the model, where a room of their size is shared. Either way the
same function runs, on the same kernels.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.executor import EXPERTS_RANGE, Routed
from lpbench.executors.torch_engine.batch import Batch, padding, size
from lpbench.executors.torch_engine.device import free_bytes, give_back
from lpbench.executors.torch_engine.drawn import DrawnExperts
from lpbench.executors.torch_engine.graphs import Captured, Graphs, Work
from lpbench.executors.torch_engine.hidden import joined
from lpbench.executors.torch_engine.kernels.fused import FusedKernels, Routing, query_rows
from lpbench.executors.torch_engine.layer import Block
from lpbench.executors.torch_engine.page_pool import PagePool
from lpbench.executors.torch_engine.pieces import all_pieces, pieces_of
from lpbench.executors.torch_engine.rooms import Room, Rooms
from lpbench.executors.torch_engine.rotary import rotary_table
from lpbench.executors.torch_engine.sequences import Sequences
from lpbench.executors.torch_engine.touched import Witness
from lpbench.executors.torch_engine.transfer import put, to_device
from lpbench.executors.torch_engine.weights import LayerWeights, ModelWeights
from lpbench.plan.grid import Span
from lpbench.plan.iteration import IterationPlan, PromptRows, Segment
from lpbench.plan.request import pages_for
from lpbench.shape.model import ModelShape

DeviceBatch = Batch[torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the passes of a run are given room for.

    Attributes:
        num_kv_pages: pages of the queues; those of contexts come on top.
        max_num_seqs: decodes, and prompts, of a pass at most.
        most_rows: rows of a pass at most.
    """

    num_kv_pages: int
    max_num_seqs: int
    most_rows: int


@dataclass(frozen=True, slots=True)
class _Decodes:
    """The decodes of a pass: the first rows of each of its segments."""

    seats: NDArray[np.int64]
    positions: NDArray[np.int64]
    slots: NDArray[np.int64]
    sources: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Prompt:
    """Where rows of a prompt stand.

    Attributes:
        block: the rows.
        rows: int32 [3, rows], position, slot and source of each.
        blocks: int32 [blocks, 4], as `kernels.fused` has them but for the first row, which counts
            from the first one here.
    """

    block: Block
    rows: NDArray[np.int32]
    blocks: NDArray[np.int32]


class FusedLayers:
    """`layers.Layers` of fused kernels."""

    def __init__(
        self,
        shape: ModelShape,
        weights: ModelWeights,
        *,
        kernels: FusedKernels,
        graphs: Graphs | None,
        sequences: Sequences,
        drawn: DrawnExperts,
        capacity: Capacity,
    ) -> None:
        """Put the layers together for the requests in `sequences`, and take the memory they need.

        Args:
            shape: the model's geometry.
            weights: its tensors.
            kernels: what computes.
            graphs: what captures; None to launch kernel by kernel.
            sequences: the requests.
            drawn: the experts to take instead of the router's choice.
            capacity: what to give room for.
        """
        self._shape, self._weights = shape, weights
        self._kernels, self._graphs = kernels, graphs
        self._sequences, self._drawn = sequences, drawn
        self._device, dtype = weights.embed.device, weights.embed.dtype
        requests = sequences.requests
        most_tokens = max(one.kv_tokens for one in requests)
        contexts = sum(pages_for(one.context_tokens) for one in requests)
        self._pool = PagePool(
            shape,
            num_pages=capacity.num_kv_pages + contexts,
            num_seats=len(requests),
            most_tokens=most_tokens,
            dtype=dtype,
            device=self._device,
        )
        rotary = rotary_table(shape, most_tokens, dtype=dtype, device=self._device)
        self._cos, self._sin = (table[:, 0] for table in (rotary.cos, rotary.sin))
        most_decodes = min(capacity.max_num_seqs, len(requests))
        self._bits = torch.zeros(
            (1 + most_decodes, shape.num_layers, shape.num_experts),
            dtype=torch.bool,
            device=self._device,
        )
        self._query_rows = query_rows(shape.num_heads // shape.num_kv_heads)
        self._rooms = Rooms(
            most_decodes=most_decodes, most_rows=capacity.most_rows, query_rows=self._query_rows
        )
        most_rows = max(room.rows for room in self._rooms.every())
        self._hidden = torch.zeros((most_rows, shape.hidden_size), dtype=dtype, device=self._device)
        # Decodes alone are the same rows in all segments of a pass: theirs are sent once.
        self._inputs = torch.zeros(
            (2, max(map(size, self._rooms.every()))), dtype=torch.int32, device=self._device
        )
        self._captured: dict[Room, dict[Span, Work]] = {}
        self._captured_with: torch.Tensor | None = None
        self._has_sent_decodes = False
        self._decoding: torch.Tensor | None = None
        self._range: Callable[[], AbstractContextManager[None]] = nullcontext
        self._prompts: tuple[int, ...] = ()
        self._climbing: dict[int, _Prompt] = {}
        self._witness: Witness | None = None

    def prepare(self) -> Captured | None:
        """Capture every piece of the model for every room, on rows of padding.

        The largest rooms first: what they allocate serves the smaller ones too. Return what it
        came to; None where nothing is captured.
        """
        if self._graphs is None:
            return None
        began, free = time.perf_counter(), free_bytes(self._device)
        for room in reversed(self._rooms.every()):
            sent, hidden = self._sent(room), self._hidden[: room.rows]
            put(padding(room), sent)
            batch = Batch.of(sent, room)
            self._captured[room] = {
                piece: self._graphs.capture(partial(self._compute, piece, hidden, batch))
                for piece in all_pieces(self._num_layers, room.longest_piece)
            }
        self._captured_with = self._drawn.table
        give_back(self._device)  # what was computed once, so as to be compiled, is not of a graph
        left = free_bytes(self._device)
        return Captured(
            pieces=sum(map(len, self._captured.values())),
            seconds=time.perf_counter() - began,
            device_bytes=None if free is None or left is None else free - left,
        )

    def start(self, plan: IterationPlan, witness: Witness | None) -> None:
        """Take pages for what the pass adds, and clear its bits."""
        sequences = self._sequences
        seats = sequences.seats(plan.decodes)
        positions = sequences.known[seats] - 1
        tiles = [(part.request, part.tile.tokens.stop) for part in plan.prefill]
        prompts = sequences.seats([request for request, _ in tiles])
        ends = sequences.offsets[prompts] + np.array([stop for _, stop in tiles], np.int64)
        self._pool.reserve(np.concatenate((seats, prompts)), np.concatenate((positions + 1, ends)))
        self._pool.send_tables()
        self._decodes = _Decodes(
            seats=seats,
            positions=positions,
            slots=self._pool.slots(seats, positions),
            sources=self._drawn.sources(seats, positions),
        )
        self._prompts = tuple(part.request for part in plan.prefill)
        assert len(self._prompts) < len(self._bits), "more prompts in a pass than in the run"
        self._owners = {request: 1 + at for at, request in enumerate(self._prompts)}
        self._bits[: 1 + len(self._prompts)].zero_()
        self._witness = witness
        self._has_sent_decodes = False

    def run(
        self, segment: Segment, parts: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Replay the pieces of a segment's layers, or launch their kernels."""
        counts = [len(rows.tokens) for rows in segment.prompts]
        decodes = len(segment.decodes)
        room = self._rooms.shared(decodes, counts)
        if room is None or not self._can_replay:
            hidden = joined(parts)
            self._launch(segment, self._rooms.own(decodes, counts), hidden)
            return hidden[:decodes], hidden[decodes:]
        if counts or not self._has_sent_decodes:
            put(self._pack(segment, room), self._sent(room))
            self._has_sent_decodes |= not counts
        self._place(parts)
        layers, captured = segment.layers, self._captured[room]
        for piece in pieces_of(layers.start, layers.stop, room.longest_piece):
            captured[piece]()
        self._decoding = self._hidden[:decodes]
        prompts = self._hidden[decodes : segment.num_rows]
        return self._decoding, prompts.clone() if counts else prompts

    def norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return RMSNorm."""
        return self._kernels.add_norm(rows, None, weight)

    def bits(self) -> torch.Tensor:
        """Return the bitmap of the pass, bool [1 + prompts, layers, experts]."""
        return self._bits[: 1 + len(self._prompts)]

    def routed(self, bits: NDArray[np.bool_]) -> Routed:
        """Return it with its owners."""
        return Routed(touched=bits.transpose(1, 0, 2), prompts=self._prompts)

    def release(self, request: int, *, keep_context: bool) -> None:
        """Give pages back."""
        seat = self._sequences.seat(request)
        kept = self._sequences.requests[seat].context_tokens if keep_context else 0
        self._pool.release(seat, keep_tokens=kept)
        self._climbing.pop(request, None)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Launch kernel by kernel, the experts in a range of their own."""
        own, self._graphs = self._graphs, None
        self._range = lambda: torch.cuda.nvtx.range(EXPERTS_RANGE)
        try:
            yield
        finally:
            self._graphs, self._range = own, nullcontext

    @property
    def _can_replay(self) -> bool:
        """Whether a captured piece does what is asked for.

        None tells a witness, nor sends pinned rows where the router was to choose.
        """
        is_as_captured = self._drawn.table is self._captured_with
        return self._graphs is not None and self._witness is None and is_as_captured

    @property
    def _num_layers(self) -> int:
        return self._shape.num_layers

    def _place(self, parts: Sequence[torch.Tensor]) -> None:
        """Put hidden states where pieces were captured; decodes lie there from the last one."""
        at = 0
        for part in parts:
            if part is not self._decoding:
                self._hidden[at : at + len(part)].copy_(part)
            at += len(part)

    def _launch(self, segment: Segment, room: Room, hidden: torch.Tensor) -> None:
        """Launch a segment's kernels one by one; they work on `hidden` in place."""
        sent = to_device(self._pack(segment, room), self._device)
        if self._witness is not None:
            self._witness.enter(segment, self._sequences.blocks(segment))
        self._compute(segment.layers, hidden, Batch.of(sent, room))

    def _sent(self, room: Room) -> torch.Tensor:
        """Return where the array of a batch in this room lies on the device."""
        return self._inputs[int(room.blocks > 0), : size(room)]

    def _pack(self, segment: Segment, room: Room) -> NDArray[np.int32]:
        """Return the array of a segment's rows."""
        array = padding(room)
        batch = Batch.of(array, room)
        mine, at = self._decodes, len(segment.decodes)
        batch.count[0] = segment.num_rows
        batch.positions[:at], batch.slots[:at] = mine.positions, mine.slots
        batch.sources[:at], batch.seats[:at] = mine.sources, mine.seats
        batch.lengths[:at] = mine.positions + 1
        block = 0
        for rows in segment.prompts:
            prompt = self._prompt(rows)
            its = slice(at, at + prompt.block.count)
            batch.positions[its], batch.slots[its], batch.sources[its] = prompt.rows
            batch.owners[its] = self._owners[rows.request]
            table = batch.blocks[block : block + len(prompt.blocks)]
            table[:] = prompt.blocks
            table[:, 0] += at
            at, block = its.stop, block + len(prompt.blocks)
        return array

    def _prompt(self, rows: PromptRows) -> _Prompt:
        """Return where these prompt rows stand: found once for all groups of layers they climb."""
        block, known = self._sequences.block(rows), self._climbing.get(rows.request)
        if known is None or known.block != block:
            known = self._climbing[rows.request] = self._find(block)
        return known

    def _find(self, block: Block) -> _Prompt:
        seat, count = self._sequences.seat(block.request), block.count
        positions = np.arange(block.start, block.start + count)
        rows = np.empty((3, count), np.int32)
        rows[0], rows[1] = positions, self._pool.span(seat, block.start, count)
        rows[2] = self._drawn.sources(np.array([seat]), positions)
        firsts = np.arange(0, count, self._query_rows)
        blocks = np.empty((len(firsts), 4), np.int32)
        blocks[:, 0], blocks[:, 2], blocks[:, 3] = firsts, block.start + firsts, seat
        blocks[:, 1] = np.minimum(self._query_rows, count - firsts)
        return _Prompt(block=block, rows=rows, blocks=blocks)

    def _compute(self, layers: Span, hidden: torch.Tensor, batch: DeviceBatch) -> None:
        """Run layers on `hidden` [rows, hidden], in place.

        The experts' results stay apart until the next norm, which adds them in passing.
        """
        kernels, parts = self._kernels, None
        for layer in range(layers.start, layers.stop):
            weights = self._weights.layers[layer]
            normed = kernels.add_norm(hidden, parts, weights.input_norm)
            parts = None  # of top_k times the rows: its memory serves this layer's
            attended = self._attend(layer, weights, normed, batch)
            projected = kernels.linear(attended, weights.out, weights.out_bias)
            normed = kernels.add_norm(hidden, projected[:, None], weights.post_norm)
            parts = self._experts(layer, weights, normed, batch)
        assert parts is not None, "a span has layers"
        kernels.add(hidden, parts)

    def _attend(
        self, layer: int, weights: LayerWeights, normed: torch.Tensor, batch: DeviceBatch
    ) -> torch.Tensor:
        """Return attention's output [rows, heads * head_dim]."""
        shape, pages = self._shape, self._pool.layer(layer)
        window, sinks = shape.windows[layer], weights.sinks
        qkv = self._kernels.linear(normed, weights.qkv, weights.qkv_bias)
        self._kernels.place_heads(
            qkv,
            weights.head_norms,
            cos=self._cos,
            sin=self._sin,
            positions=batch.positions,
            slots=batch.slots,
            pages=pages,
        )
        out = normed.new_empty(len(normed), shape.num_heads * shape.head_dim)
        if len(batch.seats):
            self._kernels.attend_decodes(
                qkv,
                pages,
                seats=batch.seats,
                lengths=batch.lengths,
                window=window,
                sinks=sinks,
                out=out,
            )
        if len(batch.blocks):
            self._kernels.attend_prompts(
                qkv, pages, blocks=batch.blocks, window=window, sinks=sinks, out=out
            )
        return out

    def _experts(
        self, layer: int, weights: LayerWeights, normed: torch.Tensor, batch: DeviceBatch
    ) -> torch.Tensor:
        """Return each row's experts' results [rows, top_k, hidden]."""
        kernels, table = self._kernels, self._drawn.table
        logits = kernels.linear(normed, weights.router, weights.router_bias)
        routing = Routing(
            count=batch.count,
            owners=batch.owners,
            touched=self._bits[:, layer],
            drawn=None if table is None else table[:, layer],
            sources=batch.sources,
        )
        ids, share = kernels.route(logits, routing)
        if self._witness is not None:
            self._witness.route(layer, ids.long(), logits)
        with self._range():
            blocks = kernels.align(ids)
            inner = kernels.gate_up(normed, weights.gate_up, weights.gate_up_bias, blocks)
            return kernels.down(inner, weights.down, weights.down_bias, blocks, share)
