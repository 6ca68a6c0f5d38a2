"""The router's choice in Triton: each row's experts, their weights, and the bits they set.

Owns: the kernel and its launch.
Must not know: what an expert computes, who reads the bits.
"""

import torch
import triton
import triton.language as tl

from lpbench.executors.torch_engine.kernels.fused import Routing


def route(
    *, logits: torch.Tensor, routing: Routing, top_k: int, over_chosen: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose each row's experts, and set their bits.

    Of equal logits the lowest expert's comes first. Experts stand in order of their logits, drawn
    ones in the order they were drawn in.

    Args:
        logits: [R, E].
        routing: what else there is to know.
        top_k: experts of a row.
        over_chosen: whether the weights are a softmax of the chosen experts' logits alone, which
            sums to 1, or of all logits. A softmax of all that is brought to the sum 1 afterwards
            is the former.

    Returns:
        Expert ids int32 [R, k], E in rows of padding, and their weights float32 [R, k], 0 there.
    """
    rows, num_experts = logits.shape
    ids = routing.owners.new_empty(rows, top_k)
    share = logits.new_empty(rows, top_k, dtype=torch.float32)
    drawn = routing.drawn
    route_kernel[(rows,)](
        logits,
        routing.count,
        routing.owners,
        routing.touched.view(torch.uint8),
        routing.touched.stride(0),
        drawn,
        0 if drawn is None else drawn.stride(0),
        routing.sources,
        ids,
        share,
        NUM_EXPERTS=num_experts,
        TOP_K=top_k,
        EXPERTS=triton.next_power_of_2(num_experts),
        PLACES=triton.next_power_of_2(top_k),
        OVER_CHOSEN=over_chosen,
        num_warps=1,  # what a row's threads tell each other then goes through registers
    )
    return ids, share


# Triton would compile anew by how these lie in memory, which is different in every layer.
_ANYWHERE = ("count", "owners", "touched", "touched_stride", "drawn", "drawn_stride", "sources")


@triton.jit(do_not_specialize=_ANYWHERE)
def route_kernel(
    logits,
    count,
    owners,
    touched,
    touched_stride,
    drawn,
    drawn_stride,
    sources,
    ids,
    share,
    NUM_EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    EXPERTS: tl.constexpr,
    PLACES: tl.constexpr,
    OVER_CHOSEN: tl.constexpr,
) -> None:
    """Route one row; one of padding chooses experts that do not exist, and sets no bit."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, PLACES)
    is_place = place < TOP_K
    out = row * TOP_K + place
    if row >= tl.load(count):
        tl.store(ids + out, NUM_EXPERTS, mask=is_place)
        tl.store(share + out, 0.0, mask=is_place)
        return
    expert = tl.arange(0, EXPERTS)
    own = logits + row * NUM_EXPERTS
    every = tl.load(own + expert, mask=expert < NUM_EXPERTS, other=float("-inf")).to(tl.float32)
    if drawn is None:
        chosen = _largest(every, expert, place, TOP_K)
    else:
        source = tl.load(sources + row).to(tl.int64)
        chosen = tl.load(drawn + source * drawn_stride + place, mask=is_place, other=0)
        chosen = chosen.to(tl.int32)
    # Logits that are no numbers may make a chosen expert one that does not exist.
    exists = is_place & (chosen < NUM_EXPERTS)
    picked = tl.load(own + chosen, mask=exists, other=float("-inf")).to(tl.float32)
    over = picked if OVER_CHOSEN else every
    top = tl.max(over, 0)
    weights = tl.exp(picked - top) / tl.sum(tl.exp(over - top), 0)
    tl.store(ids + out, chosen, mask=is_place)
    tl.store(share + out, weights, mask=is_place)
    owner = tl.load(owners + row).to(tl.int64)
    tl.store(touched + owner * touched_stride + chosen, 1, mask=exists)


@triton.jit
def _largest(values, expert, place, TOP_K: tl.constexpr):
    """Return the experts of the largest values, largest first, of equal ones the lowest first."""
    chosen = tl.zeros_like(place)
    for nth in tl.static_range(TOP_K):
        best = tl.argmax(values, 0, tie_break_left=True)
        chosen = tl.where(place == nth, best, chosen)
        values = tl.where(expert == best, float("-inf"), values)
    return chosen
