"""What a pass computes: per layer a handful of operators, each with its bytes and FLOPs.

Owns: the operators of one layer for the rows that pass it, and the output head.
Must not know: schedules, devices, how long anything takes, which experts are popular.

Every weight is read once per pass through its layer, keys and values once per request, activations
not at all: kernels that are fused keep them on the chip. A FLOP is an addition or a multiplication.
b is the bytes of a value.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lpbench.plan.grid import Span
from lpbench.shape.model import ModelShape
from lpbench.shape.passes import keys_of
from lpbench.shape.precision import Precision, expert_bytes

KINDS = ("projections", "attention_decode", "attention_prefill", "experts", "dense", "head")
"""The operators, by name."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: which, the bytes that it moves, the FLOPs that it computes."""

    kind: str
    bytes: float
    flops: float


@dataclass(frozen=True, slots=True)
class LayerKind:
    """Layers that are alike: the keys a query sees (0: all before it), and whether it is dense."""

    window: int
    is_dense: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What passes a layer.

    Attributes:
        decodes: rows that are decodes.
        decode_keys: by window, the keys that they see together, each its own included.
        prompts: of each prompt the position of its first row, and how many rows.
        distinct: experts that the rows touch together.
    """

    decodes: int
    decode_keys: Mapping[int, int]
    prompts: Sequence[tuple[int, int]]
    distinct: float

    @property
    def count(self) -> int:
        """All rows."""
        return self.decodes + sum(rows for _, rows in self.prompts)


class Operators:
    """The operators of one model in one precision."""

    def __init__(self, shape: ModelShape, precision: Precision) -> None:
        """Work out what does not depend on the rows."""
        b = precision.value_bytes
        self._shape = shape
        self._value_bytes = b
        self.expert_bytes = expert_bytes(shape, precision)
        self._router_bytes = b * shape.router_params
        self._shared_bytes = shape.shared_experts * self.expert_bytes
        self._row_flops = 2 * (
            shape.top_k * shape.expert_matrix_params
            + shape.shared_experts * shape.expert_matrix_params
            + shape.hidden_size * shape.num_experts
        )
        self._decode_flops = (
            2 * shape.num_heads * (shape.absorbed_key_width + shape.absorbed_value_width)
        )
        self._prefill_flops = 2 * shape.num_heads * (shape.key_width + shape.value_width)
        self._kinds = tuple(
            LayerKind(window, layer < shape.dense_layers)
            for layer, window in enumerate(shape.windows)
        )
        self.windows = tuple(dict.fromkeys(shape.windows))
        self.kinds_in = lru_cache(maxsize=None)(self._kinds_in)

    def _kinds_in(self, layers: Span) -> tuple[tuple[LayerKind, int], ...]:
        """Return which kinds of layers a span has, and how many of each."""
        return tuple(Counter(self._kinds[layers.start : layers.stop]).items())

    def of_layer(self, kind: LayerKind, rows: Rows) -> tuple[Operator, ...]:
        """Return the operators of one layer of this kind."""
        shape, b = self._shape, self._value_bytes
        count = rows.count
        kv = b * shape.kv_values
        found = [
            Operator(
                "projections", b * shape.projection_params, 2 * count * shape.projection_params
            )
        ]
        if rows.decodes:
            keys = rows.decode_keys[kind.window]
            found.append(Operator("attention_decode", kv * keys, self._decode_flops * keys))
        for first, length in rows.prompts:
            pairs = query_key_pairs(first, length, kind.window)
            again = 2 * shape.expansion_params * first  # keys made anew from the cached latent
            found.append(
                Operator(
                    "attention_prefill",
                    kv * keys_of(first, length, kind.window),
                    self._prefill_flops * pairs + again,
                )
            )
        if kind.is_dense:
            dense = shape.dense_params
            found.append(Operator("dense", b * dense, 2 * count * dense))
        else:
            weights = rows.distinct * self.expert_bytes + self._shared_bytes + self._router_bytes
            found.append(Operator("experts", weights, count * self._row_flops))
        return tuple(found)

    def head(self, sampled: int) -> Operator:
        """Return the output head for as many rows, at least 1."""
        params = self._shape.vocab_size * self._shape.hidden_size
        return Operator("head", self._value_bytes * params, 2 * sampled * params)


def query_key_pairs(first: int, rows: int, window: int) -> int:
    """Return how many (query, key) pairs `rows` rows from position `first` on make, causally.

    A query at position p sees p + 1 keys, or the last `window` of them; 0 is no window.
    """
    growing = max(0, min(rows, window - 1 - first)) if window else rows
    return growing * first + growing * (growing + 1) // 2 + (rows - growing) * window
