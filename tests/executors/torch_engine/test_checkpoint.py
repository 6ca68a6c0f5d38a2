import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from lpbench.errors import InputError
from lpbench.executors.torch_engine.checkpoint import load_weights
from lpbench.executors.torch_engine.kernels.mxfp4 import dequantize_mxfp4
from lpbench.executors.torch_engine.weights import LayerWeights, ModelWeights
from lpbench.shape.model import ModelShape, read_config
from tests.checkpoints import (
    change_config,
    save_gpt_oss,
    save_gpt_oss_mxfp4,
    save_qwen3_moe,
)

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LAYER = "model.layers.1."


def load(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> ModelWeights:
    """Load a folder as its own config.json describes it."""
    shape = ModelShape.from_config(read_config(folder), name="tiny")
    return load_weights(folder, shape, dtype=dtype, device="cpu", progress=progress)


def expected_layer(model: PreTrainedModel, number: int) -> LayerWeights:
    """Return a layer's parameters in the engine's layout, by hand."""
    prefix = f"model.layers.{number}."
    state = {
        name.removeprefix(prefix): value
        for name, value in model.state_dict().items()
        if name.startswith(prefix)
    }
    has_bias = "self_attn.q_proj.bias" in state
    common = {
        "input_norm": state["input_layernorm.weight"],
        "post_norm": state["post_attention_layernorm.weight"],
        "qkv": torch.cat([state[f"self_attn.{name}_proj.weight"] for name in "qkv"]),
        "qkv_bias": torch.cat([state[f"self_attn.{name}_proj.bias"] for name in "qkv"])
        if has_bias
        else None,
        "out": state["self_attn.o_proj.weight"],
        "out_bias": state.get("self_attn.o_proj.bias"),
    }
    gate_up, down = state["mlp.experts.gate_up_proj"], state["mlp.experts.down_proj"]
    if model.config.model_type == "qwen3_moe":
        return LayerWeights(
            **common,
            q_norm=state["self_attn.q_norm.weight"],
            k_norm=state["self_attn.k_norm.weight"],
            router=state["mlp.gate.weight"],
            gate_up=gate_up.mT,
            down=down.mT,
        )
    gate_up_bias = state["mlp.experts.gate_up_proj_bias"]
    return LayerWeights(
        **common,
        sinks=state["self_attn.sinks"],
        router=state["mlp.router.weight"],
        router_bias=state["mlp.router.bias"],
        gate_up=torch.cat([gate_up[:, :, 0::2], gate_up[:, :, 1::2]], dim=2),
        gate_up_bias=torch.cat([gate_up_bias[:, 0::2], gate_up_bias[:, 1::2]], dim=1),
        down=down,
        down_bias=state["mlp.experts.down_proj_bias"],
    )


def assert_equal(
    model: PreTrainedModel, weights: ModelWeights, *, dtype: torch.dtype = torch.float32
) -> None:
    """Hold loaded weights to the model's parameters, bit for bit and contiguous."""
    assert torch.equal(model.model.embed_tokens.weight.to(dtype), weights.embed)
    assert torch.equal(model.model.norm.weight.to(dtype), weights.norm)
    assert torch.equal(model.lm_head.weight.to(dtype), weights.head)
    assert model.config.num_hidden_layers == len(weights.layers)
    for number, layer in enumerate(weights.layers):
        expected = expected_layer(model, number)
        for field in fields(LayerWeights):
            want, got = getattr(expected, field.name), getattr(layer, field.name)
            if want is None:
                assert got is None, field.name
                continue
            assert dtype == got.dtype
            assert got.is_contiguous(), field.name
            assert torch.equal(want.to(dtype), got), field.name


def refusal(folder: Path) -> str:
    """Return the line that refuses to load a folder, without the part that names it."""
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"checkpoint '{folder}': ")


def change_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    """Rewrite the single file with tensors set, or removed where they are None."""
    path = folder / SINGLE
    state: dict[str, torch.Tensor | None] = {**load_file(path), **changes}
    save_file({name: value for name, value in state.items() if value is not None}, path)


