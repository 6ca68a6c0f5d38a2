"""The bytes of passes row by row, from the definitions: loops over rows instead of formulas.

Nothing of `lpbench.shape` is used but the plain numbers of a geometry.
"""

from collections import Counter
from collections.abc import Sequence

from lpbench.shape.model import ModelShape

Row = tuple[int, int, bool]
"""Request, position, whether it is a prefill row."""


def bytes_of_pass(
    rows: Sequence[Sequence[Row]], shape: ModelShape, *, sampled: int, bytes_per_value: int
) -> Counter[str]:
    """Return every term of one pass but the experts, in bytes.

    Args:
        rows: the rows of each layer.
        shape: the model's geometry.
        sampled: tokens sampled at its end.
        bytes_per_value: of the run's dtype.
    """
    values: Counter[str] = Counter()
    for layer, mine in enumerate(rows):
        if mine:
            values["attention_weights"] += attention_values(shape)
            values["dense_weights"] += dense_values(shape)
        for _ in mine:
            values["kv_written"] += key_value(shape)
            values["activations"] += sum(taken + put for taken, put in operators(shape))
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


def key_value(shape: ModelShape) -> int:
    """Return the values of one token's key and value in one layer."""
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
    hidden, head = shape.hidden_size, shape.head_dim
    total = 0
    for outputs in (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads):  # q, k, v
        total += outputs * head * hidden + (outputs * head if shape.attention_bias else 0)
    total += hidden * shape.num_heads * head + (hidden if shape.attention_bias else 0)
    if shape.family == "qwen3_moe":
        return total + head + head  # norms of queries and keys
    return total + shape.num_heads  # sinks


def dense_values(shape: ModelShape) -> int:
    """Return the parameters of one layer's router and of its two norms."""
    router = shape.num_experts * shape.hidden_size
    if shape.family == "gpt_oss":
        router += shape.num_experts
    return router + shape.hidden_size + shape.hidden_size


def operators(shape: ModelShape) -> list[tuple[int, int]]:
    """Return what each operator of a layer takes in and puts out for one row, in values."""
    hidden, top_k, inner = shape.hidden_size, shape.top_k, shape.expert_size
    queries, new = shape.num_heads * shape.head_dim, key_value(shape)
    return [
        (hidden, hidden),  # norm
        (hidden, queries + new),  # projection to queries, keys and values
        (queries + new, queries),  # attention
        (queries + hidden, hidden),  # output projection, residual
        (hidden, hidden),  # norm
        (hidden, shape.num_experts),  # router
        (hidden, top_k * 2 * inner),  # gate and up
        (top_k * 2 * inner, top_k * inner),  # activation
        (top_k * inner, top_k * hidden),  # down
        (top_k * hidden + hidden, hidden),  # weighted sum, residual
    ]
