"""How the experts' two matmuls are cut into the work of one program each.

Owns: the shipped choice, a pure function of how much there is to do.
Must not know: Triton, which chip there is, what a tuning run found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from lpbench.executors.torch_engine.kernels.chip import AMPERE, BLACKWELL, HOPPER

FEWEST_BLOCK_ROWS, MOST_BLOCK_ROWS = 16, 128
"""Pairs of a block: what tensor cores take at least, and what registers hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """What one program of a matmul computes, and how.

    Attributes:
        columns: output columns of a program; of gate and of up each.
        inner: values of the inner axis that are loaded at a time.
        warps: of a program.
        stages: steps of the inner axis in flight.
        group_rows: blocks of pairs that run next to each other on the same columns, so that those
            of one expert find its weights in L2.
        tma: whether weights are fetched by the chip's copy engine, where it has one.
    """

    columns: int
    inner: int
    warps: int
    stages: int
    group_rows: int = 1
    tma: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTiles:
    """The tiles of a layer's experts.

    Attributes:
        block_rows: pairs of an expert block, which both matmuls share.
        gate_up: the first matmul's.
        down: the second's.
    """

    block_rows: int
    gate_up: Tile
    down: Tile


def choose_tiles(
    *, pairs: int, num_experts: int, dtype: torch.dtype, mxfp4: bool, major: int = HOPPER
) -> ExpertTiles:
    """Return the shipped tiles: a start for a tuning run, and good without one.

    A block holds twice an expert's mean pairs, rounded up to a power of two, where that is not too
    many: most experts then need one block, and read their weights once.

    Args:
        pairs: rows * top_k, those of padding included.
        num_experts: of the layer.
        dtype: of the activations; in float32 tiles are for correctness alone.
        mxfp4: whether the matrices are packed.
        major: first number of the chip's compute capability.
    """
    if dtype == torch.float32:
        return _EXACT
    twice = -(-2 * pairs // num_experts)
    rows = min(max(FEWEST_BLOCK_ROWS, 1 << (twice - 1).bit_length()), MOST_BLOCK_ROWS)
    tiles = (_PACKED if mxfp4 else _PLAIN)[rows]
    return _OFF_HOPPER.get((major, mxfp4), tiles) if rows == MOST_BLOCK_ROWS else tiles


_EXACT = ExpertTiles(
    block_rows=16,
    gate_up=Tile(columns=32, inner=32, warps=4, stages=2),
    down=Tile(columns=32, inner=32, warps=4, stages=2),
)
"""Float32 is multiplied without tensor cores: more would not stay in registers."""

# By rows of a block. All fit the 163 KiB of shared memory that an sm_80 program can have, and
# those of few rows fit a Hopper SM twice: one program's first loads then hide another's last.

_PLAIN: Mapping[int, ExpertTiles] = {
    16: ExpertTiles(
        block_rows=16,
        gate_up=Tile(columns=64, inner=128, warps=4, stages=3),
        down=Tile(columns=128, inner=128, warps=4, stages=3),
    ),
    32: ExpertTiles(
        block_rows=32,
        gate_up=Tile(columns=64, inner=64, warps=4, stages=4),
        down=Tile(columns=128, inner=64, warps=4, stages=4),
    ),
    64: ExpertTiles(
        block_rows=64,
        gate_up=Tile(columns=64, inner=64, warps=4, stages=4),
        down=Tile(columns=128, inner=64, warps=8, stages=4),
    ),
    128: ExpertTiles(
        block_rows=128,
        gate_up=Tile(columns=128, inner=64, warps=8, stages=3),
        down=Tile(columns=256, inner=64, warps=8, stages=3),
    ),
}

# Unpacking is most of the work here, and it takes registers: columns are fewer.

_PACKED: Mapping[int, ExpertTiles] = {
    16: ExpertTiles(
        block_rows=16,
        gate_up=Tile(columns=64, inner=128, warps=4, stages=4),
        down=Tile(columns=64, inner=128, warps=4, stages=4),
    ),
    32: ExpertTiles(
        block_rows=32,
        gate_up=Tile(columns=64, inner=128, warps=4, stages=3),
        down=Tile(columns=64, inner=128, warps=4, stages=3),
    ),
    64: ExpertTiles(
        block_rows=64,
        gate_up=Tile(columns=64, inner=64, warps=4, stages=3),
        down=Tile(columns=128, inner=64, warps=4, stages=3),
    ),
    128: ExpertTiles(
        block_rows=128,
        gate_up=Tile(columns=128, inner=64, warps=8, stages=3),
        down=Tile(columns=128, inner=64, warps=8, stages=3),
    ),
}

_OFF_HOPPER: Mapping[tuple[int, bool], ExpertTiles] = {
    (AMPERE, False): replace(_PLAIN[128], gate_up=Tile(columns=128, inner=32, warps=8, stages=5)),
    (AMPERE, True): replace(_PACKED[128], gate_up=Tile(columns=128, inner=32, warps=8, stages=5)),
    (BLACKWELL, False): replace(_PLAIN[128], down=Tile(columns=128, inner=64, warps=8, stages=3)),
}
"""Blocks of 128 rows, by chip and whether packed, where Hopper's would not stay in registers.

Ampere's tensor cores take both operands from registers: half as long a step leaves room for them.
Blackwell's keep the product in a memory of their own, out of which a thread at last reads a column,
and weighs every row of it: of half the columns, half the rows are another thread's.
"""