@pytest.mark.parametrize("save", [save_qwen3_moe, save_gpt_oss, save_gpt_oss_mxfp4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loaded_weights_are_the_models_own(
    tmp_path: Path, save: Callable[[Path], PreTrainedModel], dtype: torch.dtype
) -> None:
    """Both families, and GPT-OSS as it is released, load equal to transformers' parameters."""
    model = save(tmp_path)
    assert_equal(model, load(tmp_path, dtype=dtype), dtype=dtype)


@pytest.mark.parametrize("save", [save_qwen3_moe, save_gpt_oss])
def test_shards_load_like_a_single_file(
    tmp_path: Path, save: Callable[..., PreTrainedModel]
) -> None:
    """The index leads to every shard."""
    model = save(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert not (tmp_path / SINGLE).exists()
    assert_equal(model, load(tmp_path))


@pytest.mark.parametrize(
    ("save", "geometry"),
    [
        (save_qwen3_moe, {"attention_bias": True, "window": 16}),
        (save_qwen3_moe, {"tied": True}),
        (save_qwen3_moe, {"heads": 6, "kv_heads": 1, "head_dim": 8, "hidden": 40}),
        (save_gpt_oss, {"attention_bias": False, "hidden": 40, "expert_size": 24}),
        (save_gpt_oss, {"experts": 4, "top_k": 4, "layers": 1}),
    ],
)
def test_other_geometries_load_too(
    tmp_path: Path, save: Callable[..., PreTrainedModel], geometry: dict[str, int]
) -> None:
    """Optional tensors and odd widths follow config.json."""
    model = save(tmp_path, **geometry)
    assert_equal(model, load(tmp_path))


def test_stacked_experts_of_qwen3_load(tmp_path: Path) -> None:
    """A checkpoint that stores the fused parameters of transformers as they are is accepted."""
    model = save_qwen3_moe(tmp_path)
    save_file(model.state_dict(), tmp_path / SINGLE)
    assert_equal(model, load(tmp_path))


def test_a_checkpoint_in_bfloat16_is_widened(tmp_path: Path) -> None:
    """What is stored narrow is computed with in the run's dtype."""
    model = save_gpt_oss(tmp_path)
    model.bfloat16().save_pretrained(tmp_path)
    assert_equal(model.float(), load(tmp_path))


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    """Where config.json ties them there is one tensor, whether or not a copy is stored."""
    save_qwen3_moe(tmp_path, tied=True)
    weights = load(tmp_path)
    assert weights.embed is weights.head
    change_tensors(tmp_path, **{"lm_head.weight": weights.embed.clone()})
    assert torch.equal(weights.embed, load(tmp_path).head)


def test_a_tied_head_that_differs_is_refused(tmp_path: Path) -> None:
    """Neither does transformers tie what differs, nor do we guess which is meant."""
    save_qwen3_moe(tmp_path, tied=True)
    change_tensors(tmp_path, **{"lm_head.weight": torch.zeros(128, 64)})
    expected = (
        "tensor 'lm_head.weight' differs from the embedding that it is tied to; "
        "set tie_word_embeddings to false in config.json"
    )
    assert expected == refusal(tmp_path)


def test_progress_counts_tensors(tmp_path: Path) -> None:
    """Every tensor is reported once, out of their number."""
    save_gpt_oss(tmp_path, layers=1)
    seen: list[tuple[int, int]] = []
    load(tmp_path, progress=lambda done, total: seen.append((done, total)))
    number = len(load_file(tmp_path / SINGLE))
    assert [(done, number) for done in range(1, number + 1)] == seen


def test_every_mxfp4_byte_and_scale_decodes_as_in_transformers() -> None:
    """All 256 bytes under all 255 scales agree bit for bit, subnormal and infinite ones too."""
    blocks = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 255, 16, 16)
    scales = torch.arange(255, dtype=torch.uint8).view(1, 255, 1).expand(1, 255, 16)
    ours = dequantize_mxfp4(blocks, scales)
    for dtype, bits in ((torch.float32, torch.int32), (torch.bfloat16, torch.int16)):
        oracle = convert_moe_packed_tensors(blocks, scales, dtype=dtype).mT.contiguous()
        assert torch.equal(oracle.view(bits), ours.to(dtype).view(bits))


def test_the_last_mxfp4_scale_is_not_a_number() -> None:
    """Scale 255 is NaN in the format's definition, not one more power of two."""
    blocks = torch.zeros(1, 16, dtype=torch.uint8)
    assert dequantize_mxfp4(blocks, torch.tensor([255], dtype=torch.uint8)).isnan().all()


def test_mxfp4_takes_the_low_half_of_a_byte_first() -> None:
    """Byte 0x71 at scale 128 is 2 x 0.5, then 2 x 6; bit 3 is the sign."""
    blocks = torch.tensor([[0x71, 0xFA, *[0] * 14]], dtype=torch.uint8)
    expected = [1.0, 12.0, -2.0, -12.0, *[0.0] * 28]
    assert expected == dequantize_mxfp4(blocks, torch.tensor([128], dtype=torch.uint8)).tolist()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ([f"{LAYER}self_attn.q_norm.weight"], f"tensor '{LAYER}self_attn.q_norm.weight' is"),
        (["lm_head.weight"], "tensor 'lm_head.weight' is"),
        (
            [f"{LAYER}mlp.experts.7.up_proj.weight", f"{LAYER}mlp.experts.7.down_proj.weight"],
            f"tensor '{LAYER}mlp.experts.7.up_proj.weight' (and 1 more) is",
        ),
    ],
)
def test_a_missing_tensor_is_named(tmp_path: Path, removed: list[str], message: str) -> None:
    """The first missing tensor is named, with the number of others."""
    save_qwen3_moe(tmp_path)
    change_tensors(tmp_path, **dict.fromkeys(removed))
    assert f"{message} missing; is the download complete?" == refusal(tmp_path)


