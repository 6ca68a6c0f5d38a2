"""The bytes of passes row by row, from the definitions: loops over rows instead of formulas.

Nothing of `lpbench.shape` is used but the plain numbers of a geometry.
"""

from collections import Counter
from collections.abc import Sequence

from lpbench.shape.latent import Latent
from lpbench.shape.model import ModelShape

Row = tuple[int, int, bool]
"""Request, position, whether it is a prefill row."""


def bytes_of_pass(
    rows: Sequence[Sequence[Row]], shape: ModelShape, *, sampled: int, bytes_per_value: int
) -> Counter[str]:
    """Return every term of one pass but the routed experts, in bytes.

    Args:
        rows: the rows of each layer.
        shape: the model's geometry.
        sampled: tokens sampled at its end.
        bytes_per_value: of the run's dtype.
    """
    values: Counter[str] = Counter()
    for layer, mine in enumerate(rows):
        is_dense = layer < shape.dense_layers
        if mine:
            values["attention_weights"] += attention_values(shape)
            values["dense_weights"] += dense_values(shape, is_dense=is_dense)
            for _ in range(0 if is_dense else shape.shared_experts):
                values["shared_experts"] += 3 * shape.hidden_size * shape.expert_size
        for _, _, is_prefill in mine:
            values["kv_written"] += key_value(shape)
            moved = [*attention(shape, is_prefill=is_prefill), *mlp(shape, is_dense=is_dense)]
            values["activations"] += sum(taken + put for taken, put in moved)
        if shape.latent:  # what keys and values are made of, for the prompts' rows
            prompts = [row for row in mine if row[2]]
            for _ in range(keys_seen(prompts, shape.windows[layer])):
                width = shape.latent.nope_dim + shape.latent.value_dim
                values["activations"] += shape.num_heads * (width + width)  # put out, taken in
        values["kv_read"] += key_value(shape) * keys_seen(mine, shape.windows[layer])
    for _ in rows[0]:
        values["embedding"] += shape.hidden_size
        values["activations"] += shape.hidden_size
    for _ in range(sampled):
        values["logits"] += shape.vocab_size
        values["activations"] += shape.hidden_size + shape.hidden_size  # the final norm
        values["activations"] += shape.hidden_size  # the head's input
    if sampled:
        values["head"] += shape.vocab_size * shape.hidden_size + shape.hidden_size
    return Counter({name: bytes_per_value * count for name, count in values.items()})


def uniform_loads(
    rows: Sequence[Sequence[Row]], shape: ModelShape, *, prefill: bool = True
) -> float:
    """Return the distinct experts that are expected, summed over layers, expert by expert.

    Args:
        rows: the rows of each layer.
        shape: the model's geometry.
        prefill: whether rows of prompts count.
    """
    total = 0.0
    for mine in rows[shape.dense_layers :]:
        for _ in range(shape.num_experts):
            untouched = 1.0
            for _, _, is_prefill in mine:
                if prefill or not is_prefill:
                    untouched *= 1 - shape.top_k / shape.num_experts
            total += 1 - untouched
    return total


def key_value(shape: ModelShape) -> int:
    """Return the values of one token's key and value in one layer, or of its latent."""
    if shape.latent:
        return shape.latent.kv_rank + shape.latent.rope_dim
    return shape.num_kv_heads * shape.head_dim + shape.num_kv_heads * shape.head_dim


def keys_seen(rows: Sequence[Row], window: int) -> int:
    """Return the keys that rows of one layer read: those of a request's tile once."""
    seen: set[tuple[int, int]] = set()
    for request, position, _ in rows:
        for key in range(position + 1):
            if not window or position - key < window:
                seen.add((request, key))
    return len(seen)


