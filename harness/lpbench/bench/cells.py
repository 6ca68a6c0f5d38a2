"""The folder of a sweep: which cells are complete, which failed, which are under way.

Owns: what lies where in it, and who may work in it.
Must not know: how a cell is run, what is made of its record.

    suite.json         the suite, its hash, its cells and what each comes to
    cells/ID/          complete runs alone, each as a command of its own would have left it
    failed/ID/         failure.json with the reason, and what the run left
    running/           runs under way; a complete one that a kill left is kept, the rest is not
    sweep.lock         held by the process that works here, and free when that is gone

A run is written in running/ and moved whole, so what stands in cells/ and failed/ stands for good.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from lpbench import __version__
from lpbench.bench.suite import Cell, Suite, plain, shown
from lpbench.errors import InputError, NotWrittenError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore, check_writable, read_record, write_atomically

_SUITE, _LOCK, _FAILURE = "suite.json", "sweep.lock", "failure.json"


class _Fields(dict[str, object]):
    """A JSON object that has every key."""

    def __missing__(self, key: str) -> None:
        return None


class CellStore:
    """Where the cells of one sweep are kept.

    Attributes:
        folder: of the sweep.
        caution: what to know of the folder; None where there is nothing.
    """

    def __init__(self, folder: Path, *, caution: str | None) -> None:
        """Use a folder that `open_cells` has claimed."""
        self.folder = folder
        self.caution = caution
        self._complete = folder / "cells"
        self._failed = folder / "failed"
        self._running = folder / "running"

    def is_complete(self, cell: Cell) -> bool:
        """Return whether a cell has run to its end."""
        return (self._complete / cell.id).exists()

    def record(self, cell: Cell) -> Record | None:
        """Return the record of a cell that is complete; None for another.

        Raises:
            InputError: it is damaged.
        """
        return read_record(self._complete / cell.id) if self.is_complete(cell) else None

    def failure(self, cell: Cell) -> str | None:
        """Return why a cell failed; None for one that did not.

        Raises:
            InputError: that is damaged.
        """
        path = self._failed / cell.id / _FAILURE
        return str(_read(path)["reason"]) if path.parent.exists() else None

    def begin(self, cell: Cell) -> Path:
        """Return a folder for a run of the cell; it is nobody else's, nor a past run's."""
        return self._running / f"{cell.id}.{secrets.token_hex(4)}"

    def keep(self, cell: Cell, run: Path) -> None:
        """Take over a complete run.

        Raises:
            NotWrittenError: the disk is full, or the like.
        """
        _move(run, self._complete / cell.id)

    def set_apart(self, cell: Cell, run: Path, *, reason: str) -> None:
        """Take over a run that failed, or never began.

        Raises:
            NotWrittenError: the disk is full, or the like.
        """
        _make_folder(run)
        text = to_json({"cell": cell.id, "reason": reason}, indent=1).decode()
        write_atomically(run / _FAILURE, f"{text}\n")
        _move(run, self._failed / cell.id)

    def forget_failure(self, cell: Cell) -> None:
        """Have a cell that failed be one that did not run."""
        shutil.rmtree(self._failed / cell.id, ignore_errors=True)

    def tidy(self, suite: Suite) -> None:
        """Keep what a process that is gone has completed, and remove the rest of its work."""
        cells = {cell.id: cell for cell in suite.cells}
        for run in self._running.glob("*"):
            cell = cells.get(run.name.rpartition(".")[0])
            with suppress(InputError):  # no record: it had not begun
                if cell and not self.is_complete(cell) and read_record(run).status == "complete":
                    self.keep(cell, run)
        shutil.rmtree(self._running, ignore_errors=True)


@contextmanager
def open_cells(
    folder: Path, suite: Suite, resolved: Mapping[str, Mapping[str, JsonValue]]
) -> Iterator[CellStore]:
    """Claim a folder for a suite: a new one, or the one in which the suite was begun.

    Args:
        folder: of the sweep.
        suite: its cells.
        resolved: by cell that can run, what it runs on.

    Raises:
        InputError: the folder is something else's or another suite's, cells ran on something that
            has changed since, or another sweep is at work in it.
        NotWrittenError: the disk is full, or the like.
    """
    _refuse_foreign(folder)
    _make_folder(folder)
    with _locked(folder / _LOCK) as caution:
        path = folder / _SUITE
        if path.exists():
            known = _read(path)
            _refuse_other(folder, suite, known)
            _refuse_changed(folder, resolved, known)
            if new := _new(resolved, known):
                write_atomically(path, _to_json(suite, {**_before(known), **new}))
        else:
            write_atomically(path, _to_json(suite, resolved))
        store = CellStore(folder, caution=caution)
        store.tidy(suite)
        yield store


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something and is no sweep's, or cannot be written."""
    if (folder / _SUITE).exists():
        check_writable(folder / _SUITE)
        return
    with suppress(OSError):
        names = {path.name for path in folder.iterdir()}
        if names and all(name == _LOCK or name.startswith(f".{_SUITE}.") for name in names):
            return  # a sweep that was killed at its very start
    RunStore(output=folder, json=None)


