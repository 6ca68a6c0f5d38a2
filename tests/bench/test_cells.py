"""The folder of a sweep: whose it is, who works in it, what stays of a process that is gone."""

import errno
import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from lpbench.bench.cells import CellStore, open_cells
from lpbench.bench.suite import Suite, read_suite
from lpbench.errors import InputError, NotWrittenError
from lpbench.testing.records import example_record
from tests.bench.suites import BASE, GRID, write_suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Return six cells."""
    return read_suite(write_suite(tmp_path))


def run_in(folder: Path, *, status: str = "complete") -> Path:
    """Leave a run's record in a folder."""
    folder.mkdir(parents=True)
    record = example_record().model_copy(update={"status": status})
    (folder / "run.json").write_text(record.to_json(), encoding="utf-8")
    return folder


def said_of(folder: Path, suite: Suite, resolved: dict[str, dict[str, str]] | None = None) -> str:
    """Return the line with which a folder is refused."""
    with pytest.raises(InputError) as caught, open_cells(folder, suite, resolved or {}):
        pass
    return str(caught.value)


def test_a_cell_is_complete_or_failed_or_neither(tmp_path: Path, suite: Suite) -> None:
    """Runs move whole; a failure has its reason, until it is forgotten."""
    first, second, third = suite.cells[:3]
    with open_cells(tmp_path / "s", suite, {}) as store:
        store.keep(first, run_in(store.begin(first)))
        store.set_apart(second, store.begin(second), reason="broken")
        assert [True, False, False] == [store.is_complete(one) for one in (first, second, third)]
        assert [None, "broken", None] == [store.failure(one) for one in (first, second, third)]
        assert example_record() == store.record(first)
        assert store.record(third) is None
        store.forget_failure(second)
        assert store.failure(second) is None


def test_a_failed_run_keeps_what_it_left(tmp_path: Path, suite: Suite) -> None:
    """Its record, marked failed, stands beside the reason."""
    cell = suite.cells[0]
    with open_cells(tmp_path / "s", suite, {}) as store:
        store.set_apart(cell, run_in(store.begin(cell), status="failed"), reason="broken")
    kept = tmp_path / "s" / "failed" / cell.id
    assert ["failure.json", "run.json"] == sorted(path.name for path in kept.iterdir())


def test_what_a_kill_leaves(tmp_path: Path, suite: Suite) -> None:
    """A run that was complete is kept, once; one half done or of no cell is thrown away."""
    first, second, third = suite.cells[:3]
    with open_cells(tmp_path / "s", suite, {}) as store:
        run_in(store.begin(first))
        run_in(store.begin(first))
        run_in(store.begin(second), status="failed")
        store.begin(third).mkdir()
        run_in(tmp_path / "s" / "running" / "stranger.0000")
    with open_cells(tmp_path / "s", suite, {}) as store:
        assert [True, False, False] == [store.is_complete(one) for one in (first, second, third)]
    assert ["cells", "suite.json", "sweep.lock"] == sorted(
        path.name for path in (tmp_path / "s").iterdir()
    )
    assert [first.id] == [path.name for path in (tmp_path / "s" / "cells").iterdir()]


def test_two_sweeps_in_one_folder(tmp_path: Path, suite: Suite) -> None:
    """The second is refused while the first is at work, and welcome afterwards."""
    with open_cells(tmp_path / "s", suite, {}):
        assert "another sweep is at work in it" in said_of(tmp_path / "s", suite)
    with open_cells(tmp_path / "s", suite, {}) as store:
        assert store.caution is None


def test_a_file_system_without_locks(
    tmp_path: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep goes on and says what to see to."""

    def flock(file: int, how: int) -> NoReturn:
        del file, how
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with open_cells(tmp_path / "s", suite, {}) as store:
        assert "cannot be locked (No locks available)" in (store.caution or "")


def test_another_suite(tmp_path: Path, suite: Suite) -> None:
    """Refused with both names and the start of both hashes; the same under a new name is not."""
    with open_cells(tmp_path / "s", suite, {}):
        pass
    other = read_suite(write_suite(tmp_path, BASE + GRID.replace("4.5", "5"), name="other.toml"))
    line = said_of(tmp_path / "s", other)
    for part in ("'tiny'", suite.hash[:12], "'other'", other.hash[:12], "name another folder"):
        assert part in line
    with open_cells(tmp_path / "s", read_suite(write_suite(tmp_path, name="same.toml")), {}):
        pass


def test_another_lpbench(tmp_path: Path, suite: Suite) -> None:
    """One summary is of one version."""
    with open_cells(tmp_path / "s", suite, {}):
        pass
    path = tmp_path / "s" / "suite.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {"lpbench_version": "0.0.1"}), encoding="utf-8")
    assert "was begun by lpbench 0.0.1" in said_of(tmp_path / "s", suite)


def test_a_file_that_was_edited(tmp_path: Path, suite: Suite) -> None:
    """A cell that comes to something else than when the sweep began is refused with the key."""
    cell = suite.cells[0].id
    with open_cells(tmp_path / "s", suite, {cell: {"workload_hash": "a", "model": "m"}}):
        pass
    line = said_of(tmp_path / "s", suite, {cell: {"workload_hash": "b", "model": "m"}})
    assert f"workload_hash of cell {cell} is no longer what it was" in line
    with open_cells(tmp_path / "s", suite, {suite.cells[1].id: {"model": "m"}}):
        pass  # one was refused before, the other is now


@pytest.mark.parametrize("text", ["{", "[1]", "3", "{}", '{"hash": []}'])
def test_a_damaged_suite_json(tmp_path: Path, suite: Suite, text: str) -> None:
    """Refused in a line, whatever stands in it."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "suite.json").write_text(text, encoding="utf-8")
    assert "\n" not in said_of(tmp_path / "s", suite)


def a_file(path: Path) -> None:
    """Make a file of something else's."""
    path.write_text("x", encoding="utf-8")


def a_full_folder(path: Path) -> None:
    """Make a folder of something else's."""
    path.mkdir()
    a_file(path / "mine.txt")


@pytest.mark.parametrize("make", [a_file, a_full_folder])
def test_what_is_something_elses(
    tmp_path: Path, suite: Suite, make: Callable[[Path], None]
) -> None:
    """It stays as it was."""
    make(tmp_path / "s")
    assert "is not an empty folder; name a new one" in said_of(tmp_path / "s", suite)
    assert not list(tmp_path.glob("s/sweep*"))


def test_a_sweep_that_was_killed_at_its_very_start(tmp_path: Path, suite: Suite) -> None:
    """A lock and half a file are all there is, and nobody else's."""
    a_full = tmp_path / "s"
    a_full.mkdir()
    a_file(a_full / "sweep.lock")
    a_file(a_full / ".suite.json.x7")
    with open_cells(a_full, suite, {}) as store:
        assert isinstance(store, CellStore)


def test_a_full_disk(tmp_path: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot be moved is still to be run."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    cell = suite.cells[0]
    with open_cells(tmp_path / "s", suite, {}) as store:
        run = run_in(store.begin(cell), status="failed")
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(NotWrittenError, match="No space left"):
            store.keep(cell, run)
        assert not store.is_complete(cell)
