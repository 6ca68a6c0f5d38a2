"""The order of a tuning's work, what survives an interruption, and how a run takes the tiles."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from lpbench.bench.cautions import run_cautions
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import resolve
from lpbench.bench.listener import Silent
from lpbench.bench.tiles import find_tiles
from lpbench.bench.tune import choose_rows, tune_rows
from lpbench.errors import InputError
from lpbench.executors.torch_engine.graphs import Work
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.kernels.tile_table import TUNED_ROWS, TileTable
from lpbench.executors.torch_engine.tile_cache import FILE, TileKey, read_tiles, write_sizes
from lpbench.executors.torch_engine.tuning import Tuner
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS
from tests.bench.tiny import tiny_spec

CPU, GPU = torch.device("cpu"), "cuda:0"


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have torch name a GPU, and the cache lie in the test's folder."""
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    monkeypatch.setenv("LPBENCH_CACHE", str(tmp_path))


@pytest.fixture
def shape(tmp_path: Path) -> ModelShape:
    """Return a tiny model's."""
    tiny_spec(tmp_path)
    return find_shape(str(tmp_path))[0]


class EverFaster:
    """A stopwatch for which each candidate is faster than those before; it may end the tuning."""

    def __init__(self, *, interrupts: bool = False) -> None:
        """Begin with the shipped tiles."""
        self._ready = 0
        self._interrupts = interrupts

    def ready(self, work: Work) -> Callable[[], float]:
        """Do the work once."""
        work()
        if self._interrupts and self._ready:
            raise KeyboardInterrupt
        self._ready += 1
        return partial(float, 1 / self._ready)


def tune(shape: ModelShape, path: Path, clocks: list[EverFaster]) -> None:
    """Tune for one row, for two and so on, a clock each."""
    precision = PRECISIONS["bfloat16"]
    table = TileTable.of(shape, dtype=torch.bfloat16)
    tuner = Tuner(
        shape,
        precision,
        device=CPU,
        cache_bytes=0,
        kernels=lambda tiles: ReferenceKernels(shape, block=tiles.block_rows),
        refusals=(),
    )
    key = TileKey.of(shape, precision, GPU)
    found = tune_rows(
        TUNED_ROWS[: len(clocks)],
        tuner=tuner,
        table=table,
        most_shared=227 * 1024,
        has_tma=False,
        stopwatch=partial(next, iter(clocks)),
        keep=lambda size: write_sizes(path, key, (size,)),
        listener=Silent(),
    )
    assert [1] * len(clocks) == [one.wins for one in found]


def test_an_interruption_keeps_what_was_finished(shape: ModelShape, tmp_path: Path) -> None:
    """The file is whole, and holds the sizes before the one that was under way."""
    path, key = tmp_path / FILE, TileKey.of(shape, PRECISIONS["bfloat16"], GPU)
    with pytest.raises(KeyboardInterrupt):
        tune(shape, path, [EverFaster(), EverFaster(), EverFaster(interrupts=True)])
    assert [1, 2] == list(read_tiles(path, key))


def test_a_run_takes_what_was_tuned_for_it(shape: ModelShape, tmp_path: Path) -> None:
    """In its precision; another has the shipped tiles. The record has both, by rows."""
    tune(shape, tmp_path / FILE, [EverFaster()])
    found = find_tiles(shape, PRECISIONS["bfloat16"], GPU)
    tiles = found.facts["tiles"]
    assert isinstance(tiles, list)
    assert [([1, 1], "tuned"), ([2, 32], "shipped")] == [
        (one["rows"], one["source"]) for one in tiles[:2] if isinstance(one, dict)
    ]
    assert {"rows", "source", "block_rows", "gate_up", "down"} == set(tiles[0])  # type: ignore[arg-type] # a dict
    assert None is found.facts["tiles_ignored"]
    other = find_tiles(shape, PRECISIONS["float32"], GPU)
    assert ["shipped"] == [one.source for one in other.table.ranges()]


def test_a_broken_cache_ends_no_run(shape: ModelShape, tmp_path: Path) -> None:
    """The shipped tiles serve; the caution names the file, and no path of this machine."""
    (tmp_path / FILE).write_text("{")
    found = find_tiles(shape, PRECISIONS["bfloat16"], GPU)
    assert {"shipped"} == {one.source for one in found.table.ranges()}
    assert f"{FILE} is no JSON; the experts ran on shipped tiles" == found.ignored
    spec = tiny_spec(tmp_path)
    experiment = resolve(spec)
    engine = Engine(spec, experiment)
    engine.facts = {**engine.facts, "kernels": found.facts}
    said = {one.code: one.message for one in run_cautions(experiment, engine)}
    assert found.ignored == said["tiles_ignored"]


@pytest.mark.parametrize(
    ("text", "expected"), [(None, TUNED_ROWS), ("8, 1,8", (8, 1)), ("8192", (8192,))]
)
def test_rows_that_are_tuned(text: str | None, expected: tuple[int, ...]) -> None:
    """All of them, or those that were asked for, each once."""
    assert expected == choose_rows(text)


@pytest.mark.parametrize("text", ["0", "3", "16384", "x", "", "1,"])
def test_rows_that_are_not(text: str) -> None:
    """One line with the option and what is accepted."""
    with pytest.raises(InputError, match=r"--rows .*; accepted: "):
        choose_rows(text)