@contextmanager
def _locked(path: Path) -> Iterator[str | None]:
    """Hold a lock that ends with this process, even where it is killed.

    Where the file system has none, say so instead.
    """
    try:
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise NotWrittenError(f"{path} could not be written: {error.strerror}") from error
    caution = None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        msg = f"--output {path.parent}: another sweep is at work in it; wait, or name another"
        raise InputError(msg) from None
    except OSError as error:
        caution = (
            f"{path.parent} cannot be locked ({error.strerror}): see to it that no other sweep "
            "works in it"
        )
    try:
        yield caution
    finally:
        os.close(file)


def _refuse_other(folder: Path, suite: Suite, known: _Fields) -> None:
    """Refuse a folder in which another suite was begun, or this one by another lpbench."""
    if known["hash"] != suite.hash:
        msg = (
            f"--output {folder} holds suite {known['name']!r} of hash {str(known['hash'])[:12]}, "
            f"this is {suite.name!r} of {suite.hash[:12]}; name another folder"
        )
        raise InputError(msg)
    if known["lpbench_version"] != __version__:
        msg = (
            f"--output {folder} was begun by lpbench {known['lpbench_version']}, this is "
            f"{__version__}; name another folder"
        )
        raise InputError(msg)


def _before(known: _Fields) -> dict[str, Any]:
    """Return what the cells came to when the sweep began, by id."""
    return before if isinstance(before := known["resolved"], dict) else {}


def _new(
    resolved: Mapping[str, Mapping[str, JsonValue]], known: _Fields
) -> dict[str, Mapping[str, JsonValue]]:
    """Return what cells come to that can run now and were refused when the sweep began."""
    before = _before(known)
    return {name: now for name, now in resolved.items() if not isinstance(before.get(name), dict)}


def _refuse_changed(
    folder: Path, resolved: Mapping[str, Mapping[str, JsonValue]], known: _Fields
) -> None:
    """Refuse a folder whose suite comes to something else now: a file it names was edited."""
    before = _before(known)
    for name, now in resolved.items():
        then = before.get(name)
        if not isinstance(then, dict):
            continue  # it was refused then
        for key in (key for key, value in now.items() if then.get(key) != value):
            msg = (
                f"--output {folder}: {key} of cell {name} is no longer what it was when the sweep "
                "began; name another folder"
            )
            raise InputError(msg)


def _read(path: Path) -> _Fields:
    """Read a JSON object of the sweep's.

    Raises:
        InputError: it is not there, or is something else.
    """
    try:
        return _Fields(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not as a sweep leaves it: {error}") from None


def _to_json(suite: Suite, resolved: Mapping[str, Mapping[str, JsonValue]]) -> str:
    cells = [
        {
            "cell": cell.id,
            "point": dict(cell.point),
            "spec": {key: shown(value) for key, value in asdict(cell.spec).items()},
        }
        for cell in suite.cells
    ]
    document = {
        "lpbench_version": __version__,
        "name": suite.name,
        "description": suite.description,
        "command": suite.command,
        "hash": suite.hash,
        "cells": cells,
        "resolved": {name: dict(one) for name, one in resolved.items()},
    }
    return json.dumps(plain(document), indent=1) + "\n"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWrittenError(f"{folder} could not be made: {error.strerror}") from error


def _move(run: Path, target: Path) -> None:
    _make_folder(target.parent)
    try:
        run.replace(target)
    except OSError as error:
        raise NotWrittenError(f"{target} could not be written: {error.strerror}") from error
