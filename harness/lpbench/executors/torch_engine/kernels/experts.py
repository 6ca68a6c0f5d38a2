"""The experts' two matmuls over blocks of pairs, in Triton: gate, up and activation; then down.

Owns: the kernels and their launches.
Must not know: how pairs come into blocks, what a tuning run found.

A program multiplies the pairs of one block by some columns of their expert's matrix. The product
is kept transposed, [columns, pairs]: weights are the left operand. Tensor cores want 64 rows
there, which a weight matrix always has and a block of few pairs has not, and on Hopper the left
operand alone may come from registers, which is where packed weights are unpacked.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks
from lpbench.executors.torch_engine.kernels.chip import HOPPER, major_of
from lpbench.executors.torch_engine.kernels.expert_tiles import Tile
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.unpack import GROUP, unpack
from lpbench.executors.torch_engine.operators import GLU_ALPHA

_TMA_ALIGNMENT = 16
"""Bytes that strides of a tensor are a multiple of where TMA is to read it."""


def gate_up(
    *,
    rows: torch.Tensor,
    matrices: torch.Tensor | Mxfp4,
    bias: torch.Tensor | None,
    blocks: ExpertBlocks,
    top_k: int,
    limit: float | None,
    tile: Tile,
) -> torch.Tensor:
    """Return the gated activation of every pair of the blocks.

    Args:
        rows: [R, H].
        matrices: [E, H, 2I], gate columns, then up columns; packed: gate rows, then up rows.
        bias: [E, 2I]; None where there is none.
        blocks: the pairs.
        top_k: pairs of a row.
        limit: clamp of GPT-OSS's activation; None for SiLU.
        tile: how the work is cut.

    Returns:
        [blocks * block, I], in the order of `blocks.pairs`; undefined where there is no pair.
    """
    hidden = rows.shape[1]
    inner = _columns(matrices) // 2
    out = rows.new_empty(len(blocks.pairs), inner)
    weights, scales, tma = _operands(matrices, tile)
    gate_up_kernel[_grid(blocks, inner, tile)](
        rows,
        weights,
        scales,
        bias,
        out,
        blocks.pairs,
        blocks.experts,
        blocks.count,
        blocks.total,
        limit,
        HIDDEN=hidden,
        INNER=inner,
        TOP_K=top_k,
        ALPHA=GLU_ALPHA,
        TMA=tma,
        **_constants(blocks, tile),
    )
    return out


def down(
    *,
    inner: torch.Tensor,
    matrices: torch.Tensor | Mxfp4,
    bias: torch.Tensor | None,
    blocks: ExpertBlocks,
    share: torch.Tensor,
    tile: Tile,
) -> torch.Tensor:
    """Return each row's experts' results times their weights, still apart.

    Args:
        inner: [blocks * block, I], what `gate_up` returned.
        matrices: [E, I, H].
        bias: [E, H]; None where there is none.
        blocks: the pairs.
        share: float32 [R, k].
        tile: how the work is cut.

    Returns:
        [R, k, H]; undefined in rows of padding.
    """
    hidden = _columns(matrices)
    parts = inner.new_empty(*share.shape, hidden)
    weights, scales, tma = _operands(matrices, tile)
    down_kernel[_grid(blocks, hidden, tile)](
        inner,
        weights,
        scales,
        bias,
        share,
        parts,
        blocks.pairs,
        blocks.experts,
        blocks.count,
        blocks.total,
        HIDDEN=hidden,
        INNER=inner.shape[1],
        TMA=tma,
        **_constants(blocks, tile),
    )
    return parts


def _columns(matrices: torch.Tensor | Mxfp4) -> int:
    """Return how many outputs each matrix has."""
    return matrices.blocks.shape[1] if isinstance(matrices, Mxfp4) else matrices.shape[2]


def _operands(
    matrices: torch.Tensor | Mxfp4, tile: Tile
) -> tuple[torch.Tensor | TensorDescriptor, torch.Tensor | None, bool]:
    """Return weights and scales as the kernels take them, and whether the weights go by TMA."""
    if isinstance(matrices, Mxfp4):
        weights, scales = matrices.blocks, matrices.scales
        box = [1, tile.columns, tile.inner // 2]
    else:
        weights, scales = matrices, None
        box = [1, tile.inner, tile.columns]
    if tile.tma and _can_tma(weights):
        return TensorDescriptor.from_tensor(weights, box), scales, True
    return weights, scales, False


def _can_tma(weights: torch.Tensor) -> bool:
    """Return whether the chip has the copy engine, and the strides please it."""
    has_engine = major_of(weights.device) >= HOPPER
    return has_engine and weights.stride(1) * weights.element_size() % _TMA_ALIGNMENT == 0


def _grid(blocks: ExpertBlocks, columns: int, tile: Tile) -> tuple[int]:
    """Return the most programs that there can be; those of blocks past the count return at once."""
    groups = triton.cdiv(len(blocks.experts), tile.group_rows)
    return (groups * tile.group_rows * triton.cdiv(columns, tile.columns),)


def _constants(blocks: ExpertBlocks, tile: Tile) -> dict[str, int]:
    """Return what both kernels are compiled with."""
    return {
        "BLOCK_ROWS": blocks.block,
        "BLOCK_COLUMNS": tile.columns,
        "BLOCK_INNER": tile.inner,
        "GROUP_ROWS": tile.group_rows,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


@triton.jit(do_not_specialize=["total"])
def gate_up_kernel(
    rows,
    weights,
    scales,
    bias,
    out,
    pairs,
    experts,
    count,
    total,
    limit,
    HIDDEN: tl.constexpr,
    INNER: tl.constexpr,
    TOP_K: tl.constexpr,
    ALPHA: tl.constexpr,
    TMA: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    GROUP_ROWS: tl.constexpr,
):
    """Compute BLOCK_COLUMNS columns of gate and of up for one block, and activate them."""
    block, first = _assignment(INNER, BLOCK_COLUMNS, GROUP_ROWS)
    if block >= tl.load(count):
        return
    place = block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    pair = tl.load(pairs + place)
    held = pair < total
    starts = rows + (pair // TOP_K).to(tl.int64) * HIDDEN
    expert = tl.load(experts + block)
    column = first + tl.arange(0, BLOCK_COLUMNS)
    inside = column < INNER
    gate = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    up = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    for step in range((HIDDEN + BLOCK_INNER - 1) // BLOCK_INNER):
        x = _activations(starts, held, step, HIDDEN, BLOCK_INNER)
        w = _weights(
            weights,
            scales,
            expert,
            step,
            first,
            inside,
            x.dtype,
            HIDDEN,
            2 * INNER,
            BLOCK_INNER,
            TMA,
        )
        gate = tl.dot(w, x, gate, input_precision="ieee")
        w = _weights(
            weights,
            scales,
            expert,
            step,
            INNER + first,
            inside,
            x.dtype,
            HIDDEN,
            2 * INNER,
            BLOCK_INNER,
            TMA,
        )
        up = tl.dot(w, x, up, input_precision="ieee")
    # Products and sums are rounded where torch's own operators round them.
    gate = gate.to(rows.dtype.element_ty)
    up = up.to(rows.dtype.element_ty)
    if bias is not None:
        at = bias + expert.to(tl.int64) * (2 * INNER) + column
        gate += tl.load(at, mask=inside, other=0.0)[:, None]
        up += tl.load(at + INNER, mask=inside, other=0.0)[:, None]
    active = _activate(gate.to(tl.float32), up.to(tl.float32), limit, ALPHA)
    at = out + place.to(tl.int64)[None, :] * INNER + column[:, None]
    tl.store(at, active.to(out.dtype.element_ty), mask=inside[:, None] & held[None, :])


@triton.jit(do_not_specialize=["total"])
def down_kernel(
    inner,
    weights,
    scales,
    bias,
    share,
    parts,
    pairs,
    experts,
    count,
    total,
    HIDDEN: tl.constexpr,
    INNER: tl.constexpr,
    TMA: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    GROUP_ROWS: tl.constexpr,
):
    """Compute BLOCK_COLUMNS columns of the results of one block, weigh and scatter them."""
    block, first = _assignment(HIDDEN, BLOCK_COLUMNS, GROUP_ROWS)
    if block >= tl.load(count):
        return
    place = block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    pair = tl.load(pairs + place)
    held = pair < total
    starts = inner + place.to(tl.int64) * INNER
    expert = tl.load(experts + block)
    column = first + tl.arange(0, BLOCK_COLUMNS)
    inside = column < HIDDEN
    result = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    for step in range((INNER + BLOCK_INNER - 1) // BLOCK_INNER):
        x = _activations(starts, held, step, INNER, BLOCK_INNER)
        w = _weights(
            weights, scales, expert, step, first, inside, x.dtype, INNER, HIDDEN, BLOCK_INNER, TMA
        )
        result = tl.dot(w, x, result, input_precision="ieee")
    result = result.to(inner.dtype.element_ty).to(
        tl.float32
    )  # rounded as torch's own operator does
    if bias is not None:
        at = bias + expert.to(tl.int64) * HIDDEN + column
        result += tl.load(at, mask=inside, other=0.0).to(tl.float32)[:, None]
    result *= tl.load(share + pair, mask=held, other=0.0)[None, :]
    at = parts + pair.to(tl.int64)[None, :] * HIDDEN + column[:, None]
    tl.store(at, result.to(parts.dtype.element_ty), mask=inside[:, None] & held[None, :])


@triton.jit
def _assignment(COLUMNS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, GROUP_ROWS: tl.constexpr):
    """Return the program's block of pairs and its first column."""
    ACROSS: tl.constexpr = (COLUMNS + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
    program = tl.program_id(0)
    within = program % (GROUP_ROWS * ACROSS)
    block = program // (GROUP_ROWS * ACROSS) * GROUP_ROWS + within % GROUP_ROWS
    return block, within // GROUP_ROWS * BLOCK_COLUMNS


@triton.jit
def _activations(starts, held, step, WIDTH: tl.constexpr, BLOCK_INNER: tl.constexpr):
    """Return one step of the rows that begin at `starts`, transposed; 0 past their ends."""
    at = step * BLOCK_INNER + tl.arange(0, BLOCK_INNER)
    mask = held[:, None]
    if WIDTH % BLOCK_INNER:
        mask &= (at < WIDTH)[None, :]
    return tl.load(starts[:, None] + at[None, :], mask=mask, other=0.0).T


@triton.jit
def _weights(
    weights,
    scales,
    expert,
    step,
    first,
    inside,
    DTYPE: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    TMA: tl.constexpr,
):
    """Return one step of an expert's columns from `first` on, transposed.

    Past the end of the inner axis they are 0, whatever stands there in memory: 0 times what is not
    a number is not one. Columns that are not `inside` hold anything.
    """
    BLOCK_COLUMNS: tl.constexpr = inside.shape[0]
    column = first + tl.arange(0, BLOCK_COLUMNS)
    # Only where an expert begins takes 64 bits: its own matrix stays below 2^31 values.
    begin = expert.to(tl.int64) * COLUMNS
    if scales is None:
        if TMA:
            # Three axes, so that the chip itself stops at the expert's last row.
            tile = weights.load([expert, step * BLOCK_INNER, first])
            tile = tile.reshape(BLOCK_INNER, BLOCK_COLUMNS).T
        else:
            start = weights + begin * WIDTH
            tile = _strip(start, step, column, COLUMNS, inside, WIDTH, BLOCK_INNER)
    else:
        BYTES: tl.constexpr = WIDTH // 2
        GROUPS: tl.constexpr = WIDTH // GROUP
        if TMA:
            packed = weights.load([expert, first, step * (BLOCK_INNER // 2)])
            packed = packed.reshape(BLOCK_COLUMNS, BLOCK_INNER // 2)
        else:
            start = weights + begin * BYTES
            packed = _strip(start, step, column * BYTES, 1, inside, BYTES, BLOCK_INNER // 2)
        start = scales + begin * GROUPS
        scale = _strip(start, step, column, COLUMNS, inside, GROUPS, BLOCK_INNER // GROUP)
        tile = unpack(packed, scale, DTYPE)
    return tile


@triton.jit
def _strip(
    matrix, step, offsets, STRIDE: tl.constexpr, inside, LENGTH: tl.constexpr, BLOCK: tl.constexpr
):
    """Return one step of BLOCK along an axis of a matrix, [len(offsets), BLOCK]; 0 past its end."""
    at = step * BLOCK + tl.arange(0, BLOCK)
    mask = inside[:, None]
    if LENGTH % BLOCK:
        mask &= (at < LENGTH)[None, :]
    return tl.load(matrix + (offsets[:, None] + at[None, :] * STRIDE), mask=mask, other=0)


@triton.jit
def _activate(gate, up, limit, ALPHA: tl.constexpr):
    """Return the gated activation: SiLU where there is no limit, else GPT-OSS's."""
    if limit is None:
        active = gate * tl.sigmoid(gate) * up
    else:
        gate = tl.minimum(gate, limit)
        up = tl.minimum(tl.maximum(up, -limit), limit)
        active = (up + 1) * gate * tl.sigmoid(ALPHA * gate)
    return active
