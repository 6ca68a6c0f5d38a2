"""A suite carried out: every cell once, in parallel, whatever ends the sweep in between.

Owns: which cells can run and which are left, their processes, what becomes of each.
Must not know: where a cell is kept, how a summary is shown.

    check every cell -> claim the folder -> run what is left -> rows
"""

import re
import traceback
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from lpbench.bench.cells import CellStore
from lpbench.bench.experiment import resolve
from lpbench.bench.instruments import gpu_counters
from lpbench.bench.keys import LATENCY, REGIME
from lpbench.bench.latency import run_latency
from lpbench.bench.listener import Listener, Silent
from lpbench.bench.pool import pick_workers, run_apart, run_jobs
from lpbench.bench.regime import run_regime
from lpbench.bench.spec import RunSpec
from lpbench.bench.suite import Cell, Suite
from lpbench.bench.summary import Row, rows_of, rows_without
from lpbench.bench.traffic import run_traffic
from lpbench.bench.virtual import VirtualMachine
from lpbench.errors import (
    InputError,
    LpbenchError,
    MisfitError,
    NotWrittenError,
    UnavailableError,
)
from lpbench.record.store import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is known of the cells before any runs, by their ids.

    Attributes:
        resolved: of those that can run, what they run on: digests of weights, workload and the
            like.
        refused: of the others, why not.
    """

    resolved: Mapping[str, Mapping[str, JsonValue]]
    refused: Mapping[str, str]


def cells_at_a_time(suite: Suite, asked: int | None) -> int:
    """Return how many cells run at a time: as asked for, else one a core.

    Raises:
        InputError: out of range, or more than one where the machine's times are measured.
    """
    workers = pick_workers(asked)
    if _is_modelled(suite):
        return workers
    if asked not in (None, 1):
        msg = (
            f"--workers {asked}: cells of the torch executor run one at a time, as they would "
            "slow each other down; accepted: 1"
        )
        raise InputError(msg)
    return 1


def check_cells(suite: Suite, listener: Listener) -> Checked:
    """Find out which cells can run and what they come to.

    Refused are options that are good by themselves and do not go together, such as a model and a
    device that it does not fit, and devices that are not there.

    Raises:
        InputError: anything else is wrong with a cell, such as an unknown name; or all cells are
            refused.
        UnavailableError: all are, the first for its device.
    """
    resolved: dict[str, dict[str, JsonValue]] = {}
    refused: dict[str, LpbenchError] = {}
    listener.stage("check cells", len(suite.cells))
    for cell in suite.cells:
        try:
            _check(cell)
            resolved[cell.id] = _resolved(cell.spec)
        except (MisfitError, UnavailableError) as error:
            refused[cell.id] = error
        except InputError as error:
            raise InputError(f"suite {suite.name!r}, cell {cell.id}: {error}") from None
        listener.advance(1)
    if not resolved:
        first = refused[suite.cells[0].id]
        raise type(first)(f"no cell of suite {suite.name!r} can run; the first: {first}")
    return Checked(
        resolved=resolved,
        refused={name: without_folders(str(error)) for name, error in refused.items()},
    )


class Sweep:
    """A suite in its folder."""

    def __init__(self, suite: Suite, store: CellStore, refused: Mapping[str, str]) -> None:
        """Take up the sweep where the folder is; `refused` are reasons by cell."""
        self._suite = suite
        self._store = store
        self._refused = refused
        self._num_complete = sum(map(store.is_complete, suite.cells))

    @property
    def said(self) -> str | None:
        """What the folder held already; None for nothing."""
        if not self._num_complete:
            return None
        return f"{self._num_complete} of {len(self._suite.cells)} cells are complete already"

    def run(self, *, workers: int, retry_failed: bool, listener: Listener) -> None:
        """Run the cells that are left, those that failed only if asked to.

        Raises:
            NotWrittenError: the disk is full, or the like; what is complete stays.
            RunError: the system killed a process.
        """
        jobs = []
        for cell in self._suite.cells:
            if retry_failed:
                self._store.forget_failure(cell)
            if self._is_left(cell):
                jobs.append(_Job(cell=cell, folder=self._store.begin(cell)))
        listener.stage("cells", len(self._suite.cells))
        listener.advance(len(self._suite.cells) - len(jobs))
        if _is_modelled(self._suite):
            ended = run_jobs(_carry_out, jobs, workers=workers)
        else:
            ended = run_apart(_carry_out, jobs)
        try:
            with closing(ended):
                for job, reason in ended:
                    if isinstance(reason, LpbenchError):
                        raise reason
                    if reason is None:
                        self._store.keep(job.cell, job.folder)
                    else:
                        self._store.set_apart(job.cell, job.folder, reason=reason)
                    listener.advance(1)
        finally:
            self._store.tidy(self._suite)

    def rows(self) -> tuple[Row, ...]:
        """Return what became of every cell so far, in the order of the grid."""
        return tuple(row for cell in self._suite.cells for row in self._rows(cell))

    def _is_left(self, cell: Cell) -> bool:
        is_over = self._store.is_complete(cell) or self._store.failure(cell) is not None
        return not is_over and cell.id not in self._refused

    def _rows(self, cell: Cell) -> Sequence[Row]:
        if record := self._store.record(cell):
            return rows_of(cell, record)
        if (failure := self._store.failure(cell)) is not None:
            return rows_without(cell, "failed", failure)
        if cell.id in self._refused:
            return rows_without(cell, "refused", self._refused[cell.id])
        return rows_without(cell, "pending")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    cell: Cell
    folder: Path


def _carry_out(job: _Job) -> str | None:
    """Run a cell; return the reason if it failed.

    Raises:
        NotWrittenError: the disk is full, or the like: no fault of the cell's.
    """
    try:
        _run(job.cell, job.folder)
    except NotWrittenError:
        raise
    except LpbenchError as error:
        return without_folders(str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cells go on
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        return without_folders(f"{type(error).__name__}: {error} ({where})")
    return None


def _run(cell: Cell, folder: Path) -> None:
    def open_store() -> RunStore:
        return RunStore(output=folder, json=None)

    if cell.command == LATENCY:
        run_latency(cell.spec, open_store, Silent())
    elif cell.command == REGIME:
        run_regime(cell.spec, open_store, Silent())
    else:
        run_traffic(cell.spec, open_store, Silent(), gpu_counters())


class _IsGoodError(Exception):
    """A run has got as far as its store: nothing is wrong with what was asked for."""


def _check(cell: Cell) -> None:
    """Begin a run and end it before it writes or loads anything.

    Raises:
        InputError: the input cannot run.
        UnavailableError: the device is not there.
    """

    def open_store() -> RunStore:
        raise _IsGoodError

    run = {LATENCY: run_latency, REGIME: run_regime}.get(cell.command, run_traffic)
    with suppress(_IsGoodError):
        run(cell.spec, open_store, Silent())


def _resolved(spec: RunSpec) -> dict[str, JsonValue]:
    """Return what a cell runs on, without what the machine's memory decides.

    The rate that a search looks for, and how many requests it then takes, are left out.
    """
    if spec.load is not None and spec.load.find_rate:
        spec = replace(spec, load=replace(spec.load, find_rate=False, duration_s=None))
    experiment = resolve(spec)
    if spec.executor == "roofline":
        return dict(VirtualMachine(spec, experiment).spec)
    return dict(experiment.identity)


def _is_modelled(suite: Suite) -> bool:
    return all(cell.spec.executor == "roofline" for cell in suite.cells)


def without_folders(text: str) -> str:
    """Return a message as results may show it: one line, of absolute paths the last part."""
    return re.sub(r"(?<![\w./])/(?:[^\s/:'\"]+/)+(?=[^\s/])", "", " ".join(text.split()))
