"""The layers in torch, request by request: on a CPU, and on GPUs without the fused kernels.

Owns: what a segment's rows need to know, the slabs, the counting witness.
Must not know: schedules, token ids.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.executor import Routed
from lpbench.executors.torch_engine.choice import Kernels
from lpbench.executors.torch_engine.drawn import DrawnExperts
from lpbench.executors.torch_engine.hidden import joined
from lpbench.executors.torch_engine.kv_cache import KvCache
from lpbench.executors.torch_engine.layer import Block, Rows, run_layer
from lpbench.executors.torch_engine.marked import MarkedOperators
from lpbench.executors.torch_engine.operators import TorchOperators
from lpbench.executors.torch_engine.rotary import rotary_table
from lpbench.executors.torch_engine.sequences import Sequences
from lpbench.executors.torch_engine.touched import Touched, Witness
from lpbench.executors.torch_engine.transfer import to_device
from lpbench.executors.torch_engine.weights import ModelWeights
from lpbench.plan.iteration import IterationPlan, Segment
from lpbench.shape.model import ModelShape


class TorchLayers:
    """`layers.Layers` of torch's own operators; attention is a call per request."""

    def __init__(
        self,
        shape: ModelShape,
        weights: ModelWeights,
        *,
        kernels: Kernels,
        sequences: Sequences,
        drawn: DrawnExperts,
    ) -> None:
        """Put the layers together for the requests in `sequences`."""
        self._shape = shape
        self._weights = weights
        self._kernels = kernels
        self._sequences = sequences
        self._drawn = drawn
        self._operators = TorchOperators(shape, kernels)
        dtype, device = weights.embed.dtype, weights.embed.device
        most = max(request.kv_tokens for request in sequences.requests)
        self._cache = KvCache(shape, dtype=dtype, device=device)
        self._rotary = rotary_table(shape, most, dtype=dtype, device=device)
        self._device = device
        self._witnesses: tuple[Witness, ...] = ()

    def start(self, plan: IterationPlan, witness: Witness | None) -> None:
        """Make room for the prompts; decodes have theirs."""
        for part in plan.prefill:
            seat = self._sequences.seat(part.request)
            self._cache.open(part.request, self._sequences.requests[seat].kv_tokens)
        self._touched = Touched(plan, self._shape, device=self._device)
        self._witnesses = (self._touched,) if witness is None else (self._touched, witness)

    def run(
        self, segment: Segment, parts: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run layer after layer."""
        hidden = joined(parts)
        blocks = self._sequences.blocks(segment)
        rows = self._rows(segment, blocks)
        for one in self._witnesses:
            one.enter(segment, blocks)
        for layer in range(segment.layers.start, segment.layers.stop):
            hidden = run_layer(
                hidden,
                layer=layer,
                weights=self._weights.layers[layer],
                operators=self._operators,
                cache=self._cache,
                rows=rows,
                drawn=None if rows.drawn is None else rows.drawn[layer - segment.layers.start],
                window=self._shape.windows[layer],
                on_route=self._on_route,
            )
        decodes = len(segment.decodes)
        return hidden[:decodes], hidden[decodes:]

    def norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return RMSNorm."""
        return self._operators.norm(rows, weight)

    def bits(self) -> torch.Tensor:
        """Return the bitmap of the pass, bool [layers, 1 + prompts, experts]."""
        return self._touched.bits

    def routed(self, bits: NDArray[np.bool_]) -> Routed:
        """Return it with its owners."""
        return self._touched.routed(bits)

    def release(self, request: int, *, keep_context: bool) -> None:
        """Drop the slab; one whose context is kept stays whole."""
        if not keep_context:
            self._cache.close(request)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Put the experts in a range of their own."""
        own = self._operators
        self._operators = MarkedOperators(self._shape, self._kernels)
        try:
            yield
        finally:
            self._operators = own

    def _on_route(self, layer: int, ids: torch.Tensor, logits: torch.Tensor) -> None:
        for one in self._witnesses:
            one.route(layer, ids, logits)

    def _rows(self, segment: Segment, blocks: tuple[Block, ...]) -> Rows:
        counts = [block.count for block in blocks]
        seats = self._sequences.seats([block.request for block in blocks]).repeat(counts)
        positions = np.concatenate([np.arange(one.start, one.start + one.count) for one in blocks])
        return Rows(
            blocks=blocks,
            rotary=self._rotary.at(to_device(positions, self._device)),
            drawn=self._experts(segment, self._drawn.sources(seats, positions)),
        )

    def _experts(self, segment: Segment, sources: NDArray[np.int64]) -> torch.Tensor | None:
        """Return the drawn experts of a segment's rows, int64 [layers, rows, top_k]."""
        table = self._drawn.table
        if table is None:
            return None
        layers = table[:, segment.layers.start : segment.layers.stop]
        return layers.index_select(0, to_device(sources, self._device)).transpose(0, 1).long()
