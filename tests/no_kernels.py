"""Fused kernels that compute nothing: what is left is the host's part."""

import torch

from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks
from lpbench.executors.torch_engine.kernels.fused import Routing
from lpbench.shape.model import ModelShape

BLOCK = 16


class NoKernels:
    """`fused.FusedKernels` whose results have a shape and no values."""

    def __init__(self, shape: ModelShape) -> None:
        """Take the shape."""
        self._shape = shape

    def add_norm(
        self, hidden: torch.Tensor, parts: torch.Tensor | None, weight: torch.Tensor
    ) -> torch.Tensor:
        """Return rows like `hidden`."""
        del parts, weight
        return torch.empty_like(hidden)

    def linear(
        self, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Return rows as wide as the weight is long."""
        del bias
        return rows.new_empty(len(rows), len(weight))

    def add(self, hidden: torch.Tensor, parts: torch.Tensor) -> None:
        """Do nothing."""

    def place_heads(self, *given: object, **named: object) -> None:
        """Do nothing."""

    def attend_decodes(self, *given: object, **named: object) -> None:
        """Do nothing."""

    def attend_prompts(self, *given: object, **named: object) -> None:
        """Do nothing."""

    def route(self, logits: torch.Tensor, routing: Routing) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and weights."""
        del routing
        dims = (len(logits), self._shape.top_k)
        return logits.new_empty(dims, dtype=torch.int32), logits.new_empty(dims)

    def align(self, ids: torch.Tensor) -> ExpertBlocks:
        """Return buffers."""
        return ExpertBlocks.empty(ids, num_experts=self._shape.num_experts, block=BLOCK)

    def gate_up(
        self, rows: torch.Tensor, matrices: object, bias: object, blocks: ExpertBlocks
    ) -> torch.Tensor:
        """Return a row per pair."""
        del matrices, bias
        return rows.new_empty(len(blocks.pairs), self._shape.expert_size)

    def down(
        self,
        inner: torch.Tensor,
        matrices: object,
        bias: object,
        blocks: ExpertBlocks,
        share: torch.Tensor,
    ) -> torch.Tensor:
        """Return a row per (row, expert)."""
        del matrices, bias, blocks
        return inner.new_empty(*share.shape, self._shape.hidden_size)
