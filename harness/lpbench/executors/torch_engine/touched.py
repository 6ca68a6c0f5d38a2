"""Which experts an iteration touches: the engine's callback on the router's output.

Owns: the bitmap [layers, (decodes, each prompt), experts] of one iteration, on the device, read
once at its end.
Must not know: what the bitmap is counted into.
"""

from typing import Protocol

import torch

from lpbench.executors.executor import Routed
from lpbench.executors.torch_engine.layer import Block
from lpbench.plan.iteration import IterationPlan, Segment
from lpbench.shape.model import ModelShape


class Witness(Protocol):
    """Listens to the router during one iteration."""

    def enter(self, segment: Segment, blocks: tuple[Block, ...]) -> None:
        """Take note of the rows of the layers that follow."""

    def route(self, layer: int, ids: torch.Tensor, logits: torch.Tensor) -> None:
        """Take note of the experts of every row: ids [rows, top_k], logits [rows, experts]."""


class Touched:
    """The witness that counts."""

    def __init__(self, plan: IterationPlan, shape: ModelShape, *, device: torch.device) -> None:
        """Start with no expert touched."""
        self._prompts = tuple(part.request for part in plan.prefill)
        self._slots = {request: 1 + at for at, request in enumerate(self._prompts)}
        self._experts = shape.num_experts
        self._bits = torch.zeros(
            (shape.num_layers, 1 + len(self._prompts), shape.num_experts),
            dtype=torch.bool,
            device=device,
        )
        self._base = torch.empty(0, dtype=torch.int64, device=device)

    def enter(self, segment: Segment, blocks: tuple[Block, ...]) -> None:
        """Lay out whose bits each row of the segment sets."""
        slots = [0] * len(segment.decodes) + [self._slots[p.request] for p in segment.prompts]
        counts = [block.count for block in blocks]
        self._base = (
            torch.tensor(slots).repeat_interleave(torch.tensor(counts))[:, None] * self._experts
        ).to(self._bits.device)

    def route(self, layer: int, ids: torch.Tensor, logits: torch.Tensor) -> None:
        """Set the bits of every (row, expert) pair."""
        del logits
        self._bits[layer].view(-1).index_fill_(0, (self._base + ids).view(-1), value=True)

    def routed(self) -> Routed:
        """Read the bitmap back."""
        return Routed(touched=self._bits.cpu().numpy(), prompts=self._prompts)
