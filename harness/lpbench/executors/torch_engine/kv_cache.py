"""Keys and values of every request, in one contiguous slab per request.

Owns: the slabs. A slab beats pages: a decode reads its keys as one view without a gather. How many
requests there may be is decided in pages by `plan.queues`, whatever the layout here. On a CPU the
memory of a slab that was not yet written is not resident; a GPU's is taken whole, which the run's
memory plan counts (`shape.memory`, `held_pages`).
Must not know: layers' weights, schedules.
"""

import torch

from lpbench.shape.model import ModelShape


class KvCache:
    """One slab per request, seen by layer as (keys, values) [2, kv_heads, capacity, head_dim]."""

    def __init__(self, shape: ModelShape, *, dtype: torch.dtype, device: torch.device) -> None:
        """Hold nothing yet."""
        self._shape = shape
        self._dtype = dtype
        self._device = device
        self._slabs: dict[int, tuple[torch.Tensor, ...]] = {}

    def open(self, request: int, capacity: int) -> None:
        """Make room for `capacity` tokens of `request`, unless it has its slab."""
        if request in self._slabs:
            return
        shape = self._shape
        slab = torch.empty(
            (shape.num_layers, 2, shape.num_kv_heads, capacity, shape.head_dim),
            dtype=self._dtype,
            device=self._device,
        )
        self._slabs[request] = slab.unbind()

    def close(self, request: int) -> None:
        """Drop the slab of `request`, if it has one."""
        self._slabs.pop(request, None)

    def append(self, request: int, layer: int, start: int, rows: torch.Tensor) -> torch.Tensor:
        """Write rows at positions start.. and return all keys and values up to them.

        Args:
            request: whose slab.
            layer: which layer.
            start: position of the first row.
            rows: keys and values [rows, 2, kv_heads, head_dim].

        Returns:
            A view [2, kv_heads, start + rows, head_dim].
        """
        kept = self._slabs[request][layer][:, :, : start + len(rows)]
        kept[:, :, start:] = rows.permute(1, 2, 0, 3)
        return kept