def test_a_missing_mxfp4_scale_is_named(tmp_path: Path) -> None:
    """Both halves of a packed tensor must be there."""
    save_gpt_oss_mxfp4(tmp_path)
    name = f"{LAYER}mlp.experts.down_proj_scales"
    change_tensors(tmp_path, **{name: None})
    assert f"tensor '{name}' is missing; is the download complete?" == refusal(tmp_path)


@pytest.mark.parametrize(
    ("save", "name"),
    [
        (save_qwen3_moe, "model.layers.3.input_layernorm.weight"),
        (save_qwen3_moe, f"{LAYER}self_attn.q_proj.bias"),
        (save_qwen3_moe, f"{LAYER}mlp.experts.8.up_proj.weight"),
        (save_gpt_oss, f"{LAYER}mlp.experts.down_proj_blocks"),
    ],
)
def test_an_unknown_tensor_is_named(
    tmp_path: Path, save: Callable[[Path], PreTrainedModel], name: str
) -> None:
    """A tensor that the model of config.json would ignore is no accident to pass over."""
    save(tmp_path)
    change_tensors(tmp_path, **{name: torch.zeros(4)})
    assert f"tensor '{name}' is not part of the model in config.json" == refusal(tmp_path)


@pytest.mark.parametrize(
    ("save", "name", "dims", "expected"),
    [
        (save_qwen3_moe, f"{LAYER}mlp.experts.0.down_proj.weight", (96, 64), [64, 96]),
        (save_qwen3_moe, "model.norm.weight", (1, 64), [64]),
        (save_gpt_oss, f"{LAYER}mlp.experts.gate_up_proj", (8, 192, 64), [8, 64, 192]),
        (save_gpt_oss_mxfp4, f"{LAYER}mlp.router.bias", (), [8]),
    ],
)
def test_wrong_dimensions_are_named(
    tmp_path: Path,
    save: Callable[[Path], PreTrainedModel],
    name: str,
    dims: tuple[int, ...],
    expected: list[int],
) -> None:
    """The refusal gives the dimensions found and those that config.json asks for."""
    save(tmp_path)
    change_tensors(tmp_path, **{name: torch.zeros(dims)})
    message = f"tensor '{name}' has dimensions {list(dims)}; config.json asks for {expected}"
    assert message == refusal(tmp_path)


@pytest.mark.parametrize(
    ("save", "name", "value", "message"),
    [
        (
            save_qwen3_moe,
            "model.norm.weight",
            torch.zeros(64, dtype=torch.int32),
            "has type I32; accepted: BF16, F16, F32, F64",
        ),
        (
            save_qwen3_moe,
            "model.norm.weight",
            torch.zeros(64).to(torch.float8_e4m3fn),
            "has type F8_E4M3; accepted: BF16, F16, F32, F64",
        ),
        (
            save_gpt_oss_mxfp4,
            f"{LAYER}mlp.experts.down_proj_scales",
            torch.zeros(8, 64, 3),
            "has type F32; accepted: U8",
        ),
    ],
)
def test_a_wrong_type_is_named(
    tmp_path: Path,
    save: Callable[[Path], PreTrainedModel],
    name: str,
    value: torch.Tensor,
    message: str,
) -> None:
    """Weights must be of a floating type, packed ones bytes."""
    save(tmp_path)
    change_tensors(tmp_path, **{name: value})
    assert f"tensor '{name}' {message}" == refusal(tmp_path)


