"""What the audit looks at: every row's expert set, and the logits of chosen tokens.

Owns: the witness of an audit pass and what it remembers, as numpy arrays.
Must not know: how two passes are compared.
"""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.executor import Evidence
from lpbench.executors.torch_engine.layer import Block
from lpbench.plan.iteration import Segment
from lpbench.shape.model import ModelShape


class Probe:
    """The witness of an audit pass over one arm; it reads every layer's routing on the host."""

    def __init__(
        self,
        shape: ModelShape,
        *,
        positions: Mapping[int, int],
        sampled: Collection[tuple[int, int]],
    ) -> None:
        """Remember routing of every row, and the logits of the `sampled` (request, n-th token).

        Args:
            shape: the model's.
            positions: KV positions of each request.
            sampled: which tokens' logits to keep.
        """
        layers, top_k = shape.num_layers, shape.top_k
        self._top_k = top_k
        self._sampled = frozenset(sampled)
        self._blocks: tuple[Block, ...] = ()
        self._experts = {
            request: np.full((count, layers, top_k), -1, dtype=np.int16)
            for request, count in positions.items()
        }
        self._margins = {
            request: np.zeros((count, layers), dtype=np.float32)
            for request, count in positions.items()
        }
        self._logits: dict[tuple[int, int], NDArray[np.float32]] = {}

    def enter(self, segment: Segment, blocks: tuple[Block, ...]) -> None:
        """Take note of the rows of the layers that follow."""
        del segment
        self._blocks = blocks

    def route(self, layer: int, ids: torch.Tensor, logits: torch.Tensor) -> None:
        """Keep every row's expert set and how clear the router's choice was."""
        best = logits.float().topk(min(self._top_k + 1, logits.shape[1])).values
        margins = (best[:, self._top_k - 1] - best[:, -1]).cpu().numpy()
        experts = ids.sort(dim=-1).values.to(torch.int16).cpu().numpy()
        at = 0
        for block in self._blocks:
            rows = slice(block.start, block.start + block.count)
            self._experts[block.request][rows, layer] = experts[at : at + block.count]
            self._margins[block.request][rows, layer] = margins[at : at + block.count]
            at += block.count

    def sample(self, request: int, nth: int, logits: torch.Tensor) -> None:
        """Keep the logits [vocabulary] of a request's n-th generated token, if it is sampled."""
        if (request, nth) in self._sampled:
            self._logits[request, nth] = logits.float().cpu().numpy()

    def evidence(self) -> Evidence:
        """Return what was seen."""
        return Evidence(experts=self._experts, margins=self._margins, logits=self._logits)
