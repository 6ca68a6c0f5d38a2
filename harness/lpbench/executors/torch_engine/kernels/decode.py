"""Attention of decodes: one query row of a sequence each, over all the keys in its pages.

Memory-bound: every key and value is read once, and the rest must not be in the way. The query
heads of a key-value head share what is read. A few long sequences would leave most of the GPU
idle, so their keys are split among programs, whose results a second kernel puts together.

Owns: the split.
Must not know: how the keys came to their pages, prompts.
"""

import torch
import triton
import triton.language as tl

from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.kernels.tiles import LOG2_E, add_tile, locate, start_rows

TILE = 64
"""Keys of a step: 32 KiB of keys and values at head_dim 128."""

STAGES = 5
"""One tile in flight while another is worked on: keys wait for their pages' numbers, so that it
takes two stages a step, and with fewer than five nothing would overlap."""

FEWEST_KEYS = 2 * TILE
"""Keys of a split at least: below, writing and reading its result costs more than it saves."""

MOST_SPLITS = 64
"""What one program puts together at once in its registers."""

PROGRAMS = 2 * 3 * 132
"""Twice what an H100 or H200 runs at once, three on each of 132 SMs. A constant and not asked of
the device, so that every machine rounds alike."""


LEAST_SPLITS = 4
"""Splits of a long sequence at least: `decodes` are those that there is room for, and a room with
prompts may hold far fewer. Its programs must still keep a chip busy: else the schedule whose
prompts are in most layers would pay for the room."""


