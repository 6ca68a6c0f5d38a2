"""What the kernels need to know about the rows of a segment: one array, sent in one piece.

Owns: its layout, the same on host and device.
Must not know: which requests the rows are of, graphs.
"""

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.torch_engine.rooms import Room

Array = TypeVar("Array", NDArray[np.int32], torch.Tensor)

_ALIGNED = 4
"""int32 values in the 16 bytes that every field starts at a multiple of: kernels are compiled for
that."""

NOWHERE = -1
"""The slot of a row whose key and value are written nowhere."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[Array]):
    """The fields, int32, as views of one array.

    Attributes:
        count: [1], rows that are not padding.
        positions: [rows].
        slots: [rows], where in the pool each row's key and value go, or `NOWHERE`.
        owners: [rows], whose bits each row sets.
        sources: [rows], each row's row of the table of drawn experts.
        seats: [decodes], each one's row of the page tables.
        lengths: [decodes], keys it attends to; 0 for padding.
        blocks: [blocks, 4], as `kernels.fused` has them.
    """

    count: Array
    positions: Array
    slots: Array
    owners: Array
    sources: Array
    seats: Array
    lengths: Array
    blocks: Array

    @classmethod
    def of(cls, array: Array, room: Room) -> "Batch[Array]":
        """See an array of at least `size(room)` values as a batch."""
        fields = [array[place] for place in _layout(room)]
        fields[-1] = fields[-1].reshape(-1, 4)
        return cls(*fields)


def size(room: Room) -> int:
    """Return the values of a batch's array."""
    return _padded(_layout(room)[-1].stop)


def padding(room: Room) -> NDArray[np.int32]:
    """Return the array of a batch that is all padding."""
    array = np.zeros(size(room), np.int32)
    Batch.of(array, room).slots[:] = NOWHERE
    return array


@cache
def _layout(room: Room) -> tuple[slice, ...]:
    """Return where each field lies."""
    lengths = (1, *(room.rows,) * 4, *(room.decodes,) * 2, 4 * room.blocks)
    starts = accumulate(map(_padded, lengths), initial=0)
    return tuple(slice(at, at + length) for at, length in zip(starts, lengths, strict=False))


def _padded(length: int) -> int:
    return -(-length // _ALIGNED) * _ALIGNED
