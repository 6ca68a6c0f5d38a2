"""What a tuning run tries."""

import pytest
import torch

from lpbench.executors.torch_engine.kernels.candidates import candidates, shared_bytes
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, Tile
from lpbench.executors.torch_engine.kernels.tile_table import TUNED_ROWS, TileTable
from lpbench.shape.catalogue import find_shape

A100, H100 = 163 * 1024, 227 * 1024
"""Shared memory of a program (CUDA C++ Programming Guide, technical specifications)."""


def listed(
    rows: int, *, mxfp4: bool = False, most_shared: int = H100, has_tma: bool = True
) -> tuple[ExpertTiles, tuple[ExpertTiles, ...]]:
    """Return the shipped tiles of so many rows, and the candidates."""
    shape, _ = find_shape("gpt-oss-20b" if mxfp4 else "qwen3-30b-a3b")
    table = TileTable.of(shape, dtype=torch.bfloat16, mxfp4=mxfp4)
    pairs = rows * shape.top_k
    shipped = table.shipped(pairs)
    return shipped, candidates(
        shipped,
        mean_pairs=pairs / shape.num_experts,
        value_bytes=2,
        mxfp4=mxfp4,
        most_shared=most_shared,
        has_tma=has_tma,
    )


@pytest.mark.parametrize("mxfp4", [False, True])
@pytest.mark.parametrize(("most_shared", "has_tma"), [(A100, False), (H100, True)])
def test_a_short_list_of_other_tiles_that_fit(
    most_shared: int, *, has_tma: bool, mxfp4: bool
) -> None:
    """Each once, none the shipped ones, every size as Triton and tensor cores want it."""
    weight_bytes = 0.5 if mxfp4 else 2
    for rows in TUNED_ROWS:
        shipped, found = listed(rows, mxfp4=mxfp4, most_shared=most_shared, has_tma=has_tma)
        assert 4 <= len(set(found)) == len(found) <= 27
        assert shipped not in found
        for one in found:
            held = shared_bytes(one, value_bytes=2, weight_bytes=weight_bytes)
            assert most_shared >= held
            for tile in (one.gate_up, one.down):
                sizes = (one.block_rows, tile.columns, tile.inner, tile.warps)
                assert all(size.bit_count() == 1 for size in sizes)
                assert 64 <= min(sizes[1:3]) <= max(sizes[1:3]) <= 256


def test_stages_of_activations_and_weights_by_hand() -> None:
    """The larger: three stages of 64 inner values, 16 rows of 2 bytes beside 2 x 64 columns."""
    tiles = ExpertTiles(
        block_rows=16,
        gate_up=Tile(columns=64, inner=64, warps=4, stages=3),
        down=Tile(columns=128, inner=32, warps=4, stages=4),
    )
    assert 3 * 64 * (16 * 2 + 2 * 64 * 2) == shared_bytes(tiles, value_bytes=2, weight_bytes=2)


@pytest.mark.parametrize(
    ("rows", "blocks"),
    [(1, {16}), (128, {16}), (256, {16, 32, 64}), (512, {32, 64, 128}), (8192, {64, 128})],
)
def test_blocks_of_the_shipped_size_and_beside_it(rows: int, blocks: set[int]) -> None:
    """Up to 128 tokens of Qwen3-30B-A3B 16 alone: most experts have a pair or two."""
    assert blocks == {tiles.block_rows for tiles in listed(rows)[1]}


def test_blocks_are_grouped_where_an_expert_has_several() -> None:
    """At 2048 rows it has 128 pairs, one block; at 8192 four."""
    grouped = {rows: {one.down.group_rows for one in listed(rows)[1]} for rows in (1, 2048, 8192)}
    assert {1: {1}, 2048: {1}, 8192: {1, 4}} == grouped


def test_both_ways_to_copy_are_tried_where_there_are_two() -> None:
    """Without the engine a tile that asks for it does without, so that one will do."""
    assert {True, False} == {one.gate_up.tma for one in listed(1)[1]}
    assert {True} == {one.gate_up.tma for one in listed(1, has_tma=False)[1]}
