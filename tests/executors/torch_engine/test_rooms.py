"""Sizes that segments share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.executors.torch_engine.rooms import MOST_PROMPTS, MOST_ROWS, Room, Rooms, decode_rooms

ROOMS = Rooms(most_decodes=40, most_rows=500, query_rows=16)


@given(st.integers(1, 1000))
def test_decode_rooms_ascend_and_the_last_one_holds_all(most: int) -> None:
    """However many decodes there may be."""
    rooms = decode_rooms(most)
    assert sorted(set(rooms)) == list(rooms)
    assert most <= rooms[-1]
    assert len(rooms) == 1 or rooms[-2] < most


@given(st.integers(0, 40), st.lists(st.integers(1, 200), max_size=4))
def test_a_shared_room_holds_a_segment_and_was_captured_ahead(
    decodes: int, prompts: list[int]
) -> None:
    """Rows, decodes and blocks have their places, and less than a step of rows is padding."""
    own = ROOMS.own(decodes, prompts)
    room = ROOMS.shared(decodes, prompts) if own.rows else None
    if room is None:
        assert not own.rows or own.rows > ROOMS.most_rows
        return
    assert room in ROOMS.every()
    assert own.rows <= room.rows
    assert own.decodes <= room.decodes
    assert own.blocks <= room.blocks
    if prompts:
        assert room.rows < own.rows + 64


@pytest.mark.parametrize("prompts", [(MOST_ROWS + 1,), (1,) * (MOST_PROMPTS + 1)])
def test_what_is_large_has_a_room_of_its_own(prompts: tuple[int, ...]) -> None:
    """Nothing is captured for rows that hide launches, nor for a crowd of prompts."""
    assert Rooms(most_decodes=8, most_rows=9000, query_rows=16).shared(3, prompts) is None


def test_a_room_of_its_own_is_as_large_as_the_segment() -> None:
    """Three decodes, and prompts of 16 and 17 rows: a block, and two."""
    assert Room(36, 3, 3) == ROOMS.own(3, (16, 17))
