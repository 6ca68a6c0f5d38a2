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
    """Nothing is captured for rows that launches are lost in, nor for a crowd of prompts."""
    assert Rooms(most_decodes=8, most_rows=20_000, query_rows=16).shared(3, prompts) is None


WHOLE = Rooms(most_decodes=40, most_rows=MOST_ROWS, query_rows=16)


@given(st.integers(0, 40), st.integers(1, MOST_ROWS - 40))
def test_whole_prompts_share_rooms_as_slices_do(decodes: int, prompt: int) -> None:
    """Padding is less than 64 rows, or less than a 64th of the rows where these are more."""
    room = WHOLE.shared(decodes, (prompt,))
    assert room is not None
    assert room in WHOLE.every()
    assert 0 <= room.rows - decodes - prompt < max(64, room.rows / 64)


def test_many_prompts_of_many_rows_share_a_room() -> None:
    """200 prompts of 40 tokens, as chunks of 512 of them do."""
    room = WHOLE.shared(8, (40,) * 200)
    assert room is not None
    assert WHOLE.own(8, (40,) * 200).blocks <= room.blocks


def test_layers_of_many_rows_are_captured_one_by_one() -> None:
    """Those of few rows in pieces of any length."""
    assert (None, 1) == (Room(1024, 8, 64).longest_piece, Room(1088, 8, 70).longest_piece)


def test_a_room_of_its_own_is_as_large_as_the_segment() -> None:
    """Three decodes, and prompts of 16 and 17 rows: a block, and two."""
    assert Room(36, 3, 3) == ROOMS.own(3, (16, 17))
