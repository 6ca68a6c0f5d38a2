"""The seam between the loop over segments and whatever computes their layers.

Owns: what the loop asks for.
Must not know: weights, kernels, where keys and values lie.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.executor import Routed
from lpbench.executors.torch_engine.touched import Witness
from lpbench.plan.iteration import IterationPlan, Segment


class Layers(Protocol):
    """All layers of a model, their keys and values, and what counts the experts they touch."""

    def start(self, plan: IterationPlan, witness: Witness | None) -> None:
        """Begin a pass: room for its keys and values, no expert touched.

        Args:
            plan: the pass.
            witness: is told every layer's routing, as it is computed; None for nobody.
        """

    def run(
        self, segment: Segment, parts: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the hidden states of a segment's decodes and prompt rows behind its layers.

        Args:
            segment: the rows, and the layers.
            parts: their hidden states [rows, hidden], those of decodes first; none may be read
                afterwards.

        Returns:
            [decodes, hidden], which may lie where the next segment's are computed, and
            [prompt rows, hidden], which stay as they are.
        """

    def norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return RMSNorm of rows [rows, hidden]."""

    def bits(self) -> torch.Tensor:
        """Return the bitmap of the pass on the device."""

    def routed(self, bits: NDArray[np.bool_]) -> Routed:
        """Return the bitmap, read back, with its owners."""

    def release(self, request: int, *, keep_context: bool) -> None:
        """Drop the keys and values of a request, but for those of its context where it is kept."""

    def marked(self) -> AbstractContextManager[None]:
        """Have a profiler see which kernels are the experts'."""
