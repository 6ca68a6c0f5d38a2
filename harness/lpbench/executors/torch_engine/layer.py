"""One decoder layer, the same function for every family and every schedule.

Owns: the order of a layer's operators and what they need to know about the rows.
Must not know: plans, tiles, which schedule runs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from lpbench.executors.torch_engine.kv_cache import KvCache
from lpbench.executors.torch_engine.operators import TorchOperators
from lpbench.executors.torch_engine.rotary import Rotary
from lpbench.executors.torch_engine.weights import LayerWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive rows of one request: `count` rows from position `start` on."""

    request: int
    start: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the layers of a segment need to know about its rows.

    Attributes:
        blocks: the rows by request, in row order.
        rotary: cos and sin of the rows' positions.
        drawn: int64 [layers of the segment, rows, top_k], experts to route to instead of the
            router's choice; None where the router chooses.
    """

    blocks: tuple[Block, ...]
    rotary: Rotary
    drawn: torch.Tensor | None


OnRoute = Callable[[int, torch.Tensor, torch.Tensor], None]
"""Called in every layer with (layer, expert ids [rows, top_k], router logits [rows, experts])."""


def run_layer(
    hidden: torch.Tensor,
    *,
    layer: int,
    weights: LayerWeights,
    operators: TorchOperators,
    cache: KvCache,
    rows: Rows,
    drawn: torch.Tensor | None,
    window: int,
    on_route: OnRoute,
) -> torch.Tensor:
    """Return the hidden states [rows, hidden] after one layer."""
    normed = operators.norm(hidden, weights.input_norm)
    queries, new = operators.heads(normed, weights, rows.rotary)
    counts = [block.count for block in rows.blocks]
    attended = [
        operators.attend(
            mine,
            cache.append(block.request, layer, block.start, its),
            window=window,
            sinks=weights.sinks,
        )
        for block, mine, its in zip(
            rows.blocks, queries.split(counts), new.split(counts), strict=True
        )
    ]
    together = attended[0] if len(attended) == 1 else torch.cat(attended)
    hidden = hidden + F.linear(together, weights.out, weights.out_bias)
    normed = operators.norm(hidden, weights.post_norm)
    ids, share, logits = operators.route(normed, weights, drawn)
    on_route(layer, ids, logits)
    return hidden + operators.experts(normed, ids, share, weights)
