"""The residual stream in Triton: add what a layer part computed, and norm the sum.

Owns: the kernels and their launches.
Must not know: who computed the parts.

A program takes a whole row, so that the norm reads it once; what is added comes as the parts left
it, one for each of a row's experts, and no kernel sums them before.
"""

import torch
import triton
import triton.language as tl

_VALUES_PER_WARP = 256
"""16 bytes of bfloat16 for each of 32 threads: one load of the widest kind a row and thread."""


def add_norm(
    *,
    hidden: torch.Tensor,
    parts: torch.Tensor | None,
    weight: torch.Tensor,
    eps: float,
    rounds_unit: bool,
) -> torch.Tensor:
    """Add `parts` to `hidden` in place, and return the RMSNorm of the sum.

    Args:
        hidden: [R, H]; the sum is taken in float32 and rounded once.
        parts: [R, n, H], of which all n are added; None for nothing.
        weight: [H].
        eps: added to the mean square.
        rounds_unit: whether the row of mean square 1 is rounded before it is weighed.

    Returns:
        [R, H], the norm of the rounded sum.
    """
    rows, width = hidden.shape
    out = torch.empty_like(hidden)
    add_norm_kernel[(rows,)](
        hidden,
        parts,
        weight,
        out,
        eps,
        WIDTH=width,
        PARTS=0 if parts is None else parts.shape[1],
        ROUNDS_UNIT=rounds_unit,
        **_block(width),
    )
    return out


def add(*, hidden: torch.Tensor, parts: torch.Tensor) -> None:
    """Add `parts` [R, n, H] to `hidden` [R, H] in place, as `add_norm` does."""
    rows, width = hidden.shape
    add_kernel[(rows,)](hidden, parts, WIDTH=width, PARTS=parts.shape[1], **_block(width))


def _block(width: int) -> dict[str, int]:
    """Return the size of a row's tensor, and the warps that share it."""
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": min(max(block // _VALUES_PER_WARP, 1), 16)}


@triton.jit
def add_norm_kernel(
    hidden,
    parts,
    weight,
    out,
    eps,
    WIDTH: tl.constexpr,
    PARTS: tl.constexpr,
    ROUNDS_UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Norm one row, after its parts were added to it."""
    column = tl.arange(0, BLOCK)
    mask = column < WIDTH
    at = tl.program_id(0).to(tl.int64) * WIDTH + column
    row = tl.load(hidden + at, mask=mask, other=0.0)
    if PARTS:
        row = _with_parts(row, parts, column, mask, WIDTH, PARTS)
        tl.store(hidden + at, row, mask=mask)
    wide = row.to(tl.float32)
    unit = wide * tl.rsqrt(tl.sum(wide * wide, 0) / WIDTH + eps)
    if ROUNDS_UNIT:
        unit = unit.to(row.dtype).to(tl.float32)
    scale = tl.load(weight + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, (scale * unit).to(row.dtype), mask=mask)


@triton.jit
def add_kernel(
    hidden, parts, WIDTH: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    """Add its parts to one row."""
    column = tl.arange(0, BLOCK)
    mask = column < WIDTH
    at = tl.program_id(0).to(tl.int64) * WIDTH + column
    row = tl.load(hidden + at, mask=mask, other=0.0)
    tl.store(hidden + at, _with_parts(row, parts, column, mask, WIDTH, PARTS), mask=mask)


@triton.jit
def _with_parts(row, parts, column, mask, WIDTH: tl.constexpr, PARTS: tl.constexpr):
    """Return the program's row plus all its parts, rounded once.

    The loop is unrolled, so that the next parts are on their way while one is added.
    """
    at = tl.program_id(0).to(tl.int64) * (PARTS * WIDTH) + column
    total = tl.zeros_like(row).to(tl.float32)
    for part in tl.static_range(PARTS):
        total += tl.load(parts + at + part * WIDTH, mask=mask, other=0.0).to(tl.float32)
    return (row.to(tl.float32) + total).to(row.dtype)
