"""Where a run is written: claimed before it starts, whole files, whole lines, or none."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from lpbench.errors import InputError, RunError
from lpbench.record.store import LineFile, RunStore, read_record, write_atomically
from lpbench.testing.records import example_record

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refused(build: Callable[[], object], error: type[Exception] = InputError) -> str:
    """Return the one line with which a call is refused."""
    with pytest.raises(error) as caught:
        build()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    """Return everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def failing(*_: object) -> int:
    """Fail as a full disk does."""
    raise FULL


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    """A folder that is absent is made when something is written, and not before."""
    store = RunStore(output=tmp_path / "a" / "b", json=None)
    assert [] == names(tmp_path)
    store.write(example_record())
    assert ["a", "a/b", "a/b/run.json"] == names(tmp_path)


def test_a_folder_that_can_no_longer_be_made(tmp_path: Path) -> None:
    """A file that came in its way during the run is told in one line."""
    store = RunStore(output=tmp_path / "a" / "b", json=None)
    (tmp_path / "a").write_text("mine")
    said = refused(lambda: store.write(example_record()), RunError)
    assert str(tmp_path / "a" / "b") in said
    assert "mine" == (tmp_path / "a").read_text()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """A folder that is there but empty may be used."""
    with RunStore(output=tmp_path, json=None) as store:
        store.write(example_record())
    assert ["run.json"] == names(tmp_path)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """What another run left is never mixed with a new one."""
    (tmp_path / "run.json").write_text("old")
    assert str(tmp_path) in refused(lambda: RunStore(output=tmp_path, json=None))
    assert "old" == (tmp_path / "run.json").read_text()


@pytest.mark.parametrize("below", ["", "run", "run/deeper"])
def test_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    """Neither a file nor anything below it can be a run's folder."""
    (tmp_path / "file").write_text("mine")
    output = tmp_path / "file" / below
    assert str(output) in refused(lambda: RunStore(output=output, json=None))
    assert "mine" == (tmp_path / "file").read_text()


@pytest.mark.parametrize("name", ["none/record.json", "folder", "n" * 300, "folder/" + "n" * 300])
def test_a_json_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    """A missing folder, a folder, and a name too long are told before the run."""
    (tmp_path / "folder").mkdir()
    refused(lambda: RunStore(output=None, json=tmp_path / name))
    assert ["folder"] == names(tmp_path)


def test_a_folder_is_not_claimed_for_a_bad_json_file(tmp_path: Path) -> None:
    """When one of the two places is refused, the other is left as it was."""
    refused(lambda: RunStore(output=tmp_path / "run", json=tmp_path / "none" / "record.json"))
    assert [] == names(tmp_path)


def test_a_record_is_written_to_every_place(tmp_path: Path) -> None:
    """The folder's run.json and the JSON file hold the same record; a later one replaces it."""
    with RunStore(output=tmp_path / "run", json=tmp_path / "record.json") as store:
        for status in ("failed", "complete"):
            store.write(example_record(status=status))
            for path in (tmp_path / "run" / "run.json", tmp_path / "record.json"):
                assert example_record(status=status) == read_record(path)
    assert ["record.json", "run", "run/run.json"] == names(tmp_path)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    """Both saw it empty; the first to write has it, the other ends in one line."""
    first, second = (RunStore(output=tmp_path / "run", json=None) for _ in "ab")
    record = example_record()
    first.write(record)
    with pytest.raises(RunError, match="was taken by another run; name a new folder"):
        second.write(example_record(status="failed", failure="other"))
    first.write(record)
    assert record == read_record(tmp_path / "run")


