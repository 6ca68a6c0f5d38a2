"""Sweeps: which cells run, which are refused, which failed, and what a second start does."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from lpbench.bench import sweep as sweeping
from lpbench.bench.cells import open_cells
from lpbench.bench.listener import Listener
from lpbench.bench.spec import RunSpec
from lpbench.bench.suite import Suite, read_suite
from lpbench.bench.summary import Row
from lpbench.bench.sweep import Sweep, cells_at_a_time, check_cells, without_folders
from lpbench.errors import (
    InputError,
    LpbenchError,
    NotWrittenError,
    RunError,
    UnavailableError,
)
from tests.bench.fakes import Quiet
from tests.bench.suites import BASE, GRID, write_suite

MISFIT = BASE.replace('model = "qwen3-30b-a3b"\n', "").replace('device = "h200"\n', "")
MODELS = 'model = ["qwen3-30b-a3b", "qwen3-235b-a22b"]\ndevice = ["h200", "rtx-4090"]'


def swept(suite: Suite, folder: Path, *, retry_failed: bool = False) -> tuple[Row, ...]:
    """Run a suite in this process and return what became of it."""
    checked = check_cells(suite, Quiet())
    with open_cells(folder, suite, checked.resolved) as store:
        sweep = Sweep(suite, store, checked.refused)
        sweep.run(workers=1, retry_failed=retry_failed, listener=Quiet())
        return sweep.rows()


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Return three small cells."""
    return read_suite(write_suite(tmp_path, BASE + GRID.replace('"chunked", ', "")))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the request rates of the cells that are run, as they begin."""
    rates: list[float] = []
    true_run = vars(sweeping)["run_latency"]

    def run(spec: RunSpec, open_store: Callable[[], object], listener: Listener) -> object:
        if open_store.__qualname__.startswith("_run"):
            assert spec.load is not None
            rates.append(spec.load.request_rate or 0)
        return true_run(spec, open_store, listener)

    monkeypatch.setattr(sweeping, "run_latency", run)
    return rates


def breaks(monkeypatch: pytest.MonkeyPatch, error: Exception, *, at: float) -> None:
    """Have runs at a rate end in an error once they have begun."""
    true_run = vars(sweeping)["run_latency"]

    def run(spec: RunSpec, open_store: Callable[[], object], listener: Listener) -> object:
        assert spec.load is not None
        if spec.load.request_rate == at:
            open_store()  # ends a check of the cell
            raise error
        return true_run(spec, open_store, listener)

    monkeypatch.setattr(sweeping, "run_latency", run)


def test_every_cell_is_run_once(suite: Suite, tmp_path: Path, ran: list[float]) -> None:
    """Three cells, three rows in the order of the grid; a second start runs none."""
    rows = swept(suite, tmp_path / "s")
    assert [1.0, 2.0, 4.5] == ran
    assert [cell.id for cell in suite.cells] == [row.cell for row in rows]
    assert {"complete"} == {row.status for row in rows}
    for row, cell in zip(rows, suite.cells, strict=True):
        assert dict(cell.point) == row.point
        assert "modelled" == row.metrics["ttft_ms_mean"].method
        assert 0 < (row.value("expert_bytes") or 0)
    assert rows == swept(suite, tmp_path / "s")
    assert 3 == len(ran)


def test_a_record_of_a_cell_is_a_runs(suite: Suite, tmp_path: Path) -> None:
    """It stands in a folder of its own with its lines, and says which command it is of."""
    swept(suite, tmp_path / "s")
    with open_cells(tmp_path / "s", suite, {}) as store:
        record = store.record(suite.cells[2])
    assert record is not None
    assert ("complete", "latency", ["layered"]) == (
        record.status,
        record.command,
        record.spec["schedules"],
    )
    expected = ["iterations.jsonl", "requests.jsonl", "run.json"]
    folder = tmp_path / "s" / "cells" / suite.cells[2].id
    assert expected == sorted(path.name for path in folder.iterdir())


def test_what_does_not_go_together_is_refused_and_the_rest_runs(tmp_path: Path) -> None:
    """Of two models and two devices one pair fits: three cells say what they lack."""
    suite = read_suite(write_suite(tmp_path, f"{MISFIT}\n[grid]\n{MODELS}"))
    rows = swept(suite, tmp_path / "s")
    expected = ["complete"] * 2 + ["refused"] * 6
    assert expected == [row.status for row in rows]
    assert all("too little" in (row.reason or "") for row in rows[2:])
    assert all(not row.metrics for row in rows[2:])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("h200", "h300"), "unknown device 'h300'"),
        (("qwen3-30b", "qwen3-31b"), "unknown model 'qwen3-31b-a3b'"),
        (("sharegpt", "sharegtp"), "unknown workload 'sharegtp' (did you mean 'sharegpt'?)"),
        (("layered", "layered:group=1"), "unknown parameter"),
        (("4.5", "0"), "--request-rate 0.0 is out of range"),
        (("[grid]", "num_warmups = -1\n[grid]"), "--num-warmups -1 is out of range"),
        (("[grid]", "duration = -1\n[grid]"), "--duration -1.0 is out of range"),
        (("[grid]", "find_rate = true\n[grid]"), "--find-rate needs an SLO"),
        (("= 4", "= 0"), "--num-prompts 0 is out of range"),
        (("roofline", "rooflin"), "unknown executor 'rooflin'"),
    ],
)
def test_what_is_wrong_by_itself_ends_the_sweep(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    """Before anything runs, in a line that names the cell."""
    suite = read_suite(write_suite(tmp_path, (BASE + GRID).replace(*change)))
    with pytest.raises(InputError) as caught:
        check_cells(suite, Quiet())
    assert says in str(caught.value)
    assert str(caught.value).startswith("suite 'tiny', cell ")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (BASE.replace("qwen3-30b-a3b", "qwen3-235b-a22b") + GRID, InputError),
        ('[base]\ndevice = "cuda:99"\nnum_prompts = 1\n[grid]\nseed = [0, 1]', UnavailableError),
    ],
)
def test_nothing_to_run(tmp_path: Path, text: str, error: type[LpbenchError]) -> None:
    """Where all cells are refused the first reason ends the sweep."""
    suite = read_suite(write_suite(tmp_path, text))
    with pytest.raises(error, match="no cell of suite 'tiny' can run; the first: "):
        check_cells(suite, Quiet())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RunError("rule 3 was broken"), "rule 3 was broken"),
        (InputError("not /home/me/models/tiny there"), "not tiny there"),
        (ValueError("seven\nlines"), "ValueError: seven lines (test_sweep.py:"),
    ],
)
def test_a_failed_cell_is_kept_apart(
    suite: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    """The others run; the reason is one line, without folders of this machine."""
    breaks(monkeypatch, error, at=2.0)
    rows = swept(suite, tmp_path / "s")
    assert ["complete", "failed", "complete"] == [row.status for row in rows]
    assert (rows[1].reason or "").startswith(reason)
    assert [suite.cells[1].id] == [path.name for path in (tmp_path / "s" / "failed").iterdir()]


def test_a_failed_cell_runs_again_when_asked_to(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[float]
) -> None:
    """Then the summary is as that of a sweep in which nothing failed."""
    with monkeypatch.context() as patch:
        breaks(patch, RunError("broken"), at=2.0)
        swept(suite, tmp_path / "s")
    assert [1.0, 4.5] == ran
    assert "failed" == swept(suite, tmp_path / "s")[1].status
    mended = swept(suite, tmp_path / "s", retry_failed=True)
    assert [1.0, 4.5, 2.0] == ran
    assert mended == swept(suite, tmp_path / "undisturbed")


def test_a_full_disk_ends_the_sweep(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of a cell's: nothing failed, and the next start goes on."""
    with monkeypatch.context() as patch:
        breaks(patch, NotWrittenError("full"), at=4.5)
        with pytest.raises(NotWrittenError, match="full"):
            swept(suite, tmp_path / "s")
    assert 2 == len(list((tmp_path / "s" / "cells").iterdir()))
    assert {"complete"} == {row.status for row in swept(suite, tmp_path / "s")}


