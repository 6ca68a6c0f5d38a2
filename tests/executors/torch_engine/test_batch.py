"""The array of a segment's rows."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpbench.executors.torch_engine.batch import Batch, padding, size
from lpbench.executors.torch_engine.rooms import Room

FIELDS = ("count", "positions", "slots", "owners", "sources", "seats", "lengths", "blocks")


@given(st.builds(Room, st.integers(1, 70), st.integers(0, 40), st.integers(0, 9)))
def test_host_and_device_see_the_same_fields(room: Room) -> None:
    """Each value has a place of its own, and every field starts at 16 bytes."""
    array = np.arange(size(room), dtype=np.int32)
    mine, its = Batch.of(array, room), Batch.of(torch.from_numpy(array), room)
    seen: list[int] = []
    for name in FIELDS:
        field = getattr(mine, name)
        assert field.tolist() == getattr(its, name).tolist()
        seen += field.ravel().tolist()
        assert all(first % 4 == 0 for first in field.ravel()[:1].tolist())
    assert len(seen) == len(set(seen))
    assert (room.rows, room.decodes, room.blocks) == (
        len(mine.positions),
        len(mine.seats),
        len(mine.blocks),
    )


def test_padding_is_written_nowhere_and_attends_to_nothing() -> None:
    """No row counts, no slot is a place, no decode has keys, no block has rows."""
    batch = Batch.of(padding(Room(3, 2, 1)), Room(3, 2, 1))
    assert ([0], [-1] * 3, [0] * 2) == (
        batch.count.tolist(),
        batch.slots.tolist(),
        batch.lengths.tolist(),
    )
    assert [[0] * 4] == batch.blocks.tolist()
