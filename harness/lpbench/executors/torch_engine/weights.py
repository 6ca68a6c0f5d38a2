"""The weights as the engine computes with them, and seeded random ones.

Owns: the layout of every tensor, shared by both families, and dummy weights.
Must not know: checkpoint files and their names.

Matrices are stored [out, in], those of the experts [E, in, out]: a CPU's matmul reads weights
that are not in its cache up to three times faster that way round when an expert has few rows. The
fused kernels take them packed too. A tensor that a model does not have is None.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from lpbench.executors.torch_engine.kernels.mxfp4 import BIAS, MAGNITUDES, Mxfp4
from lpbench.shape.model import ModelShape

EXPERT_MATRICES = frozenset({"gate_up", "down"})
"""The fields stored [E, in, out]."""

DRAW_VALUES = 1 << 25
"""Values drawn at a time, 128 MiB of float32. A multiple of 16, so that the CPU's generator, which
fills 16 at a time, gives the same values as in one draw."""

_MEAN_SQUARE = sum(magnitude**2 for magnitude in MAGNITUDES) / len(MAGNITUDES)
"""Of an E2M1 value whose bits are random."""

_SMALL = 0.1
"""Standard deviation of dummy biases, sinks and of norms around 1: seen, but never dominant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One decoder layer, all tensors in the run's dtype but experts' matrices that are packed.

    H hidden size, Q query heads x head_dim, K key-value heads x head_dim, D head_dim, E experts,
    I expert size.

    Attributes:
        input_norm: [H], before attention.
        post_norm: [H], before the experts.
        qkv: [Q + 2K, H], query rows, then key rows, then value rows.
        out: [H, Q].
        router: [E, H].
        gate_up: [E, H, 2I], gate columns, then up columns, or these packed.
        down: [E, I, H], or these packed.
        qkv_bias: [Q + 2K].
        out_bias: [H].
        q_norm: [D], per query head, before the rotation.
        k_norm: [D], per key head, before the rotation.
        sinks: [query heads].
        router_bias: [E].
        gate_up_bias: [E, 2I], in the order of `gate_up`.
        down_bias: [E, H].
    """

    input_norm: torch.Tensor
    post_norm: torch.Tensor
    qkv: torch.Tensor
    out: torch.Tensor
    router: torch.Tensor
    gate_up: torch.Tensor | Mxfp4
    down: torch.Tensor | Mxfp4
    qkv_bias: torch.Tensor | None = None
    out_bias: torch.Tensor | None = None
    q_norm: torch.Tensor | None = None
    k_norm: torch.Tensor | None = None
    sinks: torch.Tensor | None = None
    router_bias: torch.Tensor | None = None
    gate_up_bias: torch.Tensor | None = None
    down_bias: torch.Tensor | None = None

    @property
    def head_norms(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The norms of query and key heads, [D] each; None where the model has none."""
        if self.q_norm is None or self.k_norm is None:
            return None
        return self.q_norm, self.k_norm

    @property
    def plain_experts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`gate_up` and `down`, for those who cannot take them packed."""
        assert not isinstance(self.gate_up, Mxfp4), "packed"
        assert not isinstance(self.down, Mxfp4), "packed"
        return self.gate_up, self.down


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWeights:
    """A whole model.

    Attributes:
        embed: [V, H], one row per token id.
        layers: from the bottom.
        norm: [H], before the head.
        head: [V, H]; the same tensor as `embed` where the model ties them.
    """

    embed: torch.Tensor
    layers: tuple[LayerWeights, ...]
    norm: torch.Tensor
    head: torch.Tensor


def layer_dims(shape: ModelShape) -> Mapping[str, tuple[int, ...]]:
    """Return the dimensions of each field of `LayerWeights` that the model has."""
    hidden, inner, experts = shape.hidden_size, shape.expert_size, shape.num_experts
    queries = shape.num_heads * shape.head_dim
    qkv = queries + 2 * shape.num_kv_heads * shape.head_dim
    dims: dict[str, tuple[int, ...]] = {
        "input_norm": (hidden,),
        "post_norm": (hidden,),
        "qkv": (qkv, hidden),
        "out": (hidden, queries),
        "router": (experts, hidden),
        "gate_up": (experts, hidden, 2 * inner),
        "down": (experts, inner, hidden),
    }
    if shape.attention_bias:
        dims |= {"qkv_bias": (qkv,), "out_bias": (hidden,)}
    if shape.has_qk_norm:
        dims |= {"q_norm": (shape.head_dim,), "k_norm": (shape.head_dim,)}
    if shape.has_sinks:
        dims |= {"sinks": (shape.num_heads,)}
    if shape.has_expert_bias:
        dims |= {
            "router_bias": (experts,),
            "gate_up_bias": (experts, 2 * inner),
            "down_bias": (experts, hidden),
        }
    return dims


def model_dims(shape: ModelShape) -> Mapping[str, tuple[int, ...]]:
    """Return the dimensions of the tensors outside the layers; no `head` where it is tied."""
    dims: dict[str, tuple[int, ...]] = {
        "embed": (shape.vocab_size, shape.hidden_size),
        "norm": (shape.hidden_size,),
    }
    if not shape.tied_embeddings:
        dims["head"] = dims["embed"]
    return dims


def empty_layer(
    shape: ModelShape, *, dtype: torch.dtype, device: torch.device | str, packed: bool
) -> LayerWeights:
    """Return room for a layer; what it holds is undefined.

    Args:
        shape: the model.
        dtype: of all tensors that are not packed.
        device: where they stand.
        packed: whether the experts' matrices are in mxfp4.
    """
    plain = partial(torch.empty, dtype=dtype, device=device)
    matrices: Callable[[tuple[int, ...]], torch.Tensor | Mxfp4] = (
        partial(Mxfp4.empty, device=device) if packed else plain
    )
    dims = dict(layer_dims(shape))
    return LayerWeights(
        gate_up=matrices(dims.pop("gate_up")),
        down=matrices(dims.pop("down")),
        **{name: plain(size) for name, size in dims.items()},
    )


def dummy_weights(
    shape: ModelShape,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    packed: bool = False,
) -> ModelWeights:
    """Return random weights under which activations neither vanish nor explode.

    Every matrix has mean 0 and deviation 1/sqrt(inputs), norms lie around 1, biases and sinks
    around 0; an untied embedding has deviation 1. They are normal, drawn in float32 and then
    rounded, `DRAW_VALUES` at a time, so that all dtypes agree up to rounding and little more than
    the model ever stands in memory. Packed matrices are drawn as such: they are the same values in
    every dtype, and others than those that are not packed.

    Args:
        shape: the model.
        dtype: of all tensors that are not packed.
        device: where they are drawn and stay; CPU and CUDA draw different values, and so do GPUs
            of different models.
        seed: same seed, shape and model of device: same values.
        packed: whether the experts' matrices are in mxfp4.
    """
    generator = torch.Generator(device=device).manual_seed(seed)

    def draw(name: str, values: torch.Tensor) -> None:
        mean, deviation = _distribution(name, values.shape, tied=shape.tied_embeddings)
        for part in values.view(-1).split(DRAW_VALUES):
            # Without a name: one that lives on would stand beside the next one.
            part.copy_(
                torch.empty_like(part, dtype=torch.float32).normal_(
                    mean, deviation, generator=generator
                )
            )

    def layer() -> LayerWeights:
        made = empty_layer(shape, dtype=dtype, device=device, packed=packed)
        for name in layer_dims(shape):
            values = getattr(made, name)
            if isinstance(values, Mxfp4):
                _draw_packed(values, generator)
            else:
                draw(name, values)
        return made

    outside = {
        name: torch.empty(dims, dtype=dtype, device=device)
        for name, dims in model_dims(shape).items()
    }
    for name, values in outside.items():
        draw(name, values)
    return ModelWeights(
        embed=outside["embed"],
        layers=tuple(layer() for _ in range(shape.num_layers)),
        norm=outside["norm"],
        head=outside.get("head", outside["embed"]),
    )


def _draw_packed(matrices: Mxfp4, generator: torch.Generator) -> None:
    """Fill with random bits, and with scales that give the values deviation 1/sqrt(inputs).

    That is no power of two: of the two around it the larger is taken so often that the mean square
    is right.
    """
    square = 1 / (matrices.inputs * _MEAN_SQUARE)
    lower = math.floor(math.log2(square) / 2)
    share = (square / 4**lower - 1) / 3
    matrices.blocks.random_(generator=generator)
    matrices.scales.bernoulli_(share, generator=generator).add_(BIAS + lower)


def _distribution(name: str, dims: tuple[int, ...], *, tied: bool) -> tuple[float, float]:
    """Return mean and deviation of the draws for a field."""
    if name.endswith("norm"):
        return 1.0, _SMALL
    if name.endswith("bias") or name == "sinks":
        return 0.0, _SMALL
    if name == "embed" and not tied:
        return 0.0, 1.0
    inputs = dims[-2] if name in EXPERT_MATRICES else dims[-1]
    return 0.0, inputs**-0.5
