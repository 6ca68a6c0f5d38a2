"""`lpbench tune` where no GPU is: what it refuses, and how findings look."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lpbench.bench.tune import Tuning
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, Tile
from lpbench.executors.torch_engine.tile_cache import TileKey
from lpbench.executors.torch_engine.tuning import Outcome
from tests.cli.command import BAD_INPUT, OK, UNAVAILABLE, CommandLine, contents, one_line

TILE = Tile(columns=128, inner=128, warps=8, stages=3, group_rows=4)
TILES = ExpertTiles(block_rows=128, gate_up=TILE, down=replace(TILE, columns=256, tma=False))
OUTCOME = Outcome(
    rows=8192,
    shipped=TILES,
    best=TILES,
    shipped_ms=12.5,
    best_ms=10.0,
    noise=0.004,
    wins=True,
    candidates=20,
    not_compiled=2,
    wrong=(),
)
STAYS = replace(OUTCOME, rows=1, wins=False, wrong=(TILES,), not_compiled=1)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have the cache lie in the test's folder, and no GPU be there."""
    monkeypatch.setenv("LPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_it_needs_a_gpu(lpbench: CommandLine, tmp_path: Path) -> None:
    """Exit 77 and one line, and no file is made; a CPU is none."""
    for device, says in (("cuda", "'cuda' is not there"), ("cpu", "needs a CUDA device")):
        result = lpbench("tune", "--device", device)
        assert (UNAVAILABLE, "") == (result.code, result.out)
        assert says in one_line(result.err)
    assert {} == contents(tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--rows", "3"), "--rows 3 is no power of two; accepted: 1, 2, 4 and so on to 8192"),
        (("--rows", "16384"), "--rows 16384 is out of range; accepted: 1 to 8192"),
        (("--rows", "many"), "--rows 'many' is no list"),
        (("--dtype", "float32"), "known: bfloat16, mxfp4"),
        (("--dtype", "mxfp4"), "use --dtype bfloat16"),
        (("--model", "qwen3-30b"), "did you mean 'qwen3-30b-a3b'"),
        (("--model", "mixtral-8x7b"), "modelled only"),
        (("--device", "tpu"), "cpu, cuda"),
        (("--json", "missing/found.json"), "cannot be written"),
    ],
    ids=" ".join,
)
def test_bad_input(
    lpbench: CommandLine, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    """One line, exit code 2, and nothing is made."""
    result = lpbench("tune", *options)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert {} == contents(tmp_path)


def test_findings(lpbench: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Gains and kept tiles in 80 columns, what was left out, where the file is; no path in JSON."""
    key = TileKey(
        device="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        hidden_size=2048,
        expert_size=768,
        num_experts=128,
        top_k=8,
        dtype="bfloat16",
        triton="3.6.0",
    )
    found = Tuning(
        model="qwen3-30b-a3b", key=key, path="/cache/expert-tiles.json", outcomes=(STAYS, OUTCOME)
    )
    monkeypatch.setattr("lpbench.bench.tune.run_tuning", lambda *_, **__: found)
    result = lpbench("tune", "--json", tmp_path / "found.json")
    assert OK == result.code, result.err
    lines = result.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    for row in (
        "1 12500.0 10000.0 20.0% 0.4% shipped",
        "8192 12500.0 10000.0 20.0% 0.4% 128: 128 x 128 w8 s3 g4 TMA",
        "down: 256 x 128 w8 s3 g4",
    ):
        assert row in [" ".join(line.split()) for line in lines]
    text = " ".join(result.out.split())
    assert "40 candidates were timed; 3 could not be compiled or launched here." in text
    assert "Warning: 1 rows: refused for a wrong result: 128: 128 x 128" in text
    assert "Written to /cache/expert-tiles.json" in text
    document = json.loads((tmp_path / "found.json").read_text())
    assert ["lpbench_version", "model", "key", "outcomes"] == list(document)
    assert [False, True] == [one["wins"] for one in document["outcomes"]]
    assert "/cache" not in (tmp_path / "found.json").read_text()
