"""The lines beside a record: the whole ones are read, the others counted."""

from pathlib import Path

import pytest

from lpbench.report.page import log
from lpbench.report.page.log import Log, read_log
from tests.cli.command import write_lines
from tests.paged import TILES, iteration, write_run


def test_whole_lines_by_schedule(tmp_path: Path) -> None:
    """In the order in which they were written, and no note."""
    found = read_log(write_run(tmp_path / "run"))
    assert {arm: len(tiles) + 3 for arm, tiles in TILES.items()} == {
        arm: len(lines) for arm, lines in found.iterations.items()
    }
    assert {"chunked": 1, "layered": 1} == {arm: len(it) for arm, it in found.requests.items()}
    assert () == found.notes


def test_a_folder_without_lines(tmp_path: Path) -> None:
    """A record alone is no error."""
    assert Log() == read_log(write_run(tmp_path / "run", is_logged=False))


def test_damaged_lines_are_left_out_and_said(tmp_path: Path) -> None:
    """A cut line, no JSON, a line of something else; the others are kept."""
    run = write_run(tmp_path / "run")
    with (run / "iterations.jsonl").open("ab") as file:
        file.write(b'{"arm": "chunked"}\n\xff\xfe\n[]\n{"arm": "layered", "itera')
    found = read_log(run)
    assert 5 + 6 == sum(map(len, found.iterations.values()))
    assert ("iterations.jsonl: 4 damaged lines are left out.",) == found.notes


def test_so_many_lines_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every schedule as many; what is left out is said."""
    monkeypatch.setattr(log, "MOST_ITERATIONS", 4)
    found = read_log(write_run(tmp_path / "run"))
    drawn = {arm: len(lines) for arm, lines in found.iterations.items()}
    assert {"chunked": 4, "layered": 4} == drawn
    assert (
        "iterations.jsonl: of chunked the first 4 of 5 lines are drawn.",
        "iterations.jsonl: of layered the first 4 of 6 lines are drawn.",
    ) == found.notes


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Something else of its name is a note, no error."""
    run = write_run(tmp_path / "run", is_logged=False)
    (run / "requests.jsonl").mkdir()
    (note,) = read_log(run).notes
    assert "requests.jsonl cannot be read" in note


def test_a_run_without_counts(tmp_path: Path) -> None:
    """Where nothing was counted, a line says so and is whole."""
    write_lines(tmp_path / "iterations.jsonl", iteration("a", 0, decodes=1))
    (line,) = read_log(tmp_path).iterations["a"]
    assert line.distinct_experts is None