def test_nowhere_is_a_place_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder and a file nothing is written, lines included."""
    monkeypatch.chdir(tmp_path)
    with RunStore(output=None, json=None) as store:
        store.write(example_record())
        store.lines("iterations.jsonl").append([{"iteration": 0}])
    assert [] == names(tmp_path)


def test_lines_go_to_one_file_a_name(tmp_path: Path) -> None:
    """Asking again for a name goes on with the same file; the store closes it."""
    with RunStore(output=tmp_path, json=None) as store:
        store.lines("a.jsonl").append([{"n": 1}, {"n": 2}])
        store.lines("a.jsonl").append([{"n": 3}])
        store.lines("b.jsonl").append([{"n": 4}])
        assert store.lines("a.jsonl") is store.lines("a.jsonl")
    assert '{"n":1}\n{"n":2}\n{"n":3}\n' == (tmp_path / "a.jsonl").read_text()
    assert '{"n":4}\n' == (tmp_path / "b.jsonl").read_text()
    assert None is store.lines("a.jsonl")._file


def test_a_file_opens_with_its_first_line(tmp_path: Path) -> None:
    """A file of lines that is never written is not there."""
    with RunStore(output=tmp_path, json=None) as store:
        store.lines("a.jsonl")
    assert [] == names(tmp_path)


def test_lines_are_closed_when_a_run_fails(tmp_path: Path) -> None:
    """An error passes through, and the lines written before it stay."""

    def fail() -> None:
        with RunStore(output=tmp_path, json=None) as store:
            store.lines("a.jsonl").append([{"n": 1}])
            raise RunError("broken")

    assert "broken" == refused(fail, RunError)
    assert '{"n":1}\n' == (tmp_path / "a.jsonl").read_text()


@pytest.fixture
def line_file(tmp_path: Path) -> Iterator[LineFile]:
    """Return a file with one line."""
    lines = LineFile(tmp_path / "lines.jsonl")
    lines.append([{"n": 1}])
    yield lines
    lines.close()


def test_lines_hold_any_text(tmp_path: Path, line_file: LineFile) -> None:
    """A line end inside a text is escaped, so that a line stays a line."""
    value: dict[str, JsonValue] = {"text": "a\nb\u2028 \U0001f4be", "numbers": [1, 2.5, None]}
    line_file.append([value])
    lines = (tmp_path / "lines.jsonl").read_bytes().split(b"\n")
    assert 3 == len(lines)
    assert b"" == lines[-1]


def test_a_line_that_is_cut_is_taken_back(
    tmp_path: Path, line_file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes half a line keeps none of it, and the run fails."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, text: write(file, text[: len(text) // 2]))
    line = refused(lambda: line_file.append([{"n": 2}, {"n": 3}]), RunError)
    assert "lines.jsonl" in line
    assert "no space left" in line.lower()
    assert '{"n":1}\n' == (tmp_path / "lines.jsonl").read_text()


def test_a_write_that_fails_changes_nothing(
    tmp_path: Path, line_file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines before it stay, and later ones may follow."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing)
        assert "lines.jsonl" in refused(lambda: line_file.append([{"n": 2}]), RunError)
    line_file.append([{"n": 3}])
    assert '{"n":1}\n{"n":3}\n' == (tmp_path / "lines.jsonl").read_text()


def test_a_line_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A folder that went away is a failed run, not a crash."""
    lines = LineFile(tmp_path / "gone" / "lines.jsonl")
    assert "lines.jsonl" in refused(lambda: lines.append([{"n": 1}]), RunError)
    lines.close()


def test_closing_twice_is_closing_once(line_file: LineFile) -> None:
    """A closed file may be closed."""
    line_file.close()
    line_file.close()


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """Text of any kind, readable by those whom the umask allows."""
    umask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.json", "ü\n")
    finally:
        os.umask(umask)
    assert "ü\n".encode() == (tmp_path / "a.json").read_bytes()
    assert 0o640 == stat.S_IMODE((tmp_path / "a.json").stat().st_mode)
    assert ["a.json"] == names(tmp_path)


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "interrupted"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException
) -> None:
    """Wherever it fails, the file is as it was and no temporary one is left."""
    file = tmp_path / "a.json"
    file.write_text("old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(RunError if error is FULL else KeyboardInterrupt):
        write_atomically(file, "new")
    assert "old" == file.read_text()
    assert ["a.json"] == names(tmp_path)


def test_a_text_that_is_no_unicode_leaves_the_old_file(tmp_path: Path) -> None:
    """Half a character cannot be written; nothing else is either."""
    (tmp_path / "a.json").write_text("old")
    with pytest.raises((RunError, UnicodeError)):
        write_atomically(tmp_path / "a.json", "\udc80")
    assert "old" == (tmp_path / "a.json").read_text()
    assert ["a.json"] == names(tmp_path)


def test_a_missing_folder_is_a_failed_write(tmp_path: Path) -> None:
    """A folder that went away during the run is named."""
    file = tmp_path / "gone" / "a.json"
    assert str(file) in refused(lambda: write_atomically(file, "text"), RunError)


def test_a_record_is_read_from_its_folder_or_its_file(tmp_path: Path) -> None:
    """A run's folder stands for the run.json in it."""
    with RunStore(output=tmp_path / "run", json=None) as store:
        store.write(example_record())
    assert example_record() == read_record(tmp_path / "run")
    assert example_record() == read_record(tmp_path / "run" / "run.json")


@pytest.mark.parametrize("name", ["none", "none/run.json", "n" * 300, "file/run.json"])
def test_a_record_that_is_not_there(tmp_path: Path, name: str) -> None:
    """The path is named."""
    (tmp_path / "file").write_text("")
    refused(lambda: read_record(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff", "cannot be read"),
        (b"[]", "object"),
        (b"{}", "lpbench_version"),
        (b'{"schema_version": 2}', "schema version 2"),
        (b"[" * 100_000, "JSON"),
    ],
    ids=["empty", "cut", "bytes", "list", "object", "version", "nested"],
)
def test_a_file_that_is_no_record(tmp_path: Path, content: bytes, says: str) -> None:
    """The file is named with the first thing that is wrong."""
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    line = refused(lambda: read_record(file))
    assert "bad.json" in line
    assert says in line


def test_a_record_of_another_version_is_called_so(tmp_path: Path) -> None:
    """Whatever else has changed with the version, the version is what is named."""
    file = tmp_path / "next.json"
    file.write_text('{"schema_version": 2, "verdict": "new"}')
    line = refused(lambda: read_record(file))
    assert "is of schema version 2, this lpbench reads version 1; update lpbench" in line
    file.write_text('{"schema_version": 0}')
    assert "version 0, this lpbench reads version 1; run it again" in refused(
        lambda: read_record(file)
    )
