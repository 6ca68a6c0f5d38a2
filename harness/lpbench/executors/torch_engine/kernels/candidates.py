"""What a tuning run tries: a short list of tiles around what is known to be good.

Owns: the list, and the arithmetic that leaves out what cannot fit.
Must not know: Triton, what was found on any device.

The forms begin at the configurations that SGLang publishes for 128 experts of 768 on an H200
(fused_moe_triton/configs, Triton 3.6.0): blocks of 16 pairs up to 128 tokens, 64 to 256 columns,
64 to 256 inner values, 4 or 8 warps, 2 to 5 stages. Their kernel is not ours, so that the list is
wider than their choice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from lpbench.executors.torch_engine.kernels.expert_tiles import (
    FEWEST_BLOCK_ROWS,
    MOST_BLOCK_ROWS,
    ExpertTiles,
    Tile,
)

_GROUPED = 4
"""Blocks of one expert on the same columns, where it has several."""

# By rows of a block: columns of gate and of up each, columns of down, inner values, warps, stages.
_Form = tuple[int, int, int, int, int]

_FEW: tuple[_Form, ...] = (
    (64, 64, 128, 4, 4),
    (64, 128, 64, 4, 5),
    (64, 128, 128, 4, 3),
    (64, 128, 256, 8, 3),
    (128, 128, 64, 4, 4),
    (128, 256, 64, 4, 4),
    (128, 256, 128, 8, 3),
)
_MANY: tuple[_Form, ...] = (
    (64, 128, 64, 4, 4),
    (64, 128, 64, 8, 4),
    (128, 128, 64, 8, 3),
    (128, 256, 64, 8, 4),
    (128, 128, 128, 8, 2),
)
_FORMS: Mapping[int, tuple[_Form, ...]] = {16: _FEW, 32: _FEW, 64: _MANY, 128: _MANY}


def shared_bytes(tiles: ExpertTiles, *, value_bytes: int, weight_bytes: float) -> int:
    """Return what the stages of the larger matmul hold at least: activations, weights as stored.

    Args:
        tiles: how both are cut.
        value_bytes: of an activation.
        weight_bytes: of a weight, its scale left out.
    """
    both = ((tiles.gate_up, 2 * tiles.gate_up.columns), (tiles.down, tiles.down.columns))
    return max(
        int(tile.stages * tile.inner * (tiles.block_rows * value_bytes + columns * weight_bytes))
        for tile, columns in both
    )


def candidates(
    shipped: ExpertTiles,
    *,
    mean_pairs: float,
    value_bytes: int,
    mxfp4: bool,
    most_shared: int,
    has_tma: bool,
) -> tuple[ExpertTiles, ...]:
    """Return the tiles to try against the shipped ones, which are not among them.

    Args:
        shipped: the choice for this number of rows.
        mean_pairs: of an expert; where it exceeds a block, blocks of one expert are grouped too.
        value_bytes: of an activation, and of a weight that is not packed.
        mxfp4: whether the matrices are packed.
        most_shared: bytes of shared memory that a program can have.
        has_tma: whether the chip has the copy engine; then its copies are tried and threads' too.
    """
    weight_bytes = 1 / 2 if mxfp4 else value_bytes
    found = dict.fromkeys(_listed(shipped, mean_pairs=mean_pairs, has_tma=has_tma))
    del found[shipped]
    return tuple(
        tiles
        for tiles in found
        if shared_bytes(tiles, value_bytes=value_bytes, weight_bytes=weight_bytes) <= most_shared
    )


def _listed(shipped: ExpertTiles, *, mean_pairs: float, has_tma: bool) -> Iterator[ExpertTiles]:
    """Yield all of the list; where there is no copy engine, tiles that ask for it do without."""
    rows = shipped.block_rows
    own = [shipped, *(_tiles(rows, form) for form in _FORMS[rows])]
    yield from own
    if has_tma:
        yield from (_varied(tiles, tma=False) for tiles in own)
    if mean_pairs > rows:
        yield from (_varied(tiles, group_rows=_GROUPED) for tiles in own)
    if rows > FEWEST_BLOCK_ROWS:
        # A block of the shipped tiles holds up to four times the mean of an expert.
        for other in (rows // 2, 2 * rows):
            if other <= MOST_BLOCK_ROWS:
                yield from (_tiles(other, form) for form in _FORMS[other])


def _tiles(rows: int, form: _Form) -> ExpertTiles:
    gate_up, down, inner, warps, stages = form
    first, second = (
        Tile(columns=columns, inner=inner, warps=warps, stages=stages)
        for columns in (gate_up, down)
    )
    return ExpertTiles(block_rows=rows, gate_up=first, down=second)


def _varied(tiles: ExpertTiles, *, tma: bool = True, group_rows: int = 1) -> ExpertTiles:
    """Return tiles with both matmuls changed."""
    gate_up, down = (
        replace(tile, tma=tma, group_rows=group_rows) for tile in (tiles.gate_up, tiles.down)
    )
    return replace(tiles, gate_up=gate_up, down=down)
