"""Which experts an iteration touches: the engine's callback on the router's output.

Owns: the bitmap [layers, (decodes, each prompt), experts] of one iteration, on the device.
Must not know: what the bitmap is counted into, when it is read back.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.executor import Routed
from lpbench.executors.torch_engine.layer import Block
from lpbench.executors.torch_engine.transfer import to_device
from lpbench.plan.iteration import IterationPlan, Segment
from lpbench.shape.model import ModelShape


class Witness(Protocol):
    """Listens to the router during one iteration."""

    def enter(self, segment: Segment, blocks: tuple[Block, ...]) -> None:
        """Take note of the rows of the layers that follow."""

    def route(self, layer: int, ids: torch.Tensor, logits: torch.Tensor) -> None:
        """Take note of the experts of every row: ids [rows, top_k], logits [rows, experts]."""


class Touched:
    """The witness that counts.

    Attributes:
        bits: the bitmap, bool [layers, 1 + prompts, experts]; whole once the iteration is over.
    """

    def __init__(self, plan: IterationPlan, shape: ModelShape, *, device: torch.device) -> None:
        """Start with no expert touched."""
        self._prompts = tuple(part.request for part in plan.prefill)
        self._slots = {request: 1 + at for at, request in enumerate(self._prompts)}
        self._experts = shape.num_experts
        self.bits = torch.zeros(
            (shape.num_layers, 1 + len(self._prompts), shape.num_experts),
            dtype=torch.bool,
            device=device,
        )
        self._base = torch.empty(0, dtype=torch.int64, device=device)

    def enter(self, segment: Segment, blocks: tuple[Block, ...]) -> None:
        """Lay out whose bits each row of the segment sets."""
        slots = [0] * len(segment.decodes) + [self._slots[p.request] for p in segment.prompts]
        by_row = np.repeat(np.array(slots), [block.count for block in blocks])
        self._base = to_device(by_row * self._experts, self.bits.device)[:, None]

    def route(self, layer: int, ids: torch.Tensor, logits: torch.Tensor) -> None:
        """Set the bits of every (row, expert) pair."""
        del logits
        self.bits[layer].view(-1).index_fill_(0, (self._base + ids).view(-1), value=True)

    def routed(self, bits: NDArray[np.bool_]) -> Routed:
        """Return the bitmap, read back, with its owners."""
        return Routed(touched=bits, prompts=self._prompts)
