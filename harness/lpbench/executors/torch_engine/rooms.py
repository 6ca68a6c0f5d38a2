"""How large the tensors of a segment are: exactly its rows, or a size that many segments share.

Owns: the sizes for which layers are captured.
Must not know: graphs, plans, which schedule asks.

A captured piece of the model serves every batch that fits its room; the rest of the room is
padding, which touches no expert and no page. Sizes are close together where a row costs most of a
pass, and a room of prompt rows is never much larger than they are: padding goes through the dense
matmuls. Rooms are for whole prompts as for slices of them, so that no schedule launches kernel by
kernel what another one replays. There is none for more rows than `MOST_ROWS`, nor for a crowd of
prompts of few rows each.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

MOST_ROWS = 16384
"""Rows of the largest room: above, a layer takes milliseconds, and its launches are lost in it."""

MIXED_STEP = 64
"""Rooms for prompt rows are so many rows apart, or a 64th of the power of two below them."""

_LARGE_ROWS = 1024
"""From so many rows on a layer takes longer than the launch of the next one: there is nothing to
gain by captured pieces of several."""

MOST_PROMPTS = 32
"""Prompts that share a room of few rows; of many rows, as many as they have whole blocks."""

_SMALL = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class Room:
    """Sizes of a segment's tensors.

    Attributes:
        rows: of the batch.
        decodes: how many of them, the first ones, may be decodes.
        blocks: of prompt rows.
    """

    rows: int
    decodes: int
    blocks: int

    @property
    def longest_piece(self) -> int | None:
        """Layers that are captured together at most; None for any number."""
        return 1 if self.rows > _LARGE_ROWS else None


@cache
def decode_rooms(most: int) -> tuple[int, ...]:
    """Return the rows of the rooms for up to so many decodes, ascending; the last one holds all."""
    sizes = [size for size in _SMALL if size < most]
    if most <= _SMALL[-1]:
        return (*sizes, next(size for size in _SMALL if size >= most))
    return (*sizes, *range(_SMALL[-1] + MIXED_STEP, most + MIXED_STEP, MIXED_STEP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """The rooms of a run.

    Attributes:
        most_decodes: decodes that a segment may have.
        most_rows: rows that one has as a rule; a prompt that was preempted may bring more.
        query_rows: prompt rows of a block at most.
    """

    most_decodes: int
    most_rows: int
    query_rows: int

    def own(self, decodes: int, prompts: Sequence[int]) -> Room:
        """Return a room of exactly a segment's rows.

        Args:
            decodes: its decodes.
            prompts: prompt rows of each of its prompts.
        """
        blocks = sum(-(-count // self.query_rows) for count in prompts)
        return Room(decodes + sum(prompts), decodes, blocks)

    def shared(self, decodes: int, prompts: Sequence[int]) -> Room | None:
        """Return the smallest shared room that a segment fits; None where none does."""
        if not prompts:
            sizes = decode_rooms(self.most_decodes)
            rows = sizes[bisect_left(sizes, decodes)]
            return Room(rows, rows, 0)
        rows = _mixed_rows(decodes + sum(prompts))
        is_large = rows > self._largest or len(prompts) > self._most_prompts(rows)
        return None if is_large else self._mixed(rows)

    def every(self) -> tuple[Room, ...]:
        """Return every shared room there is, the largest with prompts last."""
        alone = (Room(rows, rows, 0) for rows in decode_rooms(self.most_decodes))
        mixed, rows = [], MIXED_STEP
        while rows <= self._largest:
            mixed.append(self._mixed(rows))
            rows = _mixed_rows(rows + 1)
        return (*alone, *mixed)

    @property
    def _largest(self) -> int:
        """Rows of the largest room with prompts."""
        return min(_mixed_rows(self.most_rows), MOST_ROWS)

    def _mixed(self, rows: int) -> Room:
        """Return the room of so many rows with prompts among them, and any number of decodes."""
        decodes = min(rows, decode_rooms(self.most_decodes)[-1])
        return Room(rows, decodes, -(-rows // self.query_rows) + self._most_prompts(rows))

    def _most_prompts(self, rows: int) -> int:
        """Return the prompts of a room: each may end in a block that is not full."""
        return max(MOST_PROMPTS, rows // self.query_rows)


def _mixed_rows(rows: int) -> int:
    """Return the rows of the smallest room with prompts that holds so many."""
    step = max(MIXED_STEP, 1 << rows.bit_length() - 1 >> MIXED_STEP.bit_length() - 1)
    return -(-rows // step) * step
