"""The weights as the engine computes with them, and seeded random ones.

Owns: the layout of every tensor, shared by both families, and dummy weights.
Must not know: checkpoint files and their names.

Matrices are stored [out, in], those of the experts [E, in, out]: a CPU's matmul reads weights
that are not in its cache up to three times faster that way round when an expert has few rows. A
tensor that a model does not have is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lpbench.shape.model import ModelShape

EXPERT_MATRICES = frozenset({"gate_up", "down"})
"""The fields stored [E, in, out]."""

DRAW_VALUES = 1 << 25
"""Values drawn at a time, 128 MiB of float32. A multiple of 16, so that the CPU's generator, which
fills 16 at a time, gives the same values as in one draw."""

_SMALL = 0.1
"""Standard deviation of dummy biases, sinks and of norms around 1: seen, but never dominant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One decoder layer, all tensors in the run's dtype.

    H hidden size, Q query heads x head_dim, K key-value heads x head_dim, D head_dim, E experts,
    I expert size.

    Attributes:
        input_norm: [H], before attention.
        post_norm: [H], before the experts.
        qkv: [Q + 2K, H], query rows, then key rows, then value rows.
        out: [H, Q].
        router: [E, H].
        gate_up: [E, H, 2I], gate columns, then up columns.
        down: [E, I, H].
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
    gate_up: torch.Tensor
    down: torch.Tensor
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


def dummy_weights(
    shape: ModelShape, *, dtype: torch.dtype, device: torch.device | str, seed: int
) -> ModelWeights:
    """Return random weights under which activations neither vanish nor explode.

    Every matrix is normal with deviation 1/sqrt(inputs), norms lie around 1, biases and sinks
    around 0; an untied embedding has deviation 1. Drawn in float32 and then rounded, `DRAW_VALUES`
    at a time, so that all dtypes agree up to rounding and little more than the model ever stands in
    memory.

    Args:
        shape: the model.
        dtype: of all tensors.
        device: where they are drawn and stay; CPU and CUDA draw different values, and so do GPUs
            of different models.
        seed: same seed, shape and model of device: same values.
    """
    generator = torch.Generator(device=device).manual_seed(seed)

    def draw(name: str, dims: tuple[int, ...]) -> torch.Tensor:
        mean, deviation = _distribution(name, dims, tied=shape.tied_embeddings)
        values = torch.empty(dims, dtype=dtype, device=device)
        for part in values.view(-1).split(DRAW_VALUES):
            # Without a name: one that lives on would stand beside the next one.
            part.copy_(
                torch.empty_like(part, dtype=torch.float32).normal_(
                    mean, deviation, generator=generator
                )
            )
        return values

    outside = {name: draw(name, dims) for name, dims in model_dims(shape).items()}
    layers = tuple(
        LayerWeights(**{name: draw(name, dims) for name, dims in layer_dims(shape).items()})
        for _ in range(shape.num_layers)
    )
    return ModelWeights(
        embed=outside["embed"],
        layers=layers,
        norm=outside["norm"],
        head=outside.get("head", outside["embed"]),
    )


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