def test_an_interrupt_leaves_cells_pending(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is complete stays, the rest has not run."""

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    checked = check_cells(suite, Quiet())
    with open_cells(tmp_path / "s", suite, checked.resolved) as store:
        sweep = Sweep(suite, store, checked.refused)
        monkeypatch.setattr(sweeping, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep.run(workers=1, retry_failed=False, listener=Quiet())
        assert {"pending"} == {row.status for row in sweep.rows()}


def test_a_workload_that_was_edited(tmp_path: Path) -> None:
    """Cells of two workloads do not stand in one summary."""
    workload = tmp_path / "w.toml"
    workload.write_text("[[requests]]\nprompt_tokens = 64\noutput_tokens = 2\n")
    text = BASE.replace("sharegpt", str(workload)).replace("num_prompts = 4\n", "")
    suite = read_suite(write_suite(tmp_path, f"{text}[grid]\nseed = [0, 1]"))
    swept(suite, tmp_path / "s")
    workload.write_text("[[requests]]\nprompt_tokens = 65\noutput_tokens = 2\n")
    with pytest.raises(InputError, match=r"workload_hash of cell 1-0-.* no longer what it was"):
        swept(suite, tmp_path / "s")
    assert str(tmp_path) not in (tmp_path / "s" / "suite.json").read_text()


def test_workers(suite: Suite, tmp_path: Path) -> None:
    """One a core where nothing is measured, one where something is."""
    assert 1 <= cells_at_a_time(suite, None)
    assert 7 == cells_at_a_time(suite, 7)
    for asked in (0, -1, 1025):
        with pytest.raises(InputError, match=f"--workers {asked} is out of range"):
            cells_at_a_time(suite, asked)
    measured = read_suite(write_suite(tmp_path, "[grid]\nseed = [0, 1]"))
    assert [1, 1] == [cells_at_a_time(measured, asked) for asked in (None, 1)]
    with pytest.raises(InputError, match="run one at a time"):
        cells_at_a_time(measured, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model /home/me/x/tiny is no model", "model tiny is no model"),
        ("[Errno 2] No such file: '/a/b.json'", "[Errno 2] No such file: 'b.json'"),
        ("4 tok/s, 3/4, a/b/c", "4 tok/s, 3/4, a/b/c"),
        ("two\n  lines", "two lines"),
        ("models/tiny/config.json", "models/tiny/config.json"),
    ],
)
def test_private_folders_stay_out(text: str, expected: str) -> None:
    """Of absolute paths the last part is left; what was typed relative stays."""
    assert expected == without_folders(text)
