"""How many bytes a model's values take, by the precision that its weights are held in.

Owns: the precisions that can be modelled, the bytes of experts and of all weights in them.
Must not know: how a value is coded, how fast it is computed with.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lpbench.errors import InputError
from lpbench.registry import unknown
from lpbench.shape.model import DTYPE_BYTES, ModelShape

MXFP4 = "mxfp4"

MXFP4_GROUP = 32
"""Values that share a scale (OCP Microscaling Formats 1.0)."""

MXFP4_BYTES = 4 / 8 + 1 / MXFP4_GROUP
"""Bytes of a value in mxfp4: 4 bits, and its part of a byte of scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What one value takes in memory.

    Attributes:
        name: what the user calls it.
        value_bytes: bytes of a value of biases, attention, routers, norms, dense layers,
            embeddings, activations, keys and values.
        expert_matrix_bytes: bytes of a value of experts' matrices, routed or shared, scales
            included.
        computed_in: the dtype of its products.
    """

    name: str
    value_bytes: int
    expert_matrix_bytes: float
    computed_in: str

    @property
    def is_packed(self) -> bool:
        """Whether the experts' matrices are stored in fewer bits than they are multiplied in."""
        return self.expert_matrix_bytes < self.value_bytes

    @property
    def widened(self) -> "Precision":
        """The same with float32 in place of every dtype; what is packed stays so."""
        wide = PRECISIONS["float32"]
        if not self.is_packed:
            return wide
        return replace(self, value_bytes=wide.value_bytes, computed_in=wide.computed_in)


PRECISIONS: Mapping[str, Precision] = {
    **{
        dtype: Precision(name=dtype, value_bytes=size, expert_matrix_bytes=size, computed_in=dtype)
        for dtype, size in DTYPE_BYTES.items()
    },
    MXFP4: Precision(
        name=MXFP4,
        value_bytes=DTYPE_BYTES["bfloat16"],
        expert_matrix_bytes=MXFP4_BYTES,
        computed_in="bfloat16",
    ),
}
"""The precisions by name; in mxfp4 all but the experts' matrices stays bfloat16, as GPT-OSS is
released, and the kernel makes bfloat16 of those before it multiplies."""


def find_precision(name: str) -> Precision:
    """Return the precision of this name.

    Raises:
        InputError: there is none.
    """
    if name not in PRECISIONS:
        raise InputError(unknown("dtype", name, known=PRECISIONS))
    return PRECISIONS[name]


def expert_bytes(shape: ModelShape, precision: Precision) -> int:
    """Return the bytes of one expert."""
    # A matrix of which a row is no whole number of 32 values has a scale more than is counted.
    matrices = math.ceil(shape.expert_matrix_params * precision.expert_matrix_bytes)
    return matrices + shape.expert_bias_params * precision.value_bytes


def layer_expert_bytes(shape: ModelShape, precision: Precision) -> int:
    """Return the bytes of all routed experts of one MoE layer."""
    return shape.num_experts * expert_bytes(shape, precision)


def all_expert_bytes(shape: ModelShape, precision: Precision) -> int:
    """Return the bytes of all routed experts of all layers."""
    return shape.moe_layers * layer_expert_bytes(shape, precision)


def weight_bytes(shape: ModelShape, precision: Precision) -> int:
    """Return the bytes of all weights."""
    experts = shape.moe_layers * (shape.num_experts + shape.shared_experts)
    others = shape.total_params - experts * shape.params_per_expert
    return experts * expert_bytes(shape, precision) + others * precision.value_bytes