def attention_values(shape: ModelShape) -> int:
    """Return the parameters of one layer's attention, tensor by tensor."""
    if shape.latent:
        return latent_values(shape, shape.latent)
    hidden, head = shape.hidden_size, shape.head_dim
    total = 0
    for outputs in (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads):  # q, k, v
        total += outputs * head * hidden + (outputs * head if shape.attention_bias else 0)
    total += hidden * shape.num_heads * head + (hidden if shape.attention_bias else 0)
    norms_and_sinks = {
        "qwen3_moe": head + head,  # norms of queries and keys, each head by itself
        "olmoe": (shape.num_heads + shape.num_kv_heads) * head,  # the same of all heads
        "mixtral": 0,
        "gpt_oss": shape.num_heads,  # sinks
    }
    return total + norms_and_sinks[shape.family]


def latent_values(shape: ModelShape, latent: Latent) -> int:
    """Return the parameters of attention over a latent, tensor by tensor."""
    heads, hidden = shape.num_heads, shape.hidden_size
    queries = heads * (latent.nope_dim + latent.rope_dim)
    total = hidden * queries  # q_proj
    if latent.query_rank:
        total = hidden * latent.query_rank + latent.query_rank + latent.query_rank * queries
    total += hidden * (latent.kv_rank + latent.rope_dim) + latent.kv_rank  # the latent, its norm
    total += latent.kv_rank * heads * latent.nope_dim  # to keys
    total += latent.kv_rank * heads * latent.value_dim  # to values
    return total + heads * latent.value_dim * hidden


def dense_values(shape: ModelShape, *, is_dense: bool) -> int:
    """Return the parameters of one layer's two norms, and of its router or its dense MLP."""
    norms = shape.hidden_size + shape.hidden_size
    if is_dense:
        return norms + 3 * shape.hidden_size * shape.dense_size
    router = shape.num_experts * shape.hidden_size
    if shape.family in ("gpt_oss", "deepseek_v3"):
        router += shape.num_experts
    return norms + router


def attention(shape: ModelShape, *, is_prefill: bool) -> list[tuple[int, int]]:
    """Return what each operator of attention takes in and puts out for one row, in values."""
    hidden, heads, new = shape.hidden_size, shape.num_heads, key_value(shape)
    if shape.latent is None:
        queries = heads * shape.head_dim
        return [
            (hidden, hidden),  # norm
            (hidden, queries + new),  # projection to queries, keys and values
            (queries + new, queries),  # attention
            (queries + hidden, hidden),  # output projection, residual
        ]
    latent = shape.latent
    plain, turned = heads * latent.nope_dim, heads * latent.rope_dim
    inside, values = heads * latent.kv_rank, heads * latent.value_dim
    if latent.query_rank:
        projections = [(hidden, latent.query_rank + new), (latent.query_rank, plain + turned)]
    else:
        projections = [(hidden, plain + turned + new)]
    as_defined = [(plain + turned + new, values)]
    absorbed = [
        (plain, inside),  # queries into the latent
        (inside + turned + new, inside),  # attention
        (inside, values),  # out of the latent
    ]
    return [
        (hidden, hidden),  # norm
        *projections,
        *(as_defined if is_prefill else absorbed),
        (values + hidden, hidden),  # output projection, residual
    ]


def mlp(shape: ModelShape, *, is_dense: bool) -> list[tuple[int, int]]:
    """Return what each operator after attention takes in and puts out for one row, in values."""
    hidden, top_k, inner = shape.hidden_size, shape.top_k, shape.expert_size
    norm = (hidden, hidden)
    if is_dense:
        width = shape.dense_size
        return [norm, (hidden, 2 * width), (2 * width, width), (width + hidden, hidden)]
    width = shape.shared_experts * inner
    shared = [(hidden, 2 * width), (2 * width, width), (width, hidden)] if width else []
    parts = top_k + 2 if shared else top_k + 1  # of the sum: the residual, and the shared ones
    return [
        norm,
        (hidden, shape.num_experts),  # router
        (hidden, top_k * 2 * inner),  # gate and up
        (top_k * 2 * inner, top_k * inner),  # activation
        (top_k * inner, top_k * hidden),  # down
        *shared,
        (parts * hidden, hidden),  # weighted sum, residual
    ]