def num_splits(*, decodes: int, kv_heads: int, keys: int) -> int:
    """Return among how many programs the keys of a decode's head are split, `keys` at most.

    Two rounds of programs and more: then the last, ragged one, and a sequence longer than the
    others, are small beside the whole. It follows from shapes, so that the launches of a graph
    stay right whatever the lengths come to be.
    """
    enough = max(LEAST_SPLITS, -(-PROGRAMS // (decodes * kv_heads)))
    return max(1, min(enough, keys // FEWEST_KEYS, MOST_SPLITS))


def attend_decodes(
    *,
    qkv: torch.Tensor,
    pages: Pages,
    seats: torch.Tensor,
    lengths: torch.Tensor,
    window: int,
    sinks: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Let the first rows, one of a sequence each, attend to all its keys.

    Args:
        qkv: [R, (Q + 2K) * D], of which query heads are read; D is a power of two, 16 at least.
        pages: keys and values, the rows' own among them.
        seats: int32 [decodes], each row's row of the page tables.
        lengths: int32 [decodes], keys of its sequence; a row with 0 is left alone.
        window: keys each query sees, itself included; 0 for all.
        sinks: [Q], a logit per head that takes probability and gives no value.
        out: [R, Q * D].
    """
    _, kv_heads, page_tokens, head_dim = pages.keys.shape
    decodes, heads, seat_pages = len(seats), out.shape[1] // head_dim, pages.tables.shape[1]
    if not decodes:
        return
    most = seat_pages * page_tokens
    splits = num_splits(
        decodes=decodes, kv_heads=kv_heads, keys=min(window, most) if window else most
    )
    parts, logs = out, None
    if splits > 1:
        parts = out.new_empty((decodes, heads, splits, head_dim), dtype=torch.float32)
        logs = out.new_empty((decodes, heads, splits), dtype=torch.float32)
    attend_decode_kernel[(decodes, kv_heads, splits)](
        qkv,
        pages.keys,
        pages.values,
        pages.tables,
        seats,
        lengths,
        sinks,
        parts,
        logs,
        head_dim**-0.5 * LOG2_E.value,
        seat_pages,
        WINDOW=window,
        HEADS=heads,
        KV_HEADS=kv_heads,
        DIM=head_dim,
        PAGE=page_tokens,
        # Rows of the tensor cores' smallest tile.
        ROWS=max(16, triton.next_power_of_2(heads // kv_heads)),
        TILE=TILE,
        FEWEST_KEYS=FEWEST_KEYS,
        num_warps=4,
        num_stages=STAGES,
    )
    if logs is not None:
        join_splits_kernel[(decodes, heads)](
            parts,
            logs,
            lengths,
            sinks,
            out,
            splits,
            HEADS=heads,
            DIM=head_dim,
            TERMS=triton.next_power_of_2(splits),
        )


@triton.jit
def attend_decode_kernel(
    qkv,
    keys,
    values,
    tables,
    seats,
    lengths,
    sinks,
    parts,
    logs,
    scale,
    seat_pages,
    WINDOW: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    FEWEST_KEYS: tl.constexpr,
) -> None:
    """One split of the keys of one decode and key-value head.

    Without `logs` it is the only one, and `parts` is the output. With them, parts [decodes,
    HEADS, splits, DIM] and logs [decodes, HEADS, splits] get its result and the logarithm of its
    total; of a split without keys only the latter.
    """
    GROUP: tl.constexpr = HEADS // KV_HEADS
    decode, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    splits = tl.num_programs(2)
    length = tl.load(lengths + decode)
    first = tl.maximum(length - WINDOW, 0) if WINDOW else 0
    # Whole tiles each: short sequences fill the first splits and leave the others empty.
    share = tl.maximum(tl.cdiv(tl.cdiv(length - first, splits), TILE) * TILE, FEWEST_KEYS)
    first += split * share
    end = tl.minimum(first + share, length)
    rows, dims = tl.arange(0, ROWS), tl.arange(0, DIM)
    query_heads = head * GROUP + rows
    real = rows < GROUP
    result = (decode.to(tl.int64) * HEADS + query_heads) * splits + split
    if first >= end:
        if logs is not None:
            tl.store(logs + result, float("-inf"), mask=real)
        return
    row = qkv + decode.to(tl.int64) * (HEADS + 2 * KV_HEADS) * DIM
    queries = tl.load(
        row + query_heads[:, None] * DIM + dims[None, :], mask=real[:, None], other=0.0
    )
    table = tables + tl.load(seats + decode).to(tl.int64) * seat_pages
    # With several splits, the sink is added when they are joined.
    own_sinks = sinks if logs is None else None
    peak, total, sums = start_rows(own_sinks, query_heads, real, ROWS, DIM)
    for tile in range(first, end, TILE):
        at = tile + tl.arange(0, TILE)
        held = at < end
        slots = locate(table, at, head, held, KV_HEADS, PAGE)
        peak, total, sums = add_tile(
            queries, keys, values, slots, held, held[None, :], scale, peak, total, sums
        )
    if logs is not None:
        tl.store(logs + result, peak + tl.log2(total), mask=real)
    tl.store(
        parts + result[:, None] * DIM + dims[None, :],
        (sums / total[:, None]).to(parts.dtype.element_ty),
        mask=real[:, None],
    )


@triton.jit(do_not_specialize=["splits"])
def join_splits_kernel(
    parts,
    logs,
    lengths,
    sinks,
    out,
    splits,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    TERMS: tl.constexpr,
) -> None:
    """One head of one decode: each split counts like a key whose logit is its logarithm."""
    decode, head = tl.program_id(0), tl.program_id(1)
    if tl.load(lengths + decode) == 0:
        return
    row = decode.to(tl.int64) * HEADS + head
    terms, dims = tl.arange(0, TERMS), tl.arange(0, DIM)
    log = tl.load(logs + row * splits + terms, mask=terms < splits, other=float("-inf"))
    peak = tl.max(log, 0)
    if sinks is not None:
        sink = tl.load(sinks + head).to(tl.float32) * LOG2_E
        peak = tl.maximum(peak, sink)
    odds = tl.exp2(log - peak)
    total = tl.sum(odds, 0)
    if sinks is not None:
        total += tl.exp2(sink - peak)
    # Splits without keys have written no result: what lies there may be no number.
    tiles = tl.load(
        parts + (row * splits + terms)[:, None] * DIM + dims[None, :],
        mask=(log > float("-inf"))[:, None],
        other=0.0,
    )
    sums = tl.sum(tiles * odds[:, None], 0)
    tl.store(out + row * DIM + dims, (sums / total).to(out.dtype.element_ty))
