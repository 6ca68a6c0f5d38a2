"""What a path stands for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lpbench.errors import InputError
from lpbench.report.page.run import Reproduction, Run, Sweep, find_sources
from tests.paged import regime_rows, write_reproduction, write_run, write_sweep


def test_each_kind_in_the_order_given(tmp_path: Path) -> None:
    """A run's folder, a folder of runs, a sweep, a reproduction; their files are the same."""
    run = write_run(tmp_path / "one")
    for name in ("b", "a"):
        write_run(tmp_path / "many" / name)
    sweep = write_sweep(tmp_path / "sweep", tuple(regime_rows()))
    paper = write_reproduction(tmp_path / "paper")
    paths = (paper, run, run / "run.json", tmp_path / "many", sweep, paper / "reproduce.json")
    found = find_sources(paths)
    kinds = [Reproduction, Run, Run, Run, Sweep]
    assert kinds == [type(one) for one in found]
    expected = ["paper", "one", "a", "b", "sweep"]
    assert expected == [one.name for one in found]
    assert isinstance(found[4], Sweep)
    assert 12 == len(found[4].rows)


def test_the_folder_one_stands_in_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `.` too."""
    monkeypatch.chdir(write_run(tmp_path / "here"))
    assert ["here"] == [one.name for one in find_sources([Path()])]


def test_a_runs_file_is_the_run(tmp_path: Path) -> None:
    """Its lines lie beside it; a record of another name has none."""
    run = write_run(tmp_path / "run")
    alone = run / "alone.json"
    alone.write_bytes((run / "run.json").read_bytes())
    whole, bare = find_sources([run / "run.json", alone])
    assert isinstance(whole, Run)
    assert isinstance(bare, Run)
    assert {"chunked", "layered"} == whole.log().iterations.keys()
    assert {} == bare.log().iterations


def written(name: str, text: str) -> Callable[[Path], Path]:
    """Return what writes such a file, and returns its folder."""

    def write(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none", "does not exist"),
        (lambda folder: folder, "holds no run.json, and no folder in it does"),
        (written("run.json", "{"), "is no record of schema version 1"),
        (written("run.json", "[]"), "is no record of schema version 1"),
        (written("run.json", '{"schema_version": 9}'), "is of schema version 9"),
        (written("summary.jsonl", '{"cell": 1}\n'), "is no summary of a sweep"),
        (written("summary.jsonl", "\n"), "is no summary of a sweep"),
        (written("reproduce.json", "nothing"), "is no JSON"),
        (written("reproduce.json", "[" * 100_000), "is no JSON"),
        (written("reproduce.json", "[]"), "is no reproduction: it has no tables"),
        (written("reproduce.json", '{"tables": {}}'), "is no reproduction: it has no tables"),
    ],
)
def test_what_is_none_of_them(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    """One line says which file, and what is wrong with it."""
    with pytest.raises(InputError) as caught:
        find_sources([make(tmp_path)])
    line = str(caught.value)
    assert says in line
    assert str(tmp_path) in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["summary.jsonl", "reproduce.json", "run.json"])
def test_bytes_that_are_no_text(tmp_path: Path, name: str) -> None:
    """A line, whatever file it is."""
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        find_sources([tmp_path])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", ["summary.jsonl", "reproduce.json"])
def test_files_that_may_not_be_read(tmp_path: Path, name: str) -> None:
    """A line with the system's reason."""
    (tmp_path / name).touch(mode=0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        find_sources([tmp_path])


def test_one_broken_run_among_others(tmp_path: Path) -> None:
    """The line names it."""
    write_run(tmp_path / "runs" / "good")
    write_run(tmp_path / "runs" / "bad")
    (tmp_path / "runs" / "bad" / "run.json").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="bad"):
        find_sources([tmp_path / "runs"])
