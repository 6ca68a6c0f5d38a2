"""A small tuning on a GPU, and a run that takes what it found."""

import json
from pathlib import Path

import pytest

from lpbench.executors.torch_engine.tile_cache import FILE
from lpbench.record.store import read_record
from tests.cli.command import OK, call

pytestmark = pytest.mark.gpu


def test_a_run_takes_what_was_tuned(
    monkeypatch: pytest.MonkeyPatch, results: Path, tmp_path: Path
) -> None:
    """Candidates compile and compute the same; what wins, and that alone, stands in the record."""
    monkeypatch.setenv("LPBENCH_CACHE", str(tmp_path))
    findings, run = results / "tune-builtin-moe.json", tmp_path / "run"
    tuned = call("tune", "--rows", "1,256", "--json", findings, "--no-progress")
    assert OK == tuned.code, tuned.err
    found = json.loads(findings.read_text(encoding="utf-8"))["outcomes"]
    for one in found:
        assert [] == one["wrong"]
        assert one["candidates"] > one["not_compiled"]
        assert 0 < one["shipped_ms"] < 10
    assert (tmp_path / FILE).exists()
    sizes = ("--batch", "1", "--prompt", "256", "--context-len", "64", "--repeats", "4")
    ran = call("bench-engine", "--kernels", "triton", *sizes, "--no-progress", "--output", run)
    assert OK == ran.code, ran.err
    kernels = read_record(run).environment["kernels"]
    assert isinstance(kernels, dict)
    assert None is kernels["tiles_ignored"]
    tiles = kernels["tiles"]
    assert isinstance(tiles, list)
    ours = [one for one in tiles if isinstance(one, dict) and one["source"] == "tuned"]
    wins = [one["best"] for one in found if one["wins"]]
    assert wins == [{key: one[key] for key in ("block_rows", "gate_up", "down")} for one in ours]
