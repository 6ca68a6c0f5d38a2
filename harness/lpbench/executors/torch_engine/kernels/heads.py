"""Query, key and value heads of new rows in Triton: norm, rotate, put into the pages.

Owns: the kernel and its launch.
Must not know: how the heads were projected, who attends to them.
"""

import torch
import triton
import triton.language as tl

from lpbench.executors.torch_engine.kernels.pages import Pages

_VALUES_PER_WARP = 512
"""Two loads of 16 bytes of bfloat16 a thread: one of each half of a head."""


def place_heads(
    *,
    qkv: torch.Tensor,
    norms: tuple[torch.Tensor, torch.Tensor] | None,
    cos: torch.Tensor,
    sin: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    pages: Pages,
    eps: float,
) -> None:
    """Norm and rotate queries and keys in place; write keys and values to their slots.

    Args:
        qkv: [R, (Q + 2K) * D], query heads, then key heads, then value heads; D a power of two.
        norms: weights [D] of the norms of query and key heads; None where there are none.
        cos: [positions, D], the halves alike.
        sin: [positions, D], the first half negated.
        positions: int32 [R].
        slots: int32 [R]; a row whose slot is -1 is written nowhere.
        pages: where to.
        eps: added to the mean square in the norms.
    """
    rows, width = qkv.shape
    _, kv_heads, page_tokens, head_dim = pages.keys.shape
    heads = width // head_dim
    together = _together(kv_heads, head_dim)
    query_norm, key_norm = norms or (None, None)
    place_heads_kernel[rows, heads // together](
        qkv,
        query_norm,
        key_norm,
        cos,
        sin,
        positions,
        slots,
        pages.keys,
        pages.values,
        eps,
        HEADS=heads,
        KV_HEADS=kv_heads,
        HEAD_DIM=head_dim,
        PAGE_TOKENS=page_tokens,
        TOGETHER=together,
        num_warps=max(together * head_dim // _VALUES_PER_WARP, 1),
    )


def _together(kv_heads: int, head_dim: int) -> int:
    """Return how many heads a program takes: a power of two that divides the key-value heads.

    It then divides the query heads too, so that a program's heads are all of one kind.
    """
    together = 1
    while kv_heads % (2 * together) == 0 and together * head_dim < _VALUES_PER_WARP:
        together *= 2
    return together


# Triton would compile anew by how these lie in memory, which their neighbours there decide.
@triton.jit(do_not_specialize=["positions", "slots"])
def place_heads_kernel(
    qkv,
    query_norm,
    key_norm,
    cos,
    sin,
    positions,
    slots,
    keys,
    values,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_TOKENS: tl.constexpr,
    TOGETHER: tl.constexpr,
) -> None:
    """Take some heads of one row, all of them queries, or keys, or values.

    A head is held as two halves [heads, half], as the rotation mixes them value by value.
    """
    HALF: tl.constexpr = HEAD_DIM // 2
    QUERIES: tl.constexpr = HEADS - 2 * KV_HEADS
    row = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1) * TOGETHER
    column = tl.arange(0, HALF)
    head = first + tl.arange(0, TOGETHER)
    at = (row * HEADS + head)[:, None] * HEAD_DIM + column[None, :]
    low, high = tl.load(qkv + at), tl.load(qkv + at + HALF)
    if first < QUERIES + KV_HEADS:
        if query_norm is not None:
            norm = query_norm if first < QUERIES else key_norm
            low, high = _norm(low, high, norm, column, eps, HEAD_DIM)
        low, high = _rotate(low, high, cos, sin, tl.load(positions + row), column, HEAD_DIM)
        tl.store(qkv + at, low)
        tl.store(qkv + at + HALF, high)
    slot = tl.load(slots + row).to(tl.int64)
    if (first >= QUERIES) & (slot >= 0):
        is_key = first < QUERIES + KV_HEADS
        pool = keys if is_key else values
        kv_head = head - QUERIES if is_key else head - QUERIES - KV_HEADS
        place = (slot // PAGE_TOKENS * KV_HEADS + kv_head) * PAGE_TOKENS + slot % PAGE_TOKENS
        to = place[:, None] * HEAD_DIM + column[None, :]
        tl.store(pool + to, low)
        tl.store(pool + to + HALF, high)


@triton.jit
def _norm(low, high, weight, column, eps, HEAD_DIM: tl.constexpr):
    """Return RMSNorm of heads, rounded before and after the weight, as every such family does."""
    HALF: tl.constexpr = HEAD_DIM // 2
    a, b = low.to(tl.float32), high.to(tl.float32)
    square = tl.sum(a * a, 1) + tl.sum(b * b, 1)
    to_unit = tl.rsqrt(square / HEAD_DIM + eps)[:, None]
    a, b = (a * to_unit).to(low.dtype), (b * to_unit).to(low.dtype)
    weight_a = tl.load(weight + column).to(tl.float32)[None, :]
    weight_b = tl.load(weight + HALF + column).to(tl.float32)[None, :]
    a, b = a.to(tl.float32) * weight_a, b.to(tl.float32) * weight_b
    return a.to(low.dtype), b.to(low.dtype)


@triton.jit
def _rotate(low, high, cos, sin, position, column, HEAD_DIM: tl.constexpr):
    """Return heads turned to a position, rounded once.

    The tables hold every angle twice; what is read of `sin` is the half that is not negated.
    """
    HALF: tl.constexpr = HEAD_DIM // 2
    at = position.to(tl.int64) * HEAD_DIM + column
    along = tl.load(cos + at).to(tl.float32)[None, :]
    across = tl.load(sin + at + HALF).to(tl.float32)[None, :]
    a, b = low.to(tl.float32), high.to(tl.float32)
    return (a * along - b * across).to(low.dtype), (b * along + a * across).to(low.dtype)
