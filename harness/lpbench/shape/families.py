"""The families of models: what each says under keys of its own, or not at all.

Owns: the model types, their architectures, the meaning and the defaults of their own keys.
Must not know: what follows from a geometry; which of the families an engine computes.

What a key means, and what its absence means, is what the published model code (transformers,
models/qwen3_moe, gpt_oss, mixtral, olmoe and deepseek_v3) makes of it. Keys that change only what
is computed, and no shape, are not read where no engine computes the family: OLMoE's `clip_qkv`,
DeepSeek's scoring function and the groups its router chooses from (`n_group`, `topk_group`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as brief

from lpbench.shape.keys import Keys
from lpbench.shape.latent import Latent


@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """What the families say under different keys.

    Attributes:
        head_dim: width of a query head.
        expert_size: inner width of an expert.
        windows: per layer, the tokens a query sees; 0 is all.
        norm_topk: whether the weights of the chosen experts sum to 1.
        attention_bias: whether attention's projections have biases where the config is silent.
        swiglu_limit: clamp on an expert's gate and up; infinite for none.
        latent: the latent that attention works on; None for key and value heads.
        dense_layers: layers at the start with one MLP instead of experts.
        dense_size: inner width of that MLP; 0 where there is none.
        shared_experts: experts of a layer that every token passes.
    """

    head_dim: int
    expert_size: int
    windows: tuple[int, ...]
    norm_topk: bool
    attention_bias: bool = False
    swiglu_limit: float = math.inf
    latent: Latent | None = None
    dense_layers: int = 0
    dense_size: int = 0
    shared_experts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One model type.

    Attributes:
        architecture: the class that its config.json names.
        read: reads what is special about it.
        theta: base of the rotary frequencies when none is given.
        rope: the rotary embedding when none is given.
    """

    architecture: str
    read: Callable[[Keys], Special]
    theta: float
    rope: Mapping[str, object]


def find_family(keys: Keys) -> str:
    """Return the model type of a config.

    Raises:
        InputError: it is not known, or the architecture is not its own.
    """
    model_type, architectures = keys.get("model_type"), keys.get("architectures")
    known = ", ".join(FAMILIES)
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        counts = ("num_experts", "num_local_experts", "n_routed_experts")
        has_experts = any(keys.get(key) for key in counts)
        what = "" if has_experts else " (no Mixture-of-Experts model: it names no experts)"
        keys.fail(f"unknown model_type {brief(model_type)}{what}; known: {known}")
    expected = FAMILIES[model_type].architecture
    if architectures is not None and architectures != [expected]:
        keys.refuse("architectures", f"[{expected!r}] for model_type {model_type!r}")
    return model_type


def _qwen3_moe(keys: Keys) -> Special:
    why = ", as dense layers are not supported"
    keys.demand("decoder_sparse_step", accepted=1, why=why)
    keys.demand("mlp_only_layers", accepted=[], why=why)
    window = keys.integer("sliding_window") if keys.flag("use_sliding_window", default=False) else 0
    return Special(
        head_dim=_head_dim(keys),
        expert_size=keys.integer("moe_intermediate_size"),
        windows=_same_window(keys, window),
        norm_topk=keys.flag("norm_topk_prob", default=False),
    )


def _gpt_oss(keys: Keys) -> Special:
    keys.demand("swiglu_alpha", accepted=1.702)
    return Special(
        head_dim=keys.integer("head_dim"),
        expert_size=keys.integer("intermediate_size"),
        windows=_alternating_windows(keys, keys.integer("num_hidden_layers")),
        norm_topk=True,
        attention_bias=True,
        swiglu_limit=keys.number("swiglu_limit", default=7.0),
    )


def _mixtral(keys: Keys) -> Special:
    keys.demand("attention_bias", accepted=False)
    window = 0 if keys.get("sliding_window") is None else keys.integer("sliding_window")
    return Special(
        head_dim=_head_dim(keys),
        expert_size=keys.integer("intermediate_size"),
        windows=_same_window(keys, window),
        norm_topk=True,
    )


def _olmoe(keys: Keys) -> Special:
    hidden = keys.integer("hidden_size")
    return Special(
        # No key of its own: the norms of queries are as wide as the model.
        head_dim=hidden // keys.integer("num_attention_heads", most=hidden),
        expert_size=keys.integer("intermediate_size"),
        windows=_same_window(keys, 0),
        norm_topk=keys.flag("norm_topk_prob", default=False),
    )


def _deepseek_v3(keys: Keys) -> Special:
    keys.demand("attention_bias", accepted=False)
    keys.demand("moe_layer_freq", accepted=1, why=", as dense layers stand at the start only")
    latent = _latent(keys)
    layers = keys.integer("num_hidden_layers")
    dense = keys.integer("first_k_dense_replace", least=0, most=layers - 1)
    return Special(
        head_dim=latent.key_width,
        expert_size=keys.integer("moe_intermediate_size"),
        windows=_same_window(keys, 0),
        norm_topk=keys.flag("norm_topk_prob", default=True),
        latent=latent,
        dense_layers=dense,
        dense_size=keys.integer("intermediate_size") if dense else 0,
        shared_experts=keys.integer("n_shared_experts", least=0),
    )


FAMILIES: Mapping[str, Family] = {
    "qwen3_moe": Family(
        architecture="Qwen3MoeForCausalLM", read=_qwen3_moe, theta=10_000.0, rope={}
    ),
    "gpt_oss": Family(
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
    "mixtral": Family(architecture="MixtralForCausalLM", read=_mixtral, theta=1_000_000.0, rope={}),
    "olmoe": Family(architecture="OlmoeForCausalLM", read=_olmoe, theta=10_000.0, rope={}),
    "deepseek_v3": Family(
        architecture="DeepseekV3ForCausalLM", read=_deepseek_v3, theta=10_000.0, rope={}
    ),
}
"""The families by model type; what is added at the end is named last in messages."""


def _head_dim(keys: Keys) -> int:
    """Return the width of a head: its key, else hidden size over heads."""
    whole = keys.integer("hidden_size") // keys.integer("num_attention_heads")
    return keys.integer("head_dim", default=whole)


def _same_window(keys: Keys, window: int) -> tuple[int, ...]:
    """Return one window for all layers."""
    return (window,) * keys.integer("num_hidden_layers")


def _alternating_windows(keys: Keys, num_layers: int) -> tuple[int, ...]:
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


def _latent(keys: Keys) -> Latent:
    """Return DeepSeek's latent; queries are projected at once where `q_lora_rank` is null."""
    return Latent(
        query_rank=0 if keys.get("q_lora_rank") is None else keys.integer("q_lora_rank"),
        kv_rank=keys.integer("kv_lora_rank"),
        nope_dim=keys.integer("qk_nope_head_dim"),
        rope_dim=keys.integer("qk_rope_head_dim"),
        value_dim=keys.integer("v_head_dim"),
    )
