"""Bytes that a whole pass moves, in closed form, term by term.

Owns: the formula of every term of one iteration, and their sum over an arm.
Must not know: schedules, executors, caches, which kernels run.

Every operand is taken once per operator: what a kernel reads again, pads or spills comes on top,
what a cache or a fused kernel keeps comes off. b is the bytes of a value in the run's dtype, which
is the KV cache's too. Rotary tables, page tables and token ids are left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lpbench.plan.iteration import IterationPlan
from lpbench.shape.model import ModelShape
from lpbench.shape.traffic import modelled_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PassBytes:
    """Bytes of one pass, or of several added up.

    Attributes:
        experts: weights of the distinct experts, read once per layer and pass.
        attention_weights: projections, biases, head norms and sinks, of every layer with a row.
        dense_weights: router and the two norms of every layer with a row.
        embedding: one row of the embedding for every token that enters the first layer.
        head: output head and final norm, read once in a pass that samples, else not at all.
        kv_read: keys and values, a decode's up to itself, a tile's once up to its last token;
            of a layer with a window, those that any row of the tile sees.
        kv_written: keys and values of every row in every layer it passes.
        activations: each operator's input and output once. What operators that run one by one
            move at least; with a cache or in fused kernels much of it never reaches DRAM.
        logits: one row of the vocabulary per sampled token, written.
    """

    experts: float = 0
    attention_weights: float = 0
    dense_weights: float = 0
    embedding: float = 0
    head: float = 0
    kv_read: float = 0
    kv_written: float = 0
    activations: float = 0
    logits: float = 0

    @property
    def terms(self) -> Mapping[str, float]:
        """The terms by name."""
        return asdict(self)

    @property
    def total(self) -> float:
        """All terms together."""
        return sum(self.terms.values())

    def __add__(self, other: "PassBytes") -> "PassBytes":
        """Return the bytes of both."""
        theirs = other.terms
        return PassBytes(**{name: mine + theirs[name] for name, mine in self.terms.items()})


def pass_bytes(
    plan: IterationPlan,
    shape: ModelShape,
    *,
    starts: Mapping[int, int],
    sampled: int,
    bytes_per_value: int,
    distinct: Sequence[int] | None = None,
) -> PassBytes:
    """Return the bytes of one pass.

    Args:
        plan: what runs.
        shape: the model's geometry.
        starts: per request of the plan, the position of its token 0: of a decode, its one token,
            so the tokens cached before it; of a prompt, the tokens that stand before its first
            (its context, or none once it was preempted).
        sampled: tokens sampled at the end: every decode, and prompts whose last tile this is.
        bytes_per_value: b.
        distinct: distinct experts of each layer as counted; None for the expectation under
            uniform routing.
    """
    segments = plan.segments(shape.num_layers)
    layers = sum(len(segment.layers) for segment in segments)
    layer_rows = sum(len(segment.layers) * segment.num_rows for segment in segments)
    entering = len(plan.decodes) + sum(
        len(part.tile.tokens) for part in plan.prefill if part.tile.layers.start == 0
    )
    hidden = shape.hidden_size
    kv_row = 2 * shape.num_kv_heads * shape.head_dim
    head = (shape.vocab_size + 1) * hidden if sampled else 0
    # The embedding's output, and the final norm's input and output and the head's input.
    ends = (entering + 3 * sampled) * hidden
    b = bytes_per_value  # as in the formulas
    return PassBytes(
        experts=(
            modelled_bytes([plan], shape, bytes_per_value=b).total
            if distinct is None
            else shape.expert_bytes(b) * sum(distinct)
        ),
        attention_weights=b * layers * shape.attention_params,
        dense_weights=b * layers * (shape.router_params + 2 * hidden),
        embedding=b * entering * hidden,
        head=b * head,
        kv_read=b * _keys_seen(plan, shape, starts) * kv_row,
        kv_written=b * layer_rows * kv_row,
        activations=b * (layer_rows * _values_per_row(shape) + ends),
        logits=b * sampled * shape.vocab_size,
    )


def _keys_seen(plan: IterationPlan, shape: ModelShape, starts: Mapping[int, int]) -> int:
    """Return the (layer, token) pairs whose keys and values the rows of a pass read."""
    total = 0
    for window, count in Counter(shape.windows).items():
        total += count * sum(_keys_of(starts[request], 1, window) for request in plan.decodes)
    for part in plan.prefill:
        tokens, layers = part.tile.tokens, part.tile.layers
        first = starts[part.request] + tokens.start
        for window in shape.windows[layers.start : layers.stop]:
            total += _keys_of(first, len(tokens), window)
    return total


def _keys_of(first: int, rows: int, window: int) -> int:
    """Return the tokens that any of `rows` rows from position `first` on sees; window 0 is all."""
    length = first + rows
    return min(length, rows + window - 1) if window else length


def _values_per_row(shape: ModelShape) -> int:
    """Return the values that the operators of one layer take in and put out for one row.

    With h the hidden size, q the width of all query heads, v that of new keys and values, E
    experts, k of them chosen, f the width of one; keys and values of the cache stand in their own
    terms:

        norm               h -> h           norm       h -> h
        qkv projection     h -> q + v       router     h -> E
        attention      q + v -> q           gate, up   h -> 2 k f
        out, residual  q + h -> h           activation 2 k f -> k f
                                            down       k f -> k h
                                            weighted sum, residual   k h + h -> h
    """
    queries = shape.num_heads * shape.head_dim
    new = 2 * shape.num_kv_heads * shape.head_dim
    pairs = shape.top_k * (6 * shape.expert_size + 2 * shape.hidden_size)
    return 11 * shape.hidden_size + 4 * queries + 2 * new + shape.num_experts + pairs