def test_mxfp4_of_an_impossible_width_is_refused(tmp_path: Path) -> None:
    """Rows that are no whole number of scales cannot be in that format."""
    save_gpt_oss_mxfp4(tmp_path)
    change_config(tmp_path, hidden_size=72)
    expected = (
        "tensor 'model.layers.0.mlp.experts.gate_up_proj' is mxfp4, but config.json gives its rows "
        "72 values; accepted: multiples of 32"
    )
    assert expected == refusal(tmp_path)


@pytest.mark.parametrize(
    ("save", "quantization", "message"),
    [
        (save_qwen3_moe, {"quant_method": "fp8"}, "quantisation 'fp8' of a qwen3_moe model"),
        (save_qwen3_moe, {"quant_method": "mxfp4"}, "quantisation 'mxfp4' of a qwen3_moe model"),
        (save_gpt_oss, {"bits": 4}, "quantisation None of a gpt_oss model"),
        (save_gpt_oss, "awq", "quantisation 'awq' of a gpt_oss model"),
    ],
)
def test_an_unknown_quantisation_is_refused(
    tmp_path: Path, save: Callable[[Path], PreTrainedModel], quantization: object, message: str
) -> None:
    """config.json's quantisation is believed before any tensor is looked at."""
    save(tmp_path)
    change_config(tmp_path, quantization_config=quantization)
    expected = f"{message} is not supported; accepted: none, or mxfp4 for gpt_oss"
    assert expected == refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    """A download that broke off is noticed from its header, wherever it broke."""
    save_qwen3_moe(tmp_path)
    path = tmp_path / SINGLE
    path.write_bytes(path.read_bytes()[:kept])
    line = refusal(tmp_path)
    assert line.startswith(f"'{path}' is no readable safetensors file: ")
    assert line.endswith("; download it again")


def test_a_corrupt_header_is_refused(tmp_path: Path) -> None:
    """Bytes that are no header are not believed."""
    save_qwen3_moe(tmp_path)
    path = tmp_path / SINGLE
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert refusal(tmp_path).startswith(f"'{path}' is no readable safetensors file: ")


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    """A checkpoint in another format, or a config alone, gets the way out."""
    save_qwen3_moe(tmp_path)
    (tmp_path / SINGLE).rename(tmp_path / "pytorch_model.bin")
    expected = (
        f"model folder '{tmp_path}' has neither {SINGLE} nor {INDEX}; "
        "give a checkpoint in safetensors format or use --load-format dummy"
    )
    assert expected == refusal(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """The index promises files that must be there."""
    save_qwen3_moe(tmp_path, max_shard_size="100KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    expected = (
        f"'{tmp_path / INDEX}' names shard '{shard.name}', which is not there; download it again"
    )
    assert expected == refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON: Expecting property name"),
        ("[]", "must hold an object weight_map of tensor to shard file"),
        ('{"weight_map": [1]}', "must hold an object weight_map of tensor to shard file"),
        ('{"weight_map": {"a": 1}}', "must hold an object weight_map of tensor to shard file"),
    ],
)
def test_a_broken_index_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """An index must be JSON and map tensors to files."""
    save_qwen3_moe(tmp_path, max_shard_size="100KB")
    (tmp_path / INDEX).write_text(content)
    assert refusal(tmp_path).startswith(f"'{tmp_path / INDEX}' {message}")


def test_a_tensor_that_the_index_leaves_out_of_its_shard_is_missing(tmp_path: Path) -> None:
    """What counts is what the files hold, not what the index says."""
    save_qwen3_moe(tmp_path, max_shard_size="100KB")
    index = json.loads((tmp_path / INDEX).read_text())
    shard = tmp_path / index["weight_map"]["model.norm.weight"]
    state = load_file(shard)
    del state["model.norm.weight"]
    save_file(state, shard)
    expected = "tensor 'model.norm.weight' is missing; is the download complete?"
    assert expected == refusal(tmp_path)
