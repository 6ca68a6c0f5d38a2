"""One step of attention: a tile of paged keys and values goes into the softmax of some rows.

Owns: how a tile is read from its pages, and the running softmax ("online": Milakov and
Gimelshein, 2018). Logits are kept in units of log 2, since exp2 is what the hardware has.
Must not know: whose the rows are, which tiles they see.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
UNSEEN = tl.constexpr(-1.0e30)
"""The peak of a row that has seen no key: finite, for infinity less infinity is no number."""


@triton.jit
def start_rows(sinks, heads, real, ROWS: tl.constexpr, DIM: tl.constexpr):
    """Return peak, total and sums [ROWS, DIM] of rows that have seen no key.

    A sink is like a key that is seen first and has no value. `sinks` may be None; `heads` [ROWS]
    says whose a row's is, `real` [ROWS] whether it is a row at all.
    """
    if sinks is None:
        peak = tl.full((ROWS,), UNSEEN, tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
    else:
        peak = tl.load(sinks + heads, mask=real, other=0.0).to(tl.float32) * LOG2_E
        total = tl.full((ROWS,), 1.0, tl.float32)
    return peak, total, tl.zeros((ROWS, DIM), tl.float32)


@triton.jit
def locate(table, at, head, held, HEADS: tl.constexpr, PAGE: tl.constexpr):
    """Return which vectors of a pool are one head's keys at positions `at`.

    `held` [positions] says which there are; None for all. Their number, unlike their elements',
    stays far below 2 ** 31.
    """
    if held is None:
        pages = tl.load(table + at // PAGE)
    else:
        pages = tl.load(table + at // PAGE, mask=held, other=0)
    return (pages * HEADS + head) * PAGE + at % PAGE


@triton.jit
def add_tile(queries, keys, values, slots, held, seen, scale, peak, total, sums):
    """Return peak, total and sums with one tile of keys added.

    Args:
        queries: [rows, DIM].
        keys: one layer's pool.
        values: likewise.
        slots: int32 [tile], of `locate`.
        held: bool [tile], which of them to read; None for all.
        seen: bool [rows or 1, tile], which of them a row sees; None for all.
        scale: of logits, log2(e) included; above zero.
        peak: [rows], the highest logit so far.
        total: [rows], the sum of all 2 ** (logit - peak).
        sums: [rows, DIM], the sum of the values times these.
    """
    DIM: tl.constexpr = queries.shape[1]
    where = slots.to(tl.int64)[:, None] * DIM + tl.arange(0, DIM)[None, :]
    if held is None:
        tile = tl.load(keys + where)
    else:
        tile = tl.load(keys + where, mask=held[:, None], other=0.0)
    logits = tl.dot(queries, tile.T, input_precision="ieee")
    if seen is not None:
        logits = tl.where(seen, logits, float("-inf"))
    higher = tl.maximum(peak, tl.max(logits, 1) * scale)
    odds = tl.exp2(logits * scale - higher[:, None])
    fade = tl.exp2(peak - higher)
    if held is None:
        tile = tl.load(values + where)
    else:
        # What lies behind a sequence's end may be no number, which 0 times leaves as it is.
        tile = tl.load(values + where, mask=held[:, None], other=0.0)
    sums = tl.dot(odds.to(tile.dtype), tile, sums * fade[:, None], input_precision="ieee")
    return higher, total * fade + tl.sum(odds, 1), sums
