"""The whole of `lpbench tune` in Triton's interpreter, and a run that takes what it found."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lpbench.bench.engine import Engine
from lpbench.bench.experiment import resolve
from lpbench.executors.torch_engine.graphs import Work
from lpbench.executors.torch_engine.tile_cache import FILE, TileKey
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision
from tests.arms import single_thread
from tests.bench.tiny import tiny_spec
from tests.cli.command import OK, call

ENGINE = "lpbench.executors.torch_engine"


class Scripted:
    """A stopwatch for which every candidate is faster than those before."""

    def __init__(self, device: torch.device) -> None:
        """Begin with the shipped tiles."""
        del device
        self._ready = 0

    def ready(self, work: Work) -> Callable[[], float]:
        """Do the shipped tiles' work: that of a candidate is what was checked, layer by layer."""
        if not self._ready:
            work()
        self._ready += 1
        return partial(float, 1 / self._ready)


@pytest.fixture
def _gpu_of_the_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have a CPU pass for a GPU where only Triton's kernels run on it."""

    def key(shape: ModelShape, precision: Precision, device: str) -> TileKey:
        del device
        return TileKey(
            device="interpreter",
            capability=(9, 0),
            hidden_size=shape.hidden_size,
            expert_size=shape.expert_size,
            num_experts=shape.num_experts,
            top_k=shape.top_k,
            dtype=precision.name,
            triton="0",
        )

    monkeypatch.setenv("LPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"{ENGINE}.choice._check_triton", lambda *_: None)
    monkeypatch.setattr(f"{ENGINE}.device.shared_bytes", lambda _: 227 * 1024)
    monkeypatch.setattr(f"{ENGINE}.stopwatch.CudaStopwatch", Scripted)
    monkeypatch.setattr(TileKey, "of", key)


@pytest.mark.usefixtures("_gpu_of_the_interpreter")
def test_a_run_takes_what_was_tuned_and_says_so(tmp_path: Path) -> None:
    """Every candidate has the shipped tiles' result; the file's tiles stand in the run's facts."""
    spec = tiny_spec(tmp_path, dtype="bfloat16", kernels="triton")
    with single_thread():
        tuned = call(
            *("tune", "--model", tmp_path, "--device", "cpu", "--rows", "4,64"),
            *("--json", tmp_path / "found.json", "--no-progress"),
        )
        assert (OK, "") == (tuned.code, tuned.err)
        found = json.loads((tmp_path / "found.json").read_text())["outcomes"]
        assert [(0, [])] * 2 == [(one["not_compiled"], one["wrong"]) for one in found]
        engine = Engine(spec, resolve(spec))
        engine.load(captured=False)
    layers: Any = engine.executor._layers
    assert engine._tiles is not None
    assert engine._tiles.table is layers._kernels._table
    kernels = engine.facts["kernels"]
    assert isinstance(kernels, dict)
    tiles = kernels["tiles"]
    assert isinstance(tiles, list)
    ours = [one for one in tiles if isinstance(one, dict) and one["source"] == "tuned"]
    assert [[3, 4], [33, 64]] == [one["rows"] for one in ours]
    # The last of each list are the fastest.
    for one, theirs in zip(ours, found, strict=True):
        best = theirs["best"]
        assert best == {name: one[name] for name in ("block_rows", "gate_up", "down")}
    assert (tmp_path / "cache" / FILE).exists()
