"""A tiny model's config.json and the runs of it: weights and routing are drawn."""

import json
from pathlib import Path
from typing import Any

from lpbench.bench.spec import RunSpec

CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "head_dim": 16,
    "hidden_size": 32,
    "max_position_embeddings": 256,
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
    "num_attention_heads": 2,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-6,
    "vocab_size": 64,
}


def tiny_spec(folder: Path, **changes: object) -> RunSpec:
    """Write the config into a folder and return a small run of it on drawn weights."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    options: dict[str, Any] = {
        "model": str(folder),
        "load_format": "dummy",
        "device": "cpu",
        "num_prompts": 3,
        "input_len": 20,
        "output_len": 5,
    }
    return RunSpec(**{**options, **changes})
