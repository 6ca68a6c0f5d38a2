import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.checkpoints import Geometry, save_gpt_oss, save_qwen3_moe
from tests.cli.command import CommandLine, call

TINY: Geometry = {
    "layers": 4,
    "hidden": 32,
    "heads": 2,
    "kv_heads": 1,
    "head_dim": 16,
    "experts": 8,
    "top_k": 2,
    "expert_size": 32,
    "vocab": 64,
    "max_positions": 4096,
}


@pytest.fixture(scope="session")
def lpbench() -> CommandLine:
    """Return `lpbench ...`, run in this process."""
    return call


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny Qwen3-MoE checkpoint; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "tiny-qwen"
    save_qwen3_moe(folder, **TINY)
    return folder


@pytest.fixture(scope="session")
def gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny GPT-OSS checkpoint; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt-oss"
    save_gpt_oss(folder, **TINY)
    return folder


@pytest.fixture(scope="session")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny Qwen3-MoE checkpoint in several files; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sharded"
    geometry: Geometry = {**TINY, "max_shard_size": "100KB"}
    save_qwen3_moe(folder, **geometry)
    return folder


@pytest.fixture(scope="session")
def speaking(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny Qwen3-MoE checkpoint with a tokenizer of words; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "tiny-speaking"
    shutil.copytree(qwen, folder)
    words = {"[UNK]": 0, "layered": 1, "prefill": 2}
    tokenizer = Tokenizer(WordLevel(words, unk_token=next(iter(words))))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
