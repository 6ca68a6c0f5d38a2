"""Small geometries of both families, with sizes that are no multiple of any block."""

from dataclasses import replace

from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape


def tiny(name: str) -> ModelShape:
    """Return a catalogue model of one layer, made small: three of twelve experts, one key head."""
    shape, _ = find_shape(name)
    return replace(
        shape,
        num_layers=1,
        windows=(0,),
        hidden_size=48,
        expert_size=40,
        num_heads=6,
        num_kv_heads=1,
        head_dim=16,
        num_experts=12,
        top_k=3,
    )


QWEN, GPT_OSS = tiny("qwen3-30b-a3b"), tiny("gpt-oss-20b")
BOTH = (QWEN, GPT_OSS)
