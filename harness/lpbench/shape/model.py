"""The geometry of a model as numbers: what a Hugging Face config.json says, and what follows.

Owns: the meaning of the config keys that families share, the counts of parameters and bytes.
Must not know: torch, checkpoints, how a layer is computed, what a family says under keys of its
own.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief

from lpbench.errors import InputError
from lpbench.shape.families import FAMILIES, Family, find_family
from lpbench.shape.keys import Keys
from lpbench.shape.latent import Latent

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2}
"""Bytes of one value, by the name of its dtype."""


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
    """One Mixture-of-Experts model: layers with experts, after dense ones where it has such.

    Attributes:
        name: what the user calls it.
        family: its model type, a key of `FAMILIES`.
        num_layers: decoder layers.
        hidden_size: width of the residual stream.
        num_heads: query heads.
        num_kv_heads: key and value heads, a divisor of `num_heads`; of no meaning with a latent.
        head_dim: width of a head's query and key, and of its value where there is no latent.
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
        latent: the latent that attention works on; None for key and value heads.
        dense_layers: layers at the start that have one MLP instead of router and experts.
        dense_size: inner width of that MLP; 0 where there is none.
        shared_experts: experts of a layer that every token passes beside the routed ones, as
            large as these; the published code keeps them as one MLP of their widths together.
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
    latent: Latent | None = None
    dense_layers: int = 0
    dense_size: int = 0
    shared_experts: int = 0

    def __post_init__(self) -> None:
        """Hold the windows to one per layer, and keep a layer for experts."""
        assert len(self.windows) == self.num_layers, self
        assert 0 <= self.dense_layers < self.num_layers, self

    @classmethod
    def from_config(cls, config: Mapping[str, object], *, name: str) -> "ModelShape":
        """Return the shape that a Hugging Face config.json describes.

        Args:
            config: the parsed file, in the style of transformers 5 (`rope_parameters`) or before
                (`rope_theta`, `rope_scaling`).
            name: what to call the model, in messages too.

        Raises:
            InputError: not a model of a known family, a key that is missing or has a wrong type,
                a value that is impossible, or a feature that is not computed.
        """
        keys = Keys(config, name=name)
        family = find_family(keys)
        special = FAMILIES[family].read(keys)
        num_experts = keys.integer("num_experts", "num_local_experts", "n_routed_experts")
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
            rope=_rope(keys, FAMILIES[family]),
            attention_bias=keys.flag("attention_bias", default=special.attention_bias),
            norm_topk=special.norm_topk,
            tied_embeddings=keys.flag("tie_word_embeddings", default=False),
            swiglu_limit=special.swiglu_limit,
            latent=special.latent,
            dense_layers=special.dense_layers,
            dense_size=special.dense_size,
            shared_experts=special.shared_experts,
        )
        keys.demand("hidden_act", accepted="silu")
        if shape.num_heads % shape.num_kv_heads:
            keys.refuse("num_key_value_heads", f"a divisor of {shape.num_heads} attention heads")
        turned = "qk_rope_head_dim" if shape.latent else "head_dim"
        if (shape.latent.rope_dim if shape.latent else shape.head_dim) % 2:
            keys.refuse(turned, "an even number, as rotary embeddings turn pairs")
        return shape

    @property
    def has_qk_norm(self) -> bool:
        """Whether queries and keys are normed, each head by itself or all of them together."""
        return self.family in ("qwen3_moe", "olmoe")

    @property
    def has_full_qk_norm(self) -> bool:
        """Whether those norms run over all heads together: as wide as the projections."""
        return self.family == "olmoe"

    @property
    def has_sinks(self) -> bool:
        """Whether every query head has a sink, a logit without a value."""
        return self.family == "gpt_oss"

    @property
    def has_expert_bias(self) -> bool:
        """Whether router and experts have biases."""
        return self.family == "gpt_oss"

    @property
    def has_router_bias(self) -> bool:
        """Whether the router adds a value per expert, be it only to choose by."""
        return self.family in ("gpt_oss", "deepseek_v3")

    @property
    def moe_layers(self) -> int:
        """Layers with router and experts; they come after the dense ones."""
        return self.num_layers - self.dense_layers

    @property
    def expert_matrix_params(self) -> int:
        """Parameters of one expert's gate, up and down; a row takes two FLOPs of each."""
        return 3 * self.hidden_size * self.expert_size

    @property
    def expert_bias_params(self) -> int:
        """Parameters of the biases of one expert."""
        return 2 * self.expert_size + self.hidden_size if self.has_expert_bias else 0

    @property
    def params_per_expert(self) -> int:
        """Parameters of one expert, routed or shared: gate, up and down, with their biases."""
        return self.expert_matrix_params + self.expert_bias_params

    @property
    def shared_params(self) -> int:
        """Parameters of the shared experts of one MoE layer, all of them."""
        return self.shared_experts * self.params_per_expert

    @property
    def dense_params(self) -> int:
        """Parameters of one dense layer's MLP: gate, up and down."""
        return 3 * self.hidden_size * self.dense_size

    @property
    def router_params(self) -> int:
        """Parameters of one MoE layer's router."""
        return self.num_experts * (self.hidden_size + (1 if self.has_router_bias else 0))

    @property
    def key_width(self) -> int:
        """Width of a head's query and key: a query takes twice as many FLOPs of a key it sees."""
        return self.head_dim

    @property
    def value_width(self) -> int:
        """Width of a head's value: a query takes twice as many FLOPs of a value it weighs."""
        return self.latent.value_dim if self.latent else self.head_dim

    @property
    def absorbed_key_width(self) -> int:
        """Width of a head's query and key where the latent itself is attended to.

        With a latent, attention is computed in one of two forms that give the same: as the model
        defines it, keys and values of every cached token made from its latent first (`key_width`,
        `value_width`, and `expansion_params` for each token seen), which prefills do; or with that
        projection absorbed into queries and outputs, so that all heads attend to the cached latent
        as to one key and value head, which decodes do. A row's own projections take two FLOPs per
        value of `projection_params` in either form: absorbed, a query goes through the keys' half
        of the projection and an output through the values'. Without a latent both forms are one.
        """
        return self.latent.cached if self.latent else self.head_dim

    @property
    def absorbed_value_width(self) -> int:
        """Width of a head's value where the latent itself is attended to."""
        return self.latent.kv_rank if self.latent else self.head_dim

    @property
    def expansion_params(self) -> int:
        """Parameters of one layer's projection from the latent to keys and values; 0 without one.

        They are part of `projection_params`, which counts them for the rows of a pass. A cached
        token whose keys and values are made anew takes two FLOPs of each on top.
        """
        return self.latent.up_params(self.num_heads) if self.latent else 0

    @property
    def projection_params(self) -> int:
        """Parameters of the matrices of one layer's attention; a row takes two FLOPs of each."""
        if self.latent:
            return self.latent.projection_params(hidden=self.hidden_size, heads=self.num_heads)
        heads = 2 * (self.num_heads + self.num_kv_heads)
        return heads * self.head_dim * self.hidden_size

    @property
    def attention_params(self) -> int:
        """Parameters of one layer's attention: projections, biases, norms within and sinks."""
        queries = self.num_heads * self.head_dim
        keys = self.num_kv_heads * self.head_dim
        norms = 0
        if self.latent:
            norms = self.latent.norm_params
        elif self.has_qk_norm:
            norms = queries + keys if self.has_full_qk_norm else 2 * self.head_dim
        return (
            self.projection_params
            + (queries + 2 * keys + self.hidden_size if self.attention_bias else 0)
            + norms
            + (self.num_heads if self.has_sinks else 0)
        )

    @property
    def total_params(self) -> int:
        """All parameters; a tied embedding counts once."""
        every = 2 * self.hidden_size + self.attention_params
        moe = self.router_params + self.num_experts * self.params_per_expert + self.shared_params
        embeddings = (1 if self.tied_embeddings else 2) * self.vocab_size * self.hidden_size
        layers = (
            self.num_layers * every + self.dense_layers * self.dense_params + self.moe_layers * moe
        )
        return embeddings + layers + self.hidden_size

    @property
    def kv_values(self) -> int:
        """Values that one token leaves in one layer's cache: keys and values, or the latent."""
        return self.latent.cached if self.latent else 2 * self.num_kv_heads * self.head_dim

    def kv_bytes_per_token(self, bytes_per_value: int) -> int:
        """Return the bytes of one token's keys and values in all layers, windows disregarded."""
        return self.num_layers * self.kv_values * bytes_per_value


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


def _rope(keys: Keys, family: Family) -> Rope:
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


def _yarn(keys: Keys, rope: Keys) -> Yarn:
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


def _attention_factor(rope: Keys, factor: float) -> float:
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
