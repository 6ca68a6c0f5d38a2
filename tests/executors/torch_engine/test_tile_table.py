"""Which tiles a batch gets: shipped ones, and those that were tuned."""

import hashlib
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, Tile, choose_tiles
from lpbench.executors.torch_engine.kernels.tile_table import (
    REVISION,
    TUNED_ROWS,
    TileTable,
    tuned_rows,
)
from lpbench.shape.catalogue import find_shape

QWEN, _ = find_shape("qwen3-30b-a3b")


def tiles(stages: int) -> ExpertTiles:
    """Return tiles that are not shipped, told apart by their stages."""
    tile = Tile(columns=32, inner=32, warps=1, stages=stages)
    return ExpertTiles(block_rows=16, gate_up=tile, down=tile)


def table(tuned: dict[int, ExpertTiles]) -> TileTable:
    """Return Qwen3-30B-A3B's in bfloat16."""
    return TileTable.of(QWEN, dtype=torch.bfloat16, tuned=tuned)


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8192, 8192), (8193, 8192)]
)
def test_a_batch_takes_the_next_size(rows: int, expected: int) -> None:
    """The next power of two, or the largest that is tuned."""
    assert expected == tuned_rows(rows)


def test_what_is_not_tuned_is_shipped() -> None:
    """Rows of another size keep the shipped choice, for their own number of pairs."""
    found = table({8: tiles(1), 8192: tiles(2)})
    assert [tiles(1)] * 4 == [found.tiles(rows * 8) for rows in (5, 6, 7, 8)]
    assert [tiles(2)] * 2 == [found.tiles(rows * 8) for rows in (4097, 100_000)]
    for rows in (1, 4, 9, 4096):
        shipped = choose_tiles(pairs=rows * 8, num_experts=128, dtype=torch.bfloat16, mxfp4=False)
        assert shipped == found.tiles(rows * 8) == table({}).tiles(rows * 8)


@given(
    st.integers(1, 300),
    st.integers(1, 8),
    st.dictionaries(st.sampled_from(TUNED_ROWS), st.integers(1, 3).map(tiles)),
    st.lists(st.integers(1, 20_000), min_size=1),
)
def test_ranges_say_what_every_batch_gets(
    experts: int, top_k: int, tuned: dict[int, ExpertTiles], batches: list[int]
) -> None:
    """They cover all numbers of rows once, neighbours differ, and each tells the truth."""
    found = TileTable(
        num_experts=experts, top_k=top_k, dtype=torch.bfloat16, mxfp4=False, tuned=tuned
    )
    ranges = found.ranges()
    assert (1, None) == (ranges[0].first, ranges[-1].last)
    for one, other in pairwise(ranges):
        assert one.last is not None
        assert other.first == one.last + 1
        assert (one.tiles, one.source) != (other.tiles, other.source)
    for rows in batches:
        (own,) = (
            one for one in ranges if one.first <= rows and (one.last is None or rows <= one.last)
        )
        assert own.tiles == found.tiles(rows * top_k)
        assert ("tuned" if tuned_rows(rows) in tuned else "shipped") == own.source


def test_other_shipped_tiles_are_another_revision() -> None:
    """Raise it with them: what was tuned against the old ones would be taken for the new."""
    shipped = [
        choose_tiles(pairs=pairs, num_experts=128, dtype=torch.bfloat16, mxfp4=mxfp4, major=major)
        for pairs, mxfp4, major in product((8, 2048, 4096, 16384), (False, True), (8, 9, 10))
    ]
    digest = hashlib.sha256(repr(shipped).encode()).hexdigest()
    assert (1, "41e716d105c40aac") == (REVISION, digest[:16])
