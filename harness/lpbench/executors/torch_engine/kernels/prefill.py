"""Attention of prompts: blocks of rows of one sequence, causal, over the keys in its pages.

Compute-bound: a block's rows times the query heads of one key-value head make a tile of 128
rows, which two warp groups multiply with every tile of keys that is read.

Owns: which tiles of keys a block sees, and which of these need a mask.
Must not know: how the keys came to their pages, decodes, which prompts there are.
"""

import torch
import triton
import triton.language as tl

from lpbench.executors.torch_engine.kernels.chip import AMPERE, HOPPER
from lpbench.executors.torch_engine.kernels.fused import query_rows
from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.kernels.tiles import LOG2_E, add_tile, locate, start_rows

TILES = {2: (64, 5), 4: (16, 1)}
"""Keys of a step and stages, by bytes of an element. Keys wait for their pages' numbers, which
takes two stages a step: with fewer than five, no tile would be in flight while another is worked
on. float32 has no fast units and needs twice the room: a size that fits, to compare with."""

AMPERE_TILES = TILES | {2: (32, 9)}
"""The same on Ampere, whose tensor cores take both operands from registers: half the keys, and as
many in flight."""


def attend_prompts(
    *,
    qkv: torch.Tensor,
    pages: Pages,
    blocks: torch.Tensor,
    window: int,
    sinks: torch.Tensor | None,
    out: torch.Tensor,
    major: int = HOPPER,
) -> None:
    """Let rows of prompts attend causally to the keys up to their own.

    Args:
        qkv: [R, (Q + 2K) * D], of which query heads are read; D is a power of two, 16 at least.
        pages: keys and values, the rows' own among them.
        blocks: int32 [blocks, 4]: first row, number of rows (`query_rows` at most, 0 for a
            block of nothing), position of the first row, seat; a block's rows are one
            sequence's, at consecutive positions.
        window: keys each query sees, itself included; 0 for all.
        sinks: [Q], a logit per head that takes probability and gives no value.
        out: [R, Q * D].
        major: first number of the chip's compute capability.
    """
    _, kv_heads, page_tokens, head_dim = pages.keys.shape
    heads = out.shape[1] // head_dim
    if not len(blocks):
        return
    tile, stages = (AMPERE_TILES if major == AMPERE else TILES)[qkv.element_size()]
    attend_block_kernel[(len(blocks), kv_heads)](
        qkv,
        pages.keys,
        pages.values,
        pages.tables,
        blocks,
        sinks,
        out,
        head_dim**-0.5 * LOG2_E.value,
        pages.tables.shape[1],
        WINDOW=window,
        HEADS=heads,
        KV_HEADS=kv_heads,
        DIM=head_dim,
        PAGE=page_tokens,
        QUERY_ROWS=query_rows(heads // kv_heads),
        GROUP_ROWS=triton.next_power_of_2(heads // kv_heads),
        TILE=tile,
        num_warps=8,
        num_stages=stages,
    )


@triton.jit
def attend_block_kernel(
    qkv,
    keys,
    values,
    tables,
    blocks,
    sinks,
    out,
    scale,
    seat_pages,
    WINDOW: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    QUERY_ROWS: tl.constexpr,
    GROUP_ROWS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """One block of rows, and the query heads of one key-value head: GROUP_ROWS, padded.

    The blocks of one head run side by side, and find its keys in the L2 cache. The last begin
    first: they see most keys, and what is still running at the end should be short.
    """
    GROUP: tl.constexpr = HEADS // KV_HEADS
    head = tl.program_id(1)
    block = blocks + (tl.num_programs(0) - 1 - tl.program_id(0)) * 4
    count, position = tl.load(block + 1), tl.load(block + 2)
    if count == 0:
        return
    lane, dims = tl.arange(0, QUERY_ROWS * GROUP_ROWS), tl.arange(0, DIM)
    step, member = lane // GROUP_ROWS, lane % GROUP_ROWS
    real = (step < count) & (member < GROUP)
    row = tl.load(block).to(tl.int64) + step
    query_head = head * GROUP + member
    queries = tl.load(
        qkv + (row * (HEADS + 2 * KV_HEADS) + query_head)[:, None] * DIM + dims[None, :],
        mask=real[:, None],
        other=0.0,
    )
    table = tables + tl.load(block + 3).to(tl.int64) * seat_pages
    # Lanes of no row see what the last row sees: without a key, they would divide by zero.
    own, end = position + tl.minimum(step, count - 1), position + count
    peak, total, sums = start_rows(sinks, query_head, real, QUERY_ROWS * GROUP_ROWS, DIM)
    if WINDOW:
        # A window is few tiles, most of which end or begin within one: all are masked.
        whole = tl.maximum(position - WINDOW + 1, 0) // PAGE * PAGE
    else:
        whole = (position + 1) // TILE * TILE
        for tile in range(0, whole, TILE):
            at = tile + tl.arange(0, TILE)
            slots = locate(table, at, head, None, KV_HEADS, PAGE)
            peak, total, sums = add_tile(
                queries, keys, values, slots, None, None, scale, peak, total, sums
            )
    for tile in range(whole, end, TILE):
        at = tile + tl.arange(0, TILE)
        held = at < end
        seen = at[None, :] <= own[:, None]
        if WINDOW:
            seen &= at[None, :] > own[:, None] - WINDOW
        slots = locate(table, at, head, held, KV_HEADS, PAGE)
        peak, total, sums = add_tile(
            queries, keys, values, slots, held, seen, scale, peak, total, sums
        )
    tl.store(
        out + (row * HEADS + query_head)[:, None] * DIM + dims[None, :],
        (sums / total[:, None]).to(out.dtype.element_ty),
        mask=real[:, None],
    )
