"""The geometry of a model as numbers: what a Hugging Face config.json says, and what follows.

Owns: the two families, the meaning of their config keys, the counts of parameters and bytes.
Must not know: torch, checkpoints, how a layer is computed.

What a key means, and what its absence means, is what the published model code (transformers,
models/qwen3_moe and models/gpt_oss) makes of it.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import NoReturn

from lpbench.errors import InputError
from lpbench.registry import unknown

MOST = 1 << 24
"""No count in a config.json is larger; what is, would not be caught before memory runs out."""

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2}
"""Bytes of one value, by the name of its dtype."""


def dtype_bytes(dtype: str) -> int:
    """Return the bytes of one value.

    Raises:
        InputError: the dtype is not known.
    """
    if dtype not in DTYPE_BYTES:
        raise InputError(unknown("dtype", dtype, known=DTYPE_BYTES))
    return DTYPE_BYTES[dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yarn:
    """How YaRN stretches rotary embeddings past the trained length (arXiv 2309.00071).

    Attributes:
        factor: how much longer the context becomes.
        beta_fast: dimensions that turn more often than this over the original length stay.
        beta_slow: dimensions that turn less often than this are slowed by `factor`.
        original_max_positions: trained length, in tokens.
        truncate: whether the edges between the two are rounded outwards to whole dimensions.
        attention_factor: what cos and sin are multiplied by.
    """

    factor: float
    beta_fast: float
    beta_slow: float
    original_max_positions: int
    truncate: bool
    attention_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary position embedding: the base of its frequencies, and YaRN where there is one."""

    theta: float
    yarn: Yarn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """One Mixture-of-Experts model, every layer of which has experts.

    Attributes:
        name: what the user calls it.
        family: `qwen3_moe` or `gpt_oss`.
        num_layers: decoder layers.
        hidden_size: width of the residual stream.
        num_heads: query heads.
        num_kv_heads: key and value heads, a divisor of `num_heads`.
        head_dim: width of a head, even.
        num_experts: experts of a layer.
        top_k: experts that a token is routed to.
        expert_size: inner width of an expert.
        vocab_size: rows of the embedding.
        max_positions: tokens of context that the model is made for.
        windows: per layer, the tokens a query sees, itself included; 0 is all before it.
        rms_eps: added to the mean square in every norm.
        rope: rotary position embedding.
        attention_bias: whether the four projections of attention have biases.
        norm_topk: whether the weights of the chosen experts sum to 1.
        tied_embeddings: whether the embedding is also the output head.
        swiglu_limit: clamp on an expert's gate (above) and up (both sides); infinite for none.
    """

    name: str
    family: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_experts: int
    top_k: int
    expert_size: int
    vocab_size: int
    max_positions: int
    windows: tuple[int, ...]
    rms_eps: float
    rope: Rope
    attention_bias: bool
    norm_topk: bool
    tied_embeddings: bool
    swiglu_limit: float = math.inf

    def __post_init__(self) -> None:
        """Hold the windows to one per layer."""
        assert len(self.windows) == self.num_layers, self

    @classmethod
    def from_config(cls, config: Mapping[str, object], *, name: str) -> "ModelShape":
        """Return the shape that a Hugging Face config.json describes.

        Args:
            config: the parsed file, in the style of transformers 5 (`rope_parameters`) or before
                (`rope_theta`, `rope_scaling`).
            name: what to call the model, in messages too.

        Raises:
            InputError: not a model of a known family, a key that is missing or has a wrong type,
                a value that is impossible, or a feature that the engine does not compute.
        """
        keys = _Keys(config, name=name)
        family = _family(keys)
        special = _FAMILIES[family].read(keys)
        num_experts = keys.integer("num_experts", "num_local_experts")
        shape = cls(
            name=name,
            family=family,
            num_layers=keys.integer("num_hidden_layers"),
            hidden_size=keys.integer("hidden_size"),
            num_heads=keys.integer("num_attention_heads"),
            num_kv_heads=keys.integer("num_key_value_heads"),
            head_dim=special.head_dim,
            num_experts=num_experts,
            top_k=keys.integer("num_experts_per_tok", most=num_experts),
            expert_size=special.expert_size,
            vocab_size=keys.integer("vocab_size"),
            max_positions=keys.integer("max_position_embeddings"),
            windows=special.windows,
            rms_eps=keys.number("rms_norm_eps"),
            rope=_rope(keys, _FAMILIES[family]),
            attention_bias=keys.flag("attention_bias", default=special.attention_bias),
            norm_topk=special.norm_topk,
            tied_embeddings=keys.flag("tie_word_embeddings", default=False),
            swiglu_limit=special.swiglu_limit,
        )
        keys.demand("hidden_act", accepted="silu")
        if shape.num_heads % shape.num_kv_heads:
            keys.refuse("num_key_value_heads", f"a divisor of {shape.num_heads} attention heads")
        if shape.head_dim % 2:
            keys.refuse("head_dim", "an even number, as rotary embeddings turn pairs")
        return shape

    @property
    def has_qk_norm(self) -> bool:
        """Whether queries and keys are normed per head."""
        return self.family == "qwen3_moe"

    @property
    def has_sinks(self) -> bool:
        """Whether every query head has a sink, a logit without a value."""
        return self.family == "gpt_oss"

    @property
    def has_expert_bias(self) -> bool:
        """Whether router and experts have biases."""
        return self.family == "gpt_oss"

    @property
    def params_per_expert(self) -> int:
        """Parameters of one expert: gate, up and down, with their biases."""
        matrices = 3 * self.hidden_size * self.expert_size
        biases = 2 * self.expert_size + self.hidden_size
        return matrices + (biases if self.has_expert_bias else 0)

    @property
    def router_params(self) -> int:
        """Parameters of one layer's router."""
        return self.num_experts * (self.hidden_size + (1 if self.has_expert_bias else 0))

    @property
    def attention_params(self) -> int:
        """Parameters of one layer's attention: projections, biases, head norms and sinks."""
        inner = self.num_heads * self.head_dim
        qkv = inner + 2 * self.num_kv_heads * self.head_dim
        return (
            (qkv + inner) * self.hidden_size
            + (qkv + self.hidden_size if self.attention_bias else 0)
            + (2 * self.head_dim if self.has_qk_norm else 0)
            + (self.num_heads if self.has_sinks else 0)
        )

    @property
    def total_params(self) -> int:
        """All parameters; a tied embedding counts once."""
        layer = (
            2 * self.hidden_size
            + self.attention_params
            + self.router_params
            + self.num_experts * self.params_per_expert
        )
        embeddings = (1 if self.tied_embeddings else 2) * self.vocab_size * self.hidden_size
        return embeddings + self.num_layers * layer + self.hidden_size

    def expert_bytes(self, bytes_per_value: int) -> int:
        """Return the bytes of one expert's parameters."""
        return self.params_per_expert * bytes_per_value

    def layer_expert_bytes(self, bytes_per_value: int) -> int:
        """Return the bytes of all experts of one layer."""
        return self.num_experts * self.expert_bytes(bytes_per_value)

    def all_expert_bytes(self, bytes_per_value: int) -> int:
        """Return the bytes of all experts of all layers."""
        return self.num_layers * self.layer_expert_bytes(bytes_per_value)

    def weight_bytes(self, bytes_per_value: int) -> int:
        """Return the bytes of all parameters."""
        return self.total_params * bytes_per_value

    def kv_bytes_per_token(self, bytes_per_value: int) -> int:
        """Return the bytes of one token's keys and values in all layers, windows disregarded."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * bytes_per_value


def read_config(folder: Path) -> dict[str, object]:
    """Return the config.json of a Hugging Face checkpoint folder.

    Raises:
        InputError: no such folder, no config.json in it, or no JSON object in that.
    """
    path = folder / "config.json"
    if not _is_folder(folder):
        what = "is not a folder" if os.path.lexists(folder) else "does not exist"
        raise InputError(f"model folder {str(folder)!r} {what}; give a Hugging Face checkpoint")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"model folder {str(folder)!r} has no config.json; give a Hugging Face checkpoint"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # neither UTF-8 nor JSON, or too deep
        raise InputError(f"{str(path)!r} cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{str(path)!r} must hold a JSON object, not {brief(config)}")
    return config


def _is_folder(path: Path) -> bool:
    """Return whether a folder is there; a name that the system does not allow is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


