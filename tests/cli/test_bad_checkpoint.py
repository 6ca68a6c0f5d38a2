"""What is no checkpoint, or a broken one, is refused in one line, and nothing is left behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import change_config
from tests.cli.command import CommandLine, read_json, refused

SMALL = ("--input-len", "8", "--output-len", "2", "--num-prompts", "2", "--device", "cpu")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GATE = "model.layers.1.mlp.gate.weight"
NESTED = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def model(qwen: Path, tmp_path: Path) -> Path:
    """Return a whole checkpoint to break."""
    return Path(shutil.copytree(qwen, tmp_path / "model"))


@pytest.fixture
def shards(sharded: Path, tmp_path: Path) -> Path:
    """Return a whole checkpoint in several files to break."""
    return Path(shutil.copytree(sharded, tmp_path / "model"))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Write the weights again with a change."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_a_missing_folder(lpbench: CommandLine, tmp_path: Path) -> None:
    """A path that is not there is called so."""
    line = refused(lpbench, tmp_path, "--model", tmp_path / "none", *SMALL)
    assert "does not exist" in line


def test_an_unknown_name(lpbench: CommandLine, tmp_path: Path) -> None:
    """A name that is no path either is answered with the nearest and the known ones."""
    line = refused(lpbench, tmp_path, "--model", "qwen3-30b", *SMALL)
    assert "did you mean 'qwen3-30b-a3b'" in line
    assert "gpt-oss-20b" in line


def test_a_file(lpbench: CommandLine, tmp_path: Path) -> None:
    """A file is no checkpoint folder."""
    file = tmp_path / "model.bin"
    file.write_bytes(b"weights")
    assert "is not a folder" in refused(lpbench, tmp_path, "--model", file, *SMALL)


def test_an_empty_folder(lpbench: CommandLine, tmp_path: Path) -> None:
    """A folder without config.json is no checkpoint."""
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "has no config.json" in refused(lpbench, tmp_path, "--model", folder, *SMALL)


@pytest.mark.parametrize(
    "name", ["m" * 300, "/" + "m" * 300, "m/" * 3000], ids=["name", "path", "parents"]
)
def test_a_name_longer_than_the_system_allows(
    lpbench: CommandLine, tmp_path: Path, name: str
) -> None:
    """A name that no file can have is no model."""
    refused(lpbench, tmp_path, "--model", name, *SMALL)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "'llama'"),
        ({"model_type": "jamba", "num_experts": 8}, "'jamba'"),
        ({"model_type": "qwen3_moe", "architectures": ["Elsewhere"]}, "Qwen3MoeForCausalLM"),
        ({"model_type": "qwen3_moe"}, "config.json has no "),
        ({"model_type": None}, "unknown model_type"),
        ({"model_type": ["qwen3_moe"]}, "unknown model_type"),
        ({}, "unknown model_type"),
    ],
)
def test_another_architecture(
    lpbench: CommandLine, tmp_path: Path, config: dict[str, object], says: str
) -> None:
    """A config.json of another model names what it found."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    assert says in refused(lpbench, tmp_path, "--model", tmp_path / "model", *SMALL)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe{", b"[]", b"null", b'{"num_hidden_layers": NaN', NESTED.encode()],
    ids=["empty", "cut", "bytes", "list", "null", "nan", "nested"],
)
def test_a_config_that_is_no_json_object(
    lpbench: CommandLine, tmp_path: Path, content: bytes
) -> None:
    """A config.json that is not JSON, or no object, is named."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes(content)
    assert "config.json" in refused(lpbench, tmp_path, "--model", tmp_path / "model", *SMALL)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 10**30),
        ("hidden_size", "32"),
        ("num_experts_per_tok", 9),
        ("vocab_size", 1.5),
        ("rms_norm_eps", -1),
        ("num_key_value_heads", 3),
        ("head_dim", 10**400),
        ("rope_parameters", {"rope_type": "linear"}),
    ],
    ids=lambda value: str(value)[:24],
)
def test_an_impossible_geometry(
    lpbench: CommandLine, tmp_path: Path, model: Path, key: str, value: object
) -> None:
    """A key with a value that no model can have is refused."""
    change_config(model, **{key: value})
    refused(lpbench, tmp_path, "--model", model, *SMALL)


def test_a_folder_without_weights(lpbench: CommandLine, tmp_path: Path, model: Path) -> None:
    """A config.json alone needs --load-format dummy, and the refusal says so."""
    (model / WEIGHTS).unlink()
    assert "--load-format dummy" in refused(lpbench, tmp_path, "--model", model, *SMALL)


@pytest.mark.parametrize("kept", [0, 4, 8, 1000, -1])
def test_a_truncated_file(lpbench: CommandLine, tmp_path: Path, model: Path, kept: int) -> None:
    """A safetensors file that ends early is named, wherever it ends."""
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[:kept])
    assert WEIGHTS in refused(lpbench, tmp_path, "--model", model, *SMALL)


@pytest.mark.parametrize(
    "content",
    [b"\xa5" * 4096, (10**6).to_bytes(8, "little") + b"{" * 10**6, b"\x02" + b"\0" * 7 + b"{}"],
    ids=["noise", "braces", "no tensors"],
)
def test_a_corrupt_file(lpbench: CommandLine, tmp_path: Path, model: Path, content: bytes) -> None:
    """A file that is no safetensors file, or an empty one, is refused."""
    (model / WEIGHTS).write_bytes(content)
    refused(lpbench, tmp_path, "--model", model, *SMALL)


def test_a_missing_shard(lpbench: CommandLine, tmp_path: Path, shards: Path) -> None:
    """The shard that the index names and the folder lacks is named."""
    shard = max(shards.glob("*.safetensors"))
    shard.unlink()
    assert shard.name in refused(lpbench, tmp_path, "--model", shards, *SMALL)


def test_a_shard_named_with_a_null_byte(lpbench: CommandLine, tmp_path: Path, shards: Path) -> None:
    """A name that no file can have is a missing shard."""
    index = read_json(shards / INDEX)
    index["weight_map"][GATE] = "a\0b"
    (shards / INDEX).write_text(json.dumps(index))
    assert "shard" in refused(lpbench, tmp_path, "--model", shards, *SMALL)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"weight_map": 1}', b"\xff", NESTED.encode()],
    ids=["empty", "list", "number", "bytes", "nested"],
)
def test_a_broken_index(lpbench: CommandLine, tmp_path: Path, shards: Path, content: bytes) -> None:
    """An index that is not JSON, or names no shards, is named."""
    (shards / INDEX).write_bytes(content)
    assert INDEX in refused(lpbench, tmp_path, "--model", shards, *SMALL)


def test_a_missing_tensor(lpbench: CommandLine, tmp_path: Path, model: Path) -> None:
    """The tensor is named."""
    change_tensors(model, lambda tensors: tensors.pop(GATE))
    assert GATE in refused(lpbench, tmp_path, "--model", model, *SMALL)


def test_an_extra_tensor(lpbench: CommandLine, tmp_path: Path, model: Path) -> None:
    """The tensor is named."""
    change_tensors(model, lambda tensors: tensors.update({"extra.weight": torch.zeros(1)}))
    assert "extra.weight" in refused(lpbench, tmp_path, "--model", model, *SMALL)


def test_a_wrongly_shaped_tensor(lpbench: CommandLine, tmp_path: Path, model: Path) -> None:
    """The tensor is named with what it has and what it should have."""
    change_tensors(model, lambda tensors: tensors.update({GATE: torch.zeros(8, 31)}))
    line = refused(lpbench, tmp_path, "--model", model, *SMALL)
    assert all(part in line for part in (GATE, "[8, 31]", "[8, 32]"))


def test_a_tensor_of_another_type(lpbench: CommandLine, tmp_path: Path, model: Path) -> None:
    """Whole numbers are no weights."""
    change_tensors(
        model, lambda tensors: tensors.update({GATE: torch.zeros(8, 32, dtype=torch.int32)})
    )
    assert GATE in refused(lpbench, tmp_path, "--model", model, *SMALL)


def test_weights_that_are_not_finite(lpbench: CommandLine, tmp_path: Path, model: Path) -> None:
    """Weights that turn every logit into not-a-number are no result."""
    change_tensors(
        model, lambda tensors: tensors.update({"model.norm.weight": torch.full((32,), torch.nan)})
    )
    result = lpbench("traffic", "--model", model, *SMALL, "--output", tmp_path / "run")
    assert 0 != result.code, result.out


def test_a_catalogue_model_larger_than_the_machine(
    lpbench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what the model needs and what the machine has, before anything is loaded."""
    device = "lpbench.executors.torch_engine.device.available_bytes"
    monkeypatch.setattr(device, lambda _: 20_000_000_000)
    monkeypatch.setattr("lpbench.bench.engine.Engine.load", lambda _: pytest.fail("loaded"))
    model = ("--model", "qwen3-30b-a3b", "--load-format", "dummy", "--device", "cpu")
    line = refused(lpbench, tmp_path, *model)
    assert all(part in line for part in ("qwen3-30b-a3b", "122.", "18.00 GB"))
