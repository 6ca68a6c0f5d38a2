"""(row, expert) pairs into blocks of one expert each, in Triton.

Owns: the kernels and their launches.
Must not know: what is computed on a block.

A program is one expert's: it looks through all pairs, in order, and puts its own where they
belong. Programs need nothing of each other but how many pairs every expert has, so there is no
atomic, no order that depends on timing, and no scratch beyond those counts.
"""

import torch
import triton
import triton.language as tl

from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks

_FEW = 2**17
"""Pairs times experts up to which every program counts for all experts itself: up to there that
takes no longer than to launch a kernel that counts."""

_COUNTED_AT_ONCE = 2**14
"""Pairs times experts that such a program compares in a step: 64 counters a thread."""

_SEEN_AT_ONCE = 1024
"""Pairs that a program looks at in a step where there are few: 4 a thread."""

_MANY_SEEN_AT_ONCE = 4096
"""The same where there are many: the less often, the less it waits for what it loads."""

_WARPS, _MANY_WARPS = 8, 16
"""Of a program; where there are many, 8 would leave a thread 16 pairs a step, too many to hold."""


def align(*, ids: torch.Tensor, num_experts: int, block: int) -> ExpertBlocks:
    """Return the pairs of some rows in blocks.

    Args:
        ids: int32 [R, k]; a pair whose id is not below `num_experts` is left out.
        num_experts: E.
        block: pairs of a block, a power of two.
    """
    blocks = ExpertBlocks.empty(ids, num_experts=num_experts, block=block)
    experts = triton.next_power_of_2(num_experts)
    counts = None
    if blocks.total * experts > _FEW:
        counts = ids.new_empty(num_experts)
        count_pairs_kernel[(num_experts,)](
            ids, counts, blocks.total, TILE=_MANY_SEEN_AT_ONCE, num_warps=_MANY_WARPS
        )
    place_pairs_kernel[(num_experts,)](
        ids,
        counts,
        blocks.pairs,
        blocks.experts,
        blocks.count,
        blocks.total,
        len(blocks.pairs),
        NUM_EXPERTS=num_experts,
        EXPERTS=experts,
        BLOCK=block,
        COUNTED=max(_COUNTED_AT_ONCE // experts, 1),
        TILE=_SEEN_AT_ONCE if counts is None else _MANY_SEEN_AT_ONCE,
        num_warps=_WARPS if counts is None else _MANY_WARPS,
    )
    return blocks


# Triton would compile anew for other numbers of pairs, by what divides them.
@triton.jit(do_not_specialize=["total"])
def count_pairs_kernel(ids, counts, total, TILE: tl.constexpr) -> None:
    """Count the pairs of one expert."""
    expert = tl.program_id(0)
    lane = tl.arange(0, TILE)
    found = tl.zeros((TILE,), tl.int32)
    for at in range(0, total, TILE):
        pair = at + lane
        found += (tl.load(ids + pair, mask=pair < total, other=-1) == expert).to(tl.int32)
    tl.store(counts + expert, tl.sum(found, 0))


@triton.jit(do_not_specialize=["total", "size"])
def place_pairs_kernel(
    ids,
    counts,
    pairs,
    experts,
    count,
    total,
    size,
    NUM_EXPERTS: tl.constexpr,
    EXPERTS: tl.constexpr,
    BLOCK: tl.constexpr,
    COUNTED: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """Put the pairs of one expert into its blocks, which come after those of the experts before."""
    expert = tl.program_id(0)
    lane = tl.arange(0, TILE)
    every = tl.arange(0, EXPERTS)
    if counts is None:
        number = _count_for_all(ids, total, EXPERTS, COUNTED)
    else:
        number = tl.load(counts + every, mask=every < NUM_EXPERTS, other=0)
    # Ids of no expert, those of padding, may have been counted in lanes behind the last one.
    needed = tl.where(every < NUM_EXPERTS, tl.cdiv(number, BLOCK), 0)
    first = tl.sum(tl.where(every < expert, needed, 0), 0)
    own = tl.sum(tl.where(every == expert, needed, 0), 0)
    end = tl.sum(needed, 0)
    for at in range(0, own, TILE):
        tl.store(experts + first + at + lane, expert, mask=at + lane < own)
    filled = first * BLOCK
    for at in range(0, total, TILE):
        pair = at + lane
        is_own = tl.load(ids + pair, mask=pair < total, other=-1) == expert
        before = tl.cumsum(is_own.to(tl.int32), 0)
        tl.store(pairs + filled + before - 1, pair, mask=is_own)
        filled += tl.max(before, 0)  # the last one: it never falls
    rest = filled + tl.arange(0, BLOCK)
    tl.store(pairs + rest, total, mask=rest < (first + own) * BLOCK)
    # What lies behind the last block is shared out among all programs.
    for at in range(end * BLOCK + expert * TILE, size, NUM_EXPERTS * TILE):
        tl.store(pairs + at + lane, total, mask=at + lane < size)
    if expert == 0:
        tl.store(count, end)


@triton.jit
def _count_for_all(ids, total, EXPERTS: tl.constexpr, COUNTED: tl.constexpr):
    """Return how many pairs every expert has; threads add up only after the last step."""
    lane, every = tl.arange(0, COUNTED), tl.arange(0, EXPERTS)
    found = tl.zeros((COUNTED, EXPERTS), tl.int32)
    for at in range(0, total, COUNTED):
        pair = at + lane
        id_ = tl.load(ids + pair, mask=pair < total, other=-1)
        found += (id_[:, None] == every[None, :]).to(tl.int32)
    return tl.sum(found, 0)
