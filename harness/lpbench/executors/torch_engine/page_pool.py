"""Keys and values of all requests, in pages that are taken as sequences grow.

Owns: the pool, who holds which page, the page tables on host and device.
Must not know: layers' weights, schedules. How many requests there may be is decided, in the same
pages, by `plan.queues`.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.sequences import Seats
from lpbench.executors.torch_engine.transfer import to_device
from lpbench.plan.request import PAGE_TOKENS, pages_for
from lpbench.shape.model import ModelShape

_OFFSETS = np.arange(PAGE_TOKENS)


class PagePool:
    """One pool for every layer; a page has the same number in all of them."""

    def __init__(
        self,
        shape: ModelShape,
        *,
        num_pages: int,
        num_seats: int,
        most_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Take the memory, all of it.

        Args:
            shape: the model's geometry.
            num_pages: pages of `plan.request.PAGE_TOKENS` tokens.
            num_seats: sequences, each with its row of the page table.
            most_tokens: of a sequence.
            dtype: of keys and values.
            device: where they lie.
        """
        dims = (shape.num_layers, num_pages, shape.num_kv_heads, PAGE_TOKENS, shape.head_dim)
        keys, values = (torch.empty(dims, dtype=dtype, device=device) for _ in "kv")
        width = pages_for(most_tokens)
        self._tables = torch.zeros((num_seats, width), dtype=torch.int32, device=device)
        self._layers = tuple(
            Pages(mine, its, self._tables)
            for mine, its in zip(keys.unbind(), values.unbind(), strict=True)
        )
        self._known = np.zeros((num_seats, width), np.int64)
        self._held = np.zeros(num_seats, np.int64)
        self._free = np.arange(num_pages)[::-1].copy()
        self._num_free = num_pages
        self._changed: list[NDArray[np.int64]] = []

    def layer(self, layer: int) -> Pages:
        """Return one layer's keys and values."""
        return self._layers[layer]

    def reserve(self, seats: Seats, lengths: NDArray[np.int64]) -> None:
        """Give each sequence the pages of its first `lengths` tokens; the queues saw to them."""
        wanted = self._held.copy()
        np.maximum.at(wanted, seats, -(-lengths // PAGE_TOKENS))
        counts = wanted - self._held
        taken = int(counts.sum())
        if not taken:
            return
        assert taken <= self._num_free, "the queues let more in than the pool holds"
        self._num_free -= taken
        firsts = np.arange(len(counts)) * self._known.shape[1] + self._held
        within = np.arange(taken) - (counts.cumsum() - counts).repeat(counts)
        places = firsts.repeat(counts) + within
        self._known.ravel()[places] = self._free[self._num_free : self._num_free + taken]
        self._changed.append(places)
        self._held = wanted

    def release(self, seat: int, *, keep_tokens: int) -> None:
        """Take a sequence's pages back, but for those of its first tokens."""
        kept, held = pages_for(keep_tokens), int(self._held[seat])
        if held > kept:
            given = held - kept
            self._free[self._num_free : self._num_free + given] = self._known[seat, kept:held]
            self._num_free += given
            self._held[seat] = kept

    def slots(self, seats: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where these positions lie; the seats broadcast."""
        pages, offsets = np.divmod(positions, PAGE_TOKENS)
        return self._known[seats, pages] * PAGE_TOKENS + offsets

    def span(self, seat: int, start: int, count: int) -> NDArray[np.int64]:
        """Return where consecutive positions of one sequence lie."""
        first, offset = divmod(start, PAGE_TOKENS)
        pages = self._known[seat, first : first + pages_for(offset + count)]
        slots = pages[:, None] * PAGE_TOKENS + _OFFSETS
        return slots.ravel()[offset : offset + count]

    def send_tables(self) -> None:
        """Bring the tables on the device up to date."""
        if not self._changed:
            return
        places = np.concatenate(self._changed)
        sent = to_device(np.stack((places, self._known.ravel()[places])), self._tables.device)
        self._tables.view(-1).index_copy_(0, sent[0], sent[1].int())
        self._changed.clear()