class _Keys:
    """The keys of a config, read with their types; null is absent, as in transformers."""

    def __init__(self, values: Mapping[str, object], *, name: str, where: str = "") -> None:
        self._values = values
        self._name = name
        self._where = where

    def get(self, key: str) -> object:
        return self._values.get(key)

    def fail(self, what: str) -> NoReturn:
        raise InputError(f"model {self._name!r}: {what}")

    def refuse(self, key: str, accepted: str) -> NoReturn:
        self.fail(f"{self._where}{key} is {brief(self.get(key))}; accepted: {accepted}")

    def integer(self, *keys: str, most: int = MOST, default: int | None = None) -> int:
        """Return the first of `keys` that is there: names of one whole number, 1 to `most`."""
        key = next((key for key in keys if self.get(key) is not None), keys[0])
        value = self._there(key, default)
        accepted = f"a whole number, 1 to {most}"
        if most == MOST and (not isinstance(value, int) or value <= most):
            accepted = "a whole number, 1 or more"
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(key, accepted)
        if not 1 <= value <= most:
            self.refuse(key, accepted)
        return value

    def number(self, key: str, *, default: float | None = None, least: float = 0) -> float:
        """Return a finite number above 0, not below `least`."""
        value = self._there(key, default)
        accepted = f"a number, {least:g} or more" if least else "a number above 0"
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.refuse(key, accepted)
        if not 0 < value <= sys.float_info.max or value < least:
            self.refuse(key, accepted)
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._there(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def inner(self, key: str) -> Mapping[str, object]:
        value = self.get(key)
        if not isinstance(value, Mapping):
            self.refuse(key, "an object")
        return value

    def within(self, values: Mapping[str, object], *, where: str) -> "_Keys":
        """Return a reader of an object inside this one, called `where` in messages."""
        return _Keys(values, name=self._name, where=where)

    def demand(self, key: str, *, accepted: object, why: str = "") -> None:
        """Refuse any value but the one that the engine computes with, which is the default."""
        if self._there(key, accepted) != accepted:
            self.refuse(key, f"{accepted!r}{why}")

    def _there(self, key: str, default: object) -> object:
        value = self.get(key)
        value = default if value is None else value
        if value is None:
            self.fail(f"config.json has no {self._where}{key}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Special:
    """What the two families say under different keys, or not at all."""

    head_dim: int
    expert_size: int
    windows: tuple[int, ...]
    attention_bias: bool
    norm_topk: bool
    swiglu_limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """One model type: its architecture, what it reads, its rotary embedding when none is given."""

    architecture: str
    read: Callable[[_Keys], _Special]
    theta: float
    rope: Mapping[str, object]


def _qwen3_moe(keys: _Keys) -> _Special:
    why = ", as dense layers are not supported"
    keys.demand("decoder_sparse_step", accepted=1, why=why)
    keys.demand("mlp_only_layers", accepted=[], why=why)
    window = keys.integer("sliding_window") if keys.flag("use_sliding_window", default=False) else 0
    return _Special(
        head_dim=keys.integer(
            "head_dim", default=keys.integer("hidden_size") // keys.integer("num_attention_heads")
        ),
        expert_size=keys.integer("moe_intermediate_size"),
        windows=(window,) * keys.integer("num_hidden_layers"),
        attention_bias=False,
        norm_topk=keys.flag("norm_topk_prob", default=False),
        swiglu_limit=math.inf,
    )


def _gpt_oss(keys: _Keys) -> _Special:
    keys.demand("swiglu_alpha", accepted=1.702)
    return _Special(
        head_dim=keys.integer("head_dim"),
        expert_size=keys.integer("intermediate_size"),
        windows=_alternating_windows(keys, keys.integer("num_hidden_layers")),
        attention_bias=True,
        norm_topk=True,
        swiglu_limit=keys.number("swiglu_limit", default=7.0),
    )


_FAMILIES: Mapping[str, _Family] = {
    "qwen3_moe": _Family(
        architecture="Qwen3MoeForCausalLM", read=_qwen3_moe, theta=10_000.0, rope={}
    ),
    "gpt_oss": _Family(
        architecture="GptOssForCausalLM",
        read=_gpt_oss,
        theta=150_000.0,
        rope={
            "rope_type": "yarn",
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "truncate": False,
        },
    ),
}


def _family(keys: _Keys) -> str:
    model_type, architectures = keys.get("model_type"), keys.get("architectures")
    known = ", ".join(_FAMILIES)
    if not isinstance(model_type, str) or model_type not in _FAMILIES:
        counts = ("num_experts", "num_local_experts", "n_routed_experts")
        has_experts = any(keys.get(key) for key in counts)
        what = "" if has_experts else " (no Mixture-of-Experts model: it names no experts)"
        keys.fail(f"unknown model_type {brief(model_type)}{what}; known: {known}")
    expected = _FAMILIES[model_type].architecture
    if architectures is not None and architectures != [expected]:
        keys.refuse("architectures", f"[{expected!r}] for model_type {model_type!r}")
    return model_type


def _alternating_windows(keys: _Keys, num_layers: int) -> tuple[int, ...]:
    """Return GPT-OSS's windows: sliding and full layers in turn, unless `layer_types` says."""
    kinds = ("sliding_attention", "full_attention")
    types = keys.get("layer_types")
    if types is None:
        types = [kinds[layer % 2] for layer in range(num_layers)]
    if (
        not isinstance(types, list)
        or len(types) != num_layers
        or any(kind not in kinds for kind in types)
    ):
        keys.refuse("layer_types", f"a list of {num_layers}, each {' or '.join(kinds)}")
    window = keys.integer("sliding_window") if kinds[0] in types else 0
    return tuple(window if kind == kinds[0] else 0 for kind in types)


def _rope(keys: _Keys, family: _Family) -> Rope:
    """Return the rotary embedding from `rope_scaling` (the older key) or `rope_parameters`."""
    key = "rope_scaling" if keys.get("rope_scaling") else "rope_parameters"
    given = family.rope if keys.get(key) is None else keys.inner(key)
    if any(isinstance(value, Mapping) for value in given.values()):
        keys.refuse(key, "one set of values for all layers")
    rope = keys.within(given, where=f"{key}.")
    keys.demand("partial_rotary_factor", accepted=1.0)
    rope.demand("partial_rotary_factor", accepted=1.0)
    theta = rope.number("rope_theta", default=keys.number("rope_theta", default=family.theta))
    named = "type" if rope.get("rope_type") is None else "rope_type"
    kind = rope.get(named)
    if kind not in (None, "default", "yarn"):
        rope.refuse(named, "'default' or 'yarn'")
    return Rope(theta=theta, yarn=_yarn(keys, rope) if kind == "yarn" else None)


def _yarn(keys: _Keys, rope: _Keys) -> Yarn:
    original = "original_max_position_embeddings"
    factor = rope.number("factor", least=1)
    return Yarn(
        factor=factor,
        beta_fast=rope.number("beta_fast", default=32.0),
        beta_slow=rope.number("beta_slow", default=1.0),
        # The top-level key wins, and the full length is the last resort, as in transformers.
        original_max_positions=keys.integer(
            original,
            default=rope.integer(original, default=keys.integer("max_position_embeddings")),
        ),
        truncate=rope.flag("truncate", default=True),
        attention_factor=_attention_factor(rope, factor),
    )


def _attention_factor(rope: _Keys, factor: float) -> float:
    """Return the factor on cos and sin: as given, else 0.1 ln(factor) + 1 (YaRN, equation 22).

    With both `mscale` and `mscale_all_dim` it is the ratio of 0.1 m ln(factor) + 1 of the two.
    """
    if rope.get("attention_factor") is not None:
        return rope.number("attention_factor")

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return scale(rope.number("mscale")) / scale(rope.number("mscale_all_dim"))
    return scale(1.0)
