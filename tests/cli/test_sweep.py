"""`lpbench sweep`: what it says, and what a start after a kill makes of the folder."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from lpbench.record.store import read_record
from tests.bench.suites import BASE, GRID, read_rows, write_suite
from tests.cli.command import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    OK,
    CommandLine,
    contents,
    finish,
    one_line,
    start,
)

PATIENCE = 60.0
SUMMARY = ("summary.csv", "summary.jsonl")

SLOW = BASE.replace("= 4", "= 15") + GRID
"""Six cells, each of which takes a part of a second."""

PAIR = "[grid]\nrequest_rate = [1, 2]"
"""Two cells of two schedules."""

MAP = """
command = "regime"
[base]
executor = "roofline"
device = "h200"
prompt_len = 64
chunks = [64]
groups = [2]
[grid]
num_decodes = [2, 4]
"""
"""Two points of a regime map."""

SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from lpbench.cli.app import main
if __name__ == "__main__":
    main()
"""
"""No file may grow beyond 20 kB: writing more fails as on a full disk."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the suite of six cells; not to be changed."""
    return write_suite(tmp_path_factory.mktemp("suites"), SLOW, name="slow.toml")


def begin(suite: Path, folder: Path, *, cells: int) -> subprocess.Popen[str]:
    """Start a sweep in two processes and wait until so many of its cells are complete."""
    process = start("sweep", suite, "--output", folder, "--workers", "2")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if len(list((folder / "cells").glob("*"))) >= cells:
            return process
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
            pytest.fail(f"ended with {process.returncode}")
    process.kill()
    pytest.fail(f"no {cells} cells in {PATIENCE} s")


def starts(folder: Path) -> dict[str, object]:
    """Return by complete cell when its run began: a second run would have begun later."""
    cells = (folder / "cells").iterdir()
    return {cell.name: read_record(cell).started_at for cell in cells}


def test_a_kill_in_the_middle(lpbench: CommandLine, slow: Path, tmp_path: Path) -> None:
    """Started again, no cell is lost or run twice; the summary is an undisturbed one's."""
    process = begin(slow, tmp_path / "killed", cells=1)
    process.kill()
    assert -signal.SIGKILL == finish(process).code
    before = starts(tmp_path / "killed")
    assert 1 <= len(before) < 6
    assert not any((tmp_path / "killed" / name).exists() for name in SUMMARY)
    result = lpbench("sweep", slow, "--output", tmp_path / "killed")
    assert OK == result.code, result.err
    # A run that the kill found complete but not yet moved is kept as well.
    assert " of 6 cells are complete already" in one_line(result.err)
    after = starts(tmp_path / "killed")
    assert 6 == len(after)
    assert before.items() <= after.items()
    undisturbed = lpbench("sweep", slow, "--output", tmp_path / "undisturbed", "--workers", "1")
    assert (OK, "") == (undisturbed.code, undisturbed.err)
    assert undisturbed.out == result.out
    for name in ("suite.json", *SUMMARY):
        expected = (tmp_path / "undisturbed" / name).read_bytes()
        assert expected == (tmp_path / "killed" / name).read_bytes()
    expected_names = ["cells", "suite.json", "summary.csv", "summary.jsonl", "sweep.lock"]
    assert expected_names == sorted(path.name for path in (tmp_path / "killed").iterdir())


def test_an_interrupt_and_a_second_sweep(lpbench: CommandLine, slow: Path, tmp_path: Path) -> None:
    """Who comes second is refused; Ctrl-C leaves what is complete, and a summary that says so."""
    folder = tmp_path / "s"
    process = begin(slow, folder, cells=1)
    second = lpbench("sweep", slow, "--output", folder)
    assert (BAD_INPUT, "") == (second.code, second.out)
    assert "another sweep is at work in it" in one_line(second.err)
    process.send_signal(signal.SIGTERM)  # as Ctrl-C, which tests in the background do not hear
    result = finish(process, timeout=PATIENCE)
    assert (INTERRUPTED, "", "interrupted") == (result.code, result.out, one_line(result.err))
    statuses = Counter(row.status for row in read_rows(folder))
    assert {"complete", "pending"} == set(statuses)
    assert len(starts(folder)) == statuses["complete"]
    assert 6 == statuses.total()
    assert not (folder / "running").exists()


