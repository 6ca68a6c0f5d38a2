"""The experts that rows are sent to instead of the router's choice, drawn ahead.

Owns: their table on the device, and which of its rows a position takes.
Must not know: how they are drawn, layers' weights.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.torch_engine.sequences import Sequences
from lpbench.executors.torch_engine.transfer import to_device
from lpbench.shape.model import ModelShape
from lpbench.workload.routing import RoutingDraws


class DrawnExperts:
    """A row for every position of every request, and one that sends to experts 0 to top_k.

    Attributes:
        is_pinned: whether every row goes to experts 0 to top_k: the control of the counter pass.
    """

    def __init__(
        self,
        shape: ModelShape,
        sequences: Sequences,
        draws: RoutingDraws | None,
        *,
        device: torch.device,
    ) -> None:
        """Draw the experts of all positions; none where the router chooses."""
        self._starts = sequences.starts
        self._has_draws = draws is not None
        positions = sequences.num_positions if draws is not None else 0
        table = np.empty((positions + 1, shape.num_layers, shape.top_k), np.int16)
        table[positions] = np.arange(shape.top_k)
        if draws is not None:
            for start, one in zip(sequences.starts, sequences.requests, strict=True):
                drawn = draws.experts(request=one.index, start=0, stop=one.kv_tokens)
                table[start : start + one.kv_tokens] = drawn.transpose(1, 0, 2)
                table[start + one.kv_tokens] = 0  # that of a token which is never fed
        self._table = to_device(table, device)
        self.is_pinned = False

    @property
    def table(self) -> torch.Tensor | None:
        """int16 [rows, layers, top_k] on the device; None where the router chooses."""
        return self._table if self._has_draws or self.is_pinned else None

    def sources(self, seats: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the table that these positions take; the seats broadcast."""
        if self.is_pinned or not self._has_draws:
            return np.full(len(positions), len(self._table) - 1)
        rows: NDArray[np.int64] = self._starts[seats] + positions
        return rows
