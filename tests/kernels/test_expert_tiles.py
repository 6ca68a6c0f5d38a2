from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpbench.executors.torch_engine.kernels.chip import AMPERE, BLACKWELL, HOPPER
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, choose_tiles

CHIPS = (AMPERE, HOPPER, BLACKWELL)

SHARED_BYTES = 163 * 1024
"""What a program of an sm_80 GPU can have."""


def qwen(tokens: int) -> ExpertTiles:
    """Return the tiles of Qwen3-30B-A3B in bfloat16."""
    return choose_tiles(pairs=tokens * 8, num_experts=128, dtype=torch.bfloat16, mxfp4=False)


@pytest.mark.parametrize(
    ("tokens", "rows"), [(1, 16), (128, 16), (129, 32), (256, 32), (512, 64), (1024, 128)]
)
def test_blocks_follow_the_mean_pairs_of_an_expert(tokens: int, rows: int) -> None:
    """16 up to 128 tokens, then twice an expert's mean."""
    assert rows == qwen(tokens).block_rows


def test_blocks_end_at_what_registers_hold() -> None:
    """However many pairs there are."""
    assert 128 == qwen(2**20).block_rows


def test_float32_has_one_choice() -> None:
    """It is for correctness, whatever is asked."""
    choices = {
        choose_tiles(pairs=pairs, num_experts=8, dtype=torch.float32, mxfp4=mxfp4)
        for pairs, mxfp4 in product((1, 100_000), (False, True))
    }
    assert 1 == len(choices)


@pytest.mark.parametrize("mxfp4", [False, True])
def test_other_chips_share_all_but_the_largest_blocks_with_hopper(*, mxfp4: bool) -> None:
    """Up to 64 rows one tile stays in the registers of all; a block has as many rows on any."""
    for pairs in (8, 16, 32, 64):
        ampere, hopper, blackwell = (
            choose_tiles(pairs=pairs, num_experts=1, dtype=torch.bfloat16, mxfp4=mxfp4, major=major)
            for major in CHIPS
        )
        assert ampere.block_rows == hopper.block_rows == blackwell.block_rows == 2 * pairs
        assert (pairs < 64) == (ampere == hopper)
        assert (pairs < 64 or mxfp4) == (blackwell == hopper)


@given(st.integers(1, 2**20), st.integers(1, 512), st.booleans(), st.sampled_from(CHIPS))
def test_every_choice_fits(pairs: int, num_experts: int, mxfp4: bool, major: int) -> None:  # noqa: FBT001 - drawn
    """Stages of activations and weights in shared memory; powers of two, as Triton wants."""
    tiles = choose_tiles(
        pairs=pairs, num_experts=num_experts, dtype=torch.bfloat16, mxfp4=mxfp4, major=major
    )
    rows = tiles.block_rows
    for tile, matrices in ((tiles.gate_up, 2), (tiles.down, 1)):
        weights = matrices * tile.columns * tile.inner * (1 if mxfp4 else 4) // 2
        assert SHARED_BYTES >= tile.stages * (rows * tile.inner * 2 + weights)
        sizes = (rows, tile.columns, tile.inner, tile.warps)
        assert all(size.bit_count() == 1 for size in sizes)
        assert 64 <= tile.columns
        assert 0 == tile.inner % 32