def test_a_full_disk(lpbench: CommandLine, tmp_path: Path) -> None:
    """One line; nothing counts as failed, and with room again the sweep goes on."""
    script = tmp_path / "small.py"
    script.write_text(SMALL_DISK, encoding="utf-8")
    suite, folder = write_suite(tmp_path, BASE + PAIR), tmp_path / "s"
    result = finish(start("sweep", suite, "--output", folder, program=(str(script),)))
    assert (FAILED, "") == (result.code, result.out)
    assert "could not be written: " in one_line(result.err)
    assert ["pending"] * 4 == [row.status for row in read_rows(folder)]
    again = lpbench("sweep", suite, "--output", folder)
    assert (OK, "") == (again.code, again.err)
    assert ["complete"] * 4 == [row.status for row in read_rows(folder)]


def test_the_table_fits_a_terminal(lpbench: CommandLine, tmp_path: Path) -> None:
    """80 columns, a row a cell; refused cells below, and they are no failure."""
    text = BASE.replace('device = "h200"', 'goodput = "ttft:10000 tbt:125"') + (
        '[grid]\ndevice = ["h200", "rtx-4090"]\n'
        'schedule = ["chunked:max_num_batched_tokens=256", "layered"]\n'
        "request_rate = [1, inf]"
    )
    result = lpbench("sweep", write_suite(tmp_path, text), "--output", tmp_path / "s")
    assert (OK, "") == (result.code, result.err)
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for words in ("suite tiny, 8 cells, device h200", "SLO", "TTFT", "mJ per", "expert"):
        assert words in result.out
    for words in ("Figures are modelled", "Refused: cells 5, 6, 7, 8: model", "too little"):
        assert words in " ".join(result.out.split())
    with (tmp_path / "s" / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert ["complete"] * 4 + ["refused"] * 4 == [row["status"] for row in rows]
    assert ["1.0", "inf"] * 4 == [row["request_rate"] for row in rows]
    assert {"modelled"} == {row["ttft_ms_mean_method"] for row in rows[:4]}


def test_the_summary_as_json(lpbench: CommandLine, tmp_path: Path) -> None:
    """Alone on stdout, or in a file; the rows are those of summary.jsonl."""
    suite = write_suite(tmp_path, BASE + PAIR)
    result = lpbench("sweep", suite, "--output", tmp_path / "s", "--json", "-")
    assert OK == result.code
    found = json.loads(result.out)
    lines = (tmp_path / "s" / "summary.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == found["rows"]
    again = lpbench(
        "sweep", suite, "--output", tmp_path / "s", "--json", tmp_path / "f.json", "--quiet"
    )
    assert (OK, "") == (again.code, again.err)
    assert found == json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert "Figures are" not in again.out


def test_cells_can_be_compared(lpbench: CommandLine, tmp_path: Path) -> None:
    """A cell's folder is a run's: two rates differ in the rate, and in nothing else of ours."""
    suite = write_suite(tmp_path, BASE + PAIR)
    assert OK == lpbench("sweep", suite, "--output", tmp_path / "s").code
    cells = sorted((tmp_path / "s" / "cells").iterdir())
    line = one_line(lpbench("compare", *cells).err)
    assert "not comparable: request_rate is '1.0' and '2.0'" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lod",), "unknown suite 'lod' (did you mean 'load'?)"),
        (("none.toml",), "suite file none.toml does not exist"),
        (("load", "--workers", "0"), "--workers 0 is out of range"),
        (("load", "--json", "/nowhere/x.json"), "cannot be written"),
    ],
)
def test_what_is_refused(
    lpbench: CommandLine, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """One line, exit code 2, and no folder."""
    result = lpbench("sweep", *arguments, "--output", tmp_path / "s")
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert {} == contents(tmp_path)


def test_a_typo_in_a_suite(lpbench: CommandLine, tmp_path: Path) -> None:
    """Names are looked up before anything runs, in every cell."""
    suite = write_suite(tmp_path, BASE + GRID.replace("layered", "layred"))
    result = lpbench("sweep", suite, "--output", tmp_path / "s")
    assert BAD_INPUT == result.code
    assert "unknown schedule 'layred' (did you mean 'layered'?)" in one_line(result.err)
    assert not (tmp_path / "s").exists()


def test_no_output(lpbench: CommandLine) -> None:
    """A sweep without a folder could not be taken up again."""
    result = lpbench("sweep", "load")
    assert BAD_INPUT == result.code
    assert "--output" in one_line(result.err)


def breaks(*_: object) -> NoReturn:
    """End as no run should."""
    raise ValueError("a bug")


def test_a_failed_cell_fails_the_sweep(
    lpbench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 after the table, which names it with its reason."""
    from lpbench.bench import sweep as sweeping

    suite = write_suite(tmp_path, BASE + "[grid]\nseed = [0]")
    monkeypatch.setattr(sweeping, "_run", breaks)
    result = lpbench("sweep", suite, "--output", tmp_path / "s")
    assert FAILED == result.code
    assert "FAILED: cell 1: ValueError: a bug (test_sweep.py:" in result.out
    assert "1 of 1 cells failed" in one_line(result.err)
    monkeypatch.undo()
    mended = lpbench("sweep", suite, "--output", tmp_path / "s", "--retry-failed")
    assert OK == mended.code, mended.err


def test_torch_runs_in_a_process_of_its_own(
    lpbench: CommandLine, qwen: Path, tmp_path: Path
) -> None:
    """Real passes, counted: nothing of a cell's weights is held here."""
    text = f"""
        command = "traffic"
        [base]
        model = {json.dumps(str(qwen))}
        device = "cpu"
        input_len = 16
        output_len = 2
        num_prompts = 2
        [grid]
        schedule = [["chunked", "layered"]]
    """
    result = lpbench("sweep", write_suite(tmp_path, text), "--output", tmp_path / "s")
    assert (OK, "") == (result.code, result.err)
    rows = read_rows(tmp_path / "s")
    assert ["chunked", "layered"] == [row.point["schedule"] for row in rows]
    assert {"counted"} == {row.metrics["expert_bytes"].method for row in rows}
    assert str(tmp_path) not in "".join(
        path.read_text(encoding="utf-8") for path in (tmp_path / "s").rglob("*.json*")
    )


def test_a_regime_map_is_drawn(lpbench: CommandLine, tmp_path: Path) -> None:
    """Beside its CSV, and the command says where; the table alone with --quiet."""
    arguments = ("sweep", write_suite(tmp_path, MAP), "--output", tmp_path / "s")
    result = lpbench(*arguments)
    assert OK == result.code
    assert f"the map is drawn in {tmp_path / 's' / 'map.svg'}" == one_line(result.err)
    assert "builtin-moe, bfloat16, h200" in (tmp_path / "s" / "map.svg").read_text(encoding="utf-8")
    again = lpbench(*arguments, "--quiet")
    assert (OK, "") == (again.code, again.err)


def test_a_regime_map_without_the_extra(
    lpbench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what draws it; everything else is there."""
    monkeypatch.delitem(sys.modules, "lpbench.report.heatmap", raising=False)
    monkeypatch.setitem(sys.modules, "altair", None)
    result = lpbench("sweep", write_suite(tmp_path, MAP), "--output", tmp_path / "s")
    assert OK == result.code
    expected = "map.svg not drawn: pip install 'lpbench[report]' draws it"
    assert expected == one_line(result.err)
    assert "chunked (C) or layered (L)" in " ".join(result.out.split())
    assert (tmp_path / "s" / "map.csv").is_file()
    assert not (tmp_path / "s" / "map.svg").exists()
