"""Tiny random checkpoints of both families, written by transformers, the tests' oracle.

Every tensor is random and none is trivial: norms differ from 1, biases and sinks from 0, and the
routers' logits spread enough that tokens are routed to different experts.
"""

import json
from pathlib import Path
from typing import TypedDict, Unpack

import torch
from safetensors.torch import save_file
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.integrations.mxfp4 import convert_moe_packed_tensors


class Geometry(TypedDict, total=False):
    """What a test may choose; the rest is `DEFAULTS`."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    top_k: int
    expert_size: int
    vocab: int
    window: int
    max_positions: int
    seed: int
    attention_bias: bool
    tied: bool
    max_shard_size: str


DEFAULTS: Geometry = {
    "layers": 3,
    "hidden": 64,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 32,
    "experts": 8,
    "top_k": 2,
    "expert_size": 96,
    "vocab": 128,
    "window": 0,
    "max_positions": 1024,
    "seed": 0,
    "attention_bias": False,
    "tied": False,
    "max_shard_size": "1GB",
}

GPT_OSS_DEFAULTS: Geometry = {
    **DEFAULTS,
    "window": 8,
    "max_positions": 131_072,
    "attention_bias": True,
}


def save_qwen3_moe(folder: Path, **geometry: Unpack[Geometry]) -> PreTrainedModel:
    """Write a Qwen3-MoE checkpoint, one tensor per expert, and return the float32 model.

    A `window` other than 0 holds for all layers.
    """
    chosen: Geometry = {**DEFAULTS, **geometry}
    model = Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **_common(chosen),
            num_experts=chosen["experts"],
            moe_intermediate_size=chosen["expert_size"],
            norm_topk_prob=True,
            use_sliding_window=chosen["window"] > 0,
            sliding_window=chosen["window"] or None,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        )
    )
    return _save(model, folder, chosen)


def save_gpt_oss(folder: Path, **geometry: Unpack[Geometry]) -> PreTrainedModel:
    """Write a GPT-OSS checkpoint, experts stacked and unquantised, and return the float32 model.

    Layers with a window of `window` and full ones alternate, YaRN is that of the release.
    """
    chosen: Geometry = {**GPT_OSS_DEFAULTS, **geometry}
    return _save(_gpt_oss(chosen), folder, chosen)


def save_gpt_oss_mxfp4(folder: Path, **geometry: Unpack[Geometry]) -> PreTrainedModel:
    """Write a GPT-OSS checkpoint as it is released, experts in mxfp4 and the rest in bfloat16.

    Returns:
        the model in float32, its experts decoded by transformers.
    """
    chosen: Geometry = {**GPT_OSS_DEFAULTS, **geometry}
    model = _gpt_oss(chosen)
    generator = torch.Generator().manual_seed(chosen["seed"])
    _randomise(model, generator)
    for parameter in model.parameters():  # not the buffers: rotary frequencies stay as they are
        parameter.data = parameter.bfloat16().float()
    stored = {name: value.bfloat16() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, inputs, rows = parameter.shape
            groups = (experts, rows, inputs // 32)
            blocks = torch.randint(0, 256, (*groups, 16), generator=generator, dtype=torch.uint8)
            scales = torch.randint(120, 124, groups, generator=generator, dtype=torch.uint8)
            parameter.data = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
            del stored[name]
            stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    model.config.save_pretrained(folder)
    save_file(stored, folder / "model.safetensors")
    change_config(folder, quantization_config={"quant_method": "mxfp4"})
    return model


def change_config(folder: Path, **changes: object) -> None:
    """Set keys of a folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _gpt_oss(chosen: Geometry) -> PreTrainedModel:
    return GptOssForCausalLM(
        GptOssConfig(
            **_common(chosen),
            num_local_experts=chosen["experts"],
            intermediate_size=chosen["expert_size"],
            sliding_window=chosen["window"],
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 150_000.0,
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 4096,
                "truncate": False,
            },
        )
    )


def _common(chosen: Geometry) -> dict[str, int | bool]:
    return {
        "num_hidden_layers": chosen["layers"],
        "hidden_size": chosen["hidden"],
        "num_attention_heads": chosen["heads"],
        "num_key_value_heads": chosen["kv_heads"],
        "head_dim": chosen["head_dim"],
        "num_experts_per_tok": chosen["top_k"],
        "vocab_size": chosen["vocab"],
        "max_position_embeddings": chosen["max_positions"],
        "attention_bias": chosen["attention_bias"],
        "tie_word_embeddings": chosen["tied"],
    }


def _save(model: PreTrainedModel, folder: Path, chosen: Geometry) -> PreTrainedModel:
    _randomise(model, torch.Generator().manual_seed(chosen["seed"]))
    model.save_pretrained(folder, max_shard_size=chosen["max_shard_size"])
    return model


def _randomise(model: PreTrainedModel, generator: torch.Generator) -> None:
    """Fill every parameter so that activations stay of order 1."""
    model.eval().requires_grad_(requires_grad=False)
    for name, parameter in model.named_parameters():
        parameter.normal_(*_distribution(name, parameter), generator=generator)


def _distribution(name: str, parameter: torch.Tensor) -> tuple[float, float]:
    """Return mean and standard deviation."""
    if "norm" in name:
        return 1.0, 0.2
    if name.endswith("sinks"):
        return 0.0, 1.0
    if name.endswith("bias"):
        return 0.0, 0.2
    if "embed" in name:
        return 0.0, 1.0
    is_gpt_oss_expert = name.endswith(("experts.gate_up_proj", "experts.down_proj"))
    inputs = parameter.shape[1 if is_gpt_oss_expert else -1]
    is_router = name.endswith(("mlp.gate.weight", "router.weight"))
    return 0.0, (2.0 if is_router else 1.0) * inputs**-0.5
