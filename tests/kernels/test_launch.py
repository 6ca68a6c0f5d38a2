"""Which of a model's numbers the kernels are launched with."""

import math
from dataclasses import replace

import pytest
import torch

from lpbench.errors import RunError
from lpbench.executors.torch_engine.build import triton_kernels
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, Tile
from lpbench.executors.torch_engine.kernels.launch import TritonKernels
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.kernels.tile_table import TileTable
from lpbench.shape.model import ModelShape
from tests.kernels.tiny import GPT_OSS, QWEN


@pytest.mark.parametrize(
    "shape", [QWEN, GPT_OSS, replace(GPT_OSS, swiglu_limit=math.inf)], ids=["qwen", "oss", "open"]
)
def test_the_activation_is_the_familys(shape: ModelShape) -> None:
    """GPT-OSS's stays its own where the model states no clamp."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, shape.hidden_size, generator=generator) * 4
    dims = (shape.num_experts, shape.hidden_size, 2 * shape.expert_size)
    matrices = torch.randn(dims, generator=generator) / shape.hidden_size**0.5
    ids = torch.randint(0, shape.num_experts, (5, shape.top_k), generator=generator).int()
    tiles = TileTable.of(shape, dtype=torch.float32)
    ours, theirs = TritonKernels(shape, tiles=tiles), ReferenceKernels(shape)
    blocks = theirs.align(ids)
    held = blocks.pairs < blocks.total
    expected = theirs.gate_up(rows, matrices, None, blocks)[held]
    torch.testing.assert_close(ours.gate_up(rows, matrices, None, blocks)[held], expected)


def test_tiles_follow_the_rows() -> None:
    """Pairs come in blocks of what was tuned for their number of rows, others in shipped ones."""
    tile = Tile(columns=16, inner=16, warps=4, stages=1)
    tuned = {4: ExpertTiles(block_rows=32, gate_up=tile, down=tile)}
    kernels = TritonKernels(QWEN, tiles=TileTable.of(QWEN, dtype=torch.float32, tuned=tuned))
    blocks = {rows: kernels.align(torch.zeros(rows, 3).int()).block for rows in (2, 3, 4, 5)}
    assert {2: 16, 3: 32, 4: 32, 5: 16} == blocks


TILE = Tile(columns=32, inner=32, warps=4, stages=2)


@pytest.mark.parametrize(
    "tuned",
    [{}, {1: ExpertTiles(block_rows=16, gate_up=TILE, down=TILE)}],
    ids=["shipped", "tuned"],
)
def test_kernels_that_fail_on_tuned_tiles_name_their_file(tuned: dict[int, ExpertTiles]) -> None:
    """On shipped tiles the error is what it is."""
    table = TileTable.of(QWEN, dtype=torch.float32, tuned=tuned)
    failure = (
        pytest.raises(RunError, match=r"expert-tiles\.json \(no room\); without it")
        if tuned
        else pytest.raises(RuntimeError, match="no room")
    )
    with failure, triton_kernels(table):
        raise RuntimeError("no room\nand more")
