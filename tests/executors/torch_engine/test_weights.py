import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from lpbench.executors.torch_engine import weights as weights_module
from lpbench.executors.torch_engine.weights import (
    LayerWeights,
    ModelWeights,
    dummy_weights,
    layer_dims,
    model_dims,
)
from lpbench.shape.model import ModelShape

MODELS = Path(__file__).parents[3] / "workloads" / "models"


def small(name: str, *, tied: bool = False) -> ModelShape:
    """Return a catalogue model with its features but few and narrow layers."""
    shape = ModelShape.from_config(json.loads((MODELS / f"{name}.json").read_text()), name=name)
    return replace(
        shape,
        num_layers=2,
        windows=shape.windows[:2],
        hidden_size=96,
        num_heads=8,
        num_kv_heads=2,
        head_dim=16,
        num_experts=8,
        expert_size=64,
        vocab_size=200,
        tied_embeddings=tied,
    )


def tensors(weights: ModelWeights) -> dict[str, torch.Tensor]:
    """Return all tensors by name; the head only where it is one of its own."""
    found = {"embed": weights.embed, "norm": weights.norm, "head": weights.head}
    if weights.head is weights.embed:
        del found["head"]
    for number, layer in enumerate(weights.layers):
        for field in fields(LayerWeights):
            value = getattr(layer, field.name)
            if value is not None:
                found[f"{number}.{field.name}"] = value
    return found


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "gpt-oss-20b"])
@pytest.mark.parametrize("tied", [False, True])
def test_dummy_weights_are_the_parameters_of_the_shape(name: str, *, tied: bool) -> None:
    """Every tensor has its declared dimensions, and together they are all parameters."""
    shape = small(name, tied=tied)
    found = tensors(dummy_weights(shape, dtype=torch.float32, device="cpu", seed=0))
    expected = dict(model_dims(shape))
    for number in range(shape.num_layers):
        expected |= {f"{number}.{field}": dims for field, dims in layer_dims(shape).items()}
    assert expected == {key: tuple(value.shape) for key, value in found.items()}
    assert shape.total_params == sum(value.numel() for value in found.values())


def test_dummy_weights_repeat_with_the_seed() -> None:
    """The same seed gives the same values, another one others."""
    shape = small("gpt-oss-20b")
    first, same, other = (
        dummy_weights(shape, dtype=torch.float32, device="cpu", seed=seed) for seed in (1, 1, 2)
    )
    for name, value in tensors(first).items():
        assert torch.equal(value, tensors(same)[name])
        assert not torch.equal(value, tensors(other)[name])


def test_dummy_weights_of_all_dtypes_agree_up_to_rounding() -> None:
    """bfloat16 weights are the float32 ones, rounded."""
    shape = small("qwen3-30b-a3b")
    wide = tensors(dummy_weights(shape, dtype=torch.float32, device="cpu", seed=3))
    narrow = tensors(dummy_weights(shape, dtype=torch.bfloat16, device="cpu", seed=3))
    for name, value in narrow.items():
        assert torch.equal(wide[name].bfloat16(), value)


@pytest.mark.parametrize("at_a_time", [16, 1 << 10])
def test_dummy_weights_drawn_in_slices_are_the_same(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """However little is drawn at a time, the values are those of one draw a tensor."""
    shape = replace(small("qwen3-30b-a3b"), num_heads=4)
    at_once = tensors(dummy_weights(shape, dtype=torch.bfloat16, device="cpu", seed=3))
    monkeypatch.setattr(weights_module, "DRAW_VALUES", at_a_time)
    sliced = tensors(dummy_weights(shape, dtype=torch.bfloat16, device="cpu", seed=3))
    for name, value in at_once.items():
        assert torch.equal(value, sliced[name]), name


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "gpt-oss-20b"])
def test_dummy_weights_keep_activations_of_order_one(name: str) -> None:
    """A normed row keeps its size through every matrix, and norms lie around 1."""
    weights = dummy_weights(small(name), dtype=torch.float32, device="cpu", seed=0)
    generator = torch.Generator().manual_seed(9)
    for field, value in tensors(weights).items():
        if field.endswith("norm"):
            assert pytest.approx(1, abs=0.2) == value.mean().item()
        elif field.endswith(("bias", "sinks")):
            assert value.abs().max() < 0.6
        elif field == "embed":
            assert pytest.approx(1, abs=0.1) == value.std().item()
        else:
            by_input = value if field.endswith(("gate_up", "down")) else value.mT
            rows = torch.randn(64, by_input.shape[-2], generator=generator)
            assert pytest.approx(1, abs=0.2) == (rows @ by_input).std().item()


def test_a_tied_head_is_the_embedding_and_gives_logits_of_order_one() -> None:
    """Tied models share one tensor, scaled for its use as head."""
    shape = small("qwen3-30b-a3b", tied=True)
    weights = dummy_weights(shape, dtype=torch.float32, device="cpu", seed=0)
    assert weights.embed is weights.head
    rows = torch.randn(64, 96, generator=torch.Generator().manual_seed(9))
    assert pytest.approx(1, abs=0.2) == (rows @ weights.head.mT).std().item()
