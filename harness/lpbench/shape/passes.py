"""Bytes that a whole pass moves, in closed form, term by term.

Owns: the formula of every term of one iteration, and their sum over an arm.
Must not know: schedules, executors, caches, which kernels run.

Every operand is taken once per operator: what a kernel reads again, pads or spills comes on top,
what a cache or a fused kernel keeps comes off. b is the bytes of a value in the run's dtype, which
is the KV cache's too; experts whose matrices are packed take fewer. Rotary tables, page tables and
token ids are left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lpbench.plan.iteration import IterationPlan
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision, expert_bytes
from lpbench.shape.traffic import modelled_bytes, moe_layers_in

_OF_SOME_MODELS = ("shared_experts",)
"""Terms of what many models lack: not among the terms by name where they are zero, so that no
ledger names what its model does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassBytes:
    """Bytes of one pass, or of several added up.

    Attributes:
        experts: weights of the distinct routed experts, read once per MoE layer and pass.
        shared_experts: weights of the shared experts, read whole in every MoE layer with a row.
        attention_weights: projections, biases, norms within and sinks, of every layer with a row.
        dense_weights: of every layer with a row its two norms, and the router, or the MLP of a
            dense layer.
        embedding: one row of the embedding for every token that enters the first layer.
        head: output head and final norm, read once in a pass that samples, else not at all.
        kv_read: what is cached, keys and values or the latent they are made from: a decode's up
            to itself, a tile's once up to its last token; of a layer with a window, those that any
            row of the tile sees.
        kv_written: the same of every row in every layer it passes.
        activations: each operator's input and output once. What operators that run one by one
            move at least; with a cache or in fused kernels much of it never reaches DRAM.
        logits: one row of the vocabulary per sampled token, written.
    """

    experts: float = 0
    shared_experts: float = 0
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
        """The terms by name, without those of shared experts where there are none."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value or name not in _OF_SOME_MODELS
        }

    @property
    def total(self) -> float:
        """All terms together."""
        return sum(self.terms.values())

    def __add__(self, other: "PassBytes") -> "PassBytes":
        """Return the bytes of both."""
        theirs = asdict(other)
        return PassBytes(**{name: mine + theirs[name] for name, mine in asdict(self).items()})


def pass_bytes(
    plan: IterationPlan,
    shape: ModelShape,
    *,
    starts: Mapping[int, int],
    sampled: int,
    precision: Precision,
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
        precision: of weights, cache and hidden states.
        distinct: distinct experts of each layer as counted; None for the expectation under
            uniform routing.
    """
    passed = _Passed.by(plan, shape)
    entering = len(plan.decodes) + sum(
        len(part.tile.tokens) for part in plan.prefill if part.tile.layers.start == 0
    )
    hidden = shape.hidden_size
    head = (shape.vocab_size + 1) * hidden if sampled else 0
    dense = passed.moe_layers * shape.router_params + passed.dense_layers * shape.dense_params
    decode_keys = _keys_of_decodes(plan, shape, starts)
    prefill_keys = _keys_of_tiles(plan, shape, starts)
    # The embedding's output, and the final norm's input and output and the head's input.
    ends = (entering + 3 * sampled) * hidden
    activations = _layer_values(passed, shape) + _latent_values(passed, shape, prefill_keys) + ends
    b = precision.value_bytes  # as in the formulas
    expert = expert_bytes(shape, precision)
    return PassBytes(
        experts=(
            modelled_bytes([plan], shape, precision=precision).total
            if distinct is None
            else expert * sum(distinct)
        ),
        shared_experts=passed.moe_layers * shape.shared_experts * expert,
        attention_weights=b * passed.layers * shape.attention_params,
        dense_weights=b * (passed.layers * 2 * hidden + dense),
        embedding=b * entering * hidden,
        head=b * head,
        kv_read=b * (decode_keys + prefill_keys) * shape.kv_values,
        kv_written=b * passed.rows * shape.kv_values,
        activations=b * activations,
        logits=b * sampled * shape.vocab_size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passed:
    """What a pass goes through.

    Attributes:
        layers: layers with a row.
        moe_layers: those of them that have experts.
        rows: (layer, row) pairs.
        moe_rows: those of them in layers that have experts.
        decodes: those of them that are decodes.
    """

    layers: int
    moe_layers: int
    rows: int
    moe_rows: int
    decodes: int

    @classmethod
    def by(cls, plan: IterationPlan, shape: ModelShape) -> "_Passed":
        """Return what the rows of a plan go through."""
        found = [
            (len(segment.layers), moe_layers_in(segment.layers, shape), segment.num_rows)
            for segment in plan.segments(shape.num_layers)
        ]
        layers = sum(layers for layers, _, _ in found)
        return cls(
            layers=layers,
            moe_layers=sum(moe for _, moe, _ in found),
            rows=sum(layers * rows for layers, _, rows in found),
            moe_rows=sum(moe * rows for _, moe, rows in found),
            decodes=layers * len(plan.decodes),
        )

    @property
    def dense_layers(self) -> int:
        """Layers with a row and without experts."""
        return self.layers - self.moe_layers

    @property
    def dense_rows(self) -> int:
        """(layer, row) pairs in them."""
        return self.rows - self.moe_rows


def _keys_of_decodes(plan: IterationPlan, shape: ModelShape, starts: Mapping[int, int]) -> int:
    """Return the (layer, token) pairs whose keys and values the decodes of a pass read."""
    return sum(
        count * sum(keys_of(starts[request], 1, window) for request in plan.decodes)
        for window, count in Counter(shape.windows).items()
    )


def _keys_of_tiles(plan: IterationPlan, shape: ModelShape, starts: Mapping[int, int]) -> int:
    """Return the (layer, token) pairs whose keys and values the tiles of a pass read."""
    total = 0
    for part in plan.prefill:
        tokens, layers = part.tile.tokens, part.tile.layers
        first = starts[part.request] + tokens.start
        for window in shape.windows[layers.start : layers.stop]:
            total += keys_of(first, len(tokens), window)
    return total


def keys_of(first: int, rows: int, window: int) -> int:
    """Return the tokens that any of `rows` rows from position `first` on sees; window 0 is all."""
    length = first + rows
    return min(length, rows + window - 1) if window else length


def _layer_values(passed: _Passed, shape: ModelShape) -> int:
    """Return the values that the operators of the layers take in and put out for their rows.

    With h the hidden size; q the width of all query heads and o that of their values; c what a row
    leaves in the cache; r the width of the compressed query; E experts, k of them chosen, f the
    width of one; s shared experts, as wide; d the width of a dense layer's MLP. What is read from
    the cache and written to it stands in terms of its own. Every layer:

        norm               h -> h
        projection         h -> q + c      with a compressed query   h -> r + c, r -> q
        attention      q + c -> o          with a latent see `_latent_values`
        out, residual  o + h -> h
        norm               h -> h

    then an MoE layer, its shared experts as one MLP, and a dense layer:

        router         h -> E              with shared experts             dense layer
        gate, up       h -> 2 k f               h -> 2 s f                      h -> 2 d
        activation 2 k f -> k f             2 s f -> s f                      2 d -> d
        down         k f -> k h               s f -> h          residual    d + h -> h
        weighted sum, residual   k h + h -> h     and h more in
    """
    hidden, top_k, shared = shape.hidden_size, shape.top_k, shape.shared_experts
    queries = shape.num_heads * shape.key_width
    values = shape.num_heads * shape.value_width
    compressed = shape.latent.query_rank if shape.latent else 0
    every = 7 * hidden + 2 * (compressed + queries + shape.kv_values + values)
    moe = 4 * hidden + shape.num_experts + top_k * (6 * shape.expert_size + 2 * hidden)
    if shared:
        moe += 6 * shared * shape.expert_size + 3 * hidden
    dense = 3 * hidden + 6 * shape.dense_size
    return passed.rows * every + passed.moe_rows * moe + passed.dense_rows * dense


def _latent_values(passed: _Passed, shape: ModelShape, prefill_keys: int) -> int:
    """Return the values that attention over a latent moves on top of `_layer_values`.

    It takes one of two forms (`ModelShape.absorbed_key_width`). A tile makes the keys and values of
    every token that it sees, x wide for all heads, from the cached latent. A decode takes the n not
    rotated of its q queries into the latent, a wide for all heads, and the outputs back:

        tile, per token seen   -> x          decode   n -> a
        attention, the same  x ->            attention   q - n + a + c -> a
                                                      a -> o
    """
    if shape.latent is None:
        return 0
    expanded = shape.num_heads * (shape.latent.nope_dim + shape.latent.value_dim)
    absorbed = shape.num_heads * shape.latent.kv_rank
    return prefill_keys * 2 * expanded + passed.decodes * 4 * absorbed
