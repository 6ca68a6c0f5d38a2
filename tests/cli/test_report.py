"""`lpbench report`: a page and its pictures, and what it refuses."""

import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from lpbench.record.store import write_atomically
from lpbench.testing.records import example_record
from tests.cli.command import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    OK,
    UNAVAILABLE,
    CommandLine,
    contents,
    one_line,
)
from tests.fuzzed import fuzz_report
from tests.metered import energy_job
from tests.paged import harmless, regime_rows, write_run, write_sweep

BARE = example_record(
    arms=tuple(
        arm.model_copy(update={"ledger": arm.ledger.model_copy(update={"modelled": ()})})
        for arm in example_record().arms
    )
)
"""A record of which one picture is drawn: pictures take time."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return such a run."""
    return write_run(tmp_path / "run", BARE, is_logged=False)


def test_a_page_and_its_pictures(lpbench: CommandLine, tmp_path: Path) -> None:
    """Every picture of the page lies beside it as a PNG; the line says how large the page is."""
    folder = tmp_path / "out" / "page"
    run = write_run(tmp_path / "run")
    result = lpbench("report", run, "--output", folder)
    assert (OK, "") == (result.code, result.err)
    page = (folder / "report.html").read_text(encoding="utf-8")
    seen = harmless(page)
    figures = [value for tag, name, value in seen.attributes if (tag, name) == ("figure", "id")]
    assert 7 == len(figures)
    written = contents(folder)
    assert {"report.html", *(f"{name}.png" for name in figures)} == set(written)
    pictures = [text or b"" for name, text in written.items() if name.endswith(".png")]
    assert {b"\x89PNG"} == {text[:4] for text in pictures}
    assert max(map(len, [page, *pictures])) < 5_000_000
    said = " ".join(result.out.split())
    assert f"{len(page.encode()) / 1e6:.2f} MB, 1 sections; 7 pictures as PNG" in said
    assert "lpbench: run" in seen.words


def test_the_default_folder(lpbench: CommandLine, run: Path) -> None:
    """`report`, where one stands; made again it is replaced, and pictures it has no more go."""
    folder = run.parent / "report"
    with chdir(run.parent):
        assert OK == lpbench("report", "run", "--no-progress").code
        for name in ("run-9-heat.png", "mine.png"):
            (folder / name).write_bytes(b"before")
        assert OK == lpbench("report", "run", "--no-progress").code
    assert {"report.html", "run-1-experts.png", "mine.png"} == set(contents(folder))


def test_a_map_is_a_picture_too(lpbench: CommandLine, tmp_path: Path) -> None:
    """Of a sweep, beside its page."""
    sweep = write_sweep(tmp_path / "map", list(regime_rows()))
    result = lpbench("report", sweep, "--output", tmp_path / "page")
    assert OK == result.code, result.err
    assert {"report.html", "sweep-1-map.png"} == set(contents(tmp_path / "page"))


def test_an_energy_run(
    lpbench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its joules are drawn with their intervals, and it is judged over its blocks."""
    energy_job(tmp_path, monkeypatch)()
    monkeypatch.undo()
    result = lpbench("report", tmp_path / "run", "--output", tmp_path / "page")
    assert OK == result.code, result.err
    assert "run-1-joules.png" in contents(tmp_path / "page")
    page = harmless((tmp_path / "page" / "report.html").read_text(encoding="utf-8"))
    assert "takes 40.00% more joules per token than whole" in page.words


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none", "does not exist"),
        (lambda folder: folder, "no run.json"),
        (lambda folder: _text(folder / "run.json"), "is no record"),
        (lambda folder: _text(folder / "summary.jsonl").parent, "is no summary of a sweep"),
        (lambda folder: _text(folder / "reproduce.json"), "is no JSON"),
    ],
)
def test_what_is_no_run(
    lpbench: CommandLine, tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    """Exit code 2, a line, and no folder."""
    source = tmp_path / "source"
    source.mkdir()
    result = lpbench("report", make(source), "--output", tmp_path / "page")
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert not (tmp_path / "page").exists()


def _text(path: Path) -> Path:
    path.write_text("text", encoding="utf-8")
    return path


def test_no_run_at_all(lpbench: CommandLine) -> None:
    """The line names what is missing."""
    result = lpbench("report")
    assert BAD_INPUT == result.code
    assert "RUN" in one_line(result.err)


def test_a_folder_with_other_things(lpbench: CommandLine, run: Path, tmp_path: Path) -> None:
    """Is left as it is; so is a run's own, and what is no folder."""
    before = contents(tmp_path)
    other = run / "run.json"
    for folder, says in ((run, "holds other things; name a new folder"), (other, "cannot be used")):
        result = lpbench("report", run, "--output", folder)
        assert (BAD_INPUT, "") == (result.code, result.out)
        assert says in one_line(result.err)
    assert before == contents(tmp_path)


def test_somebody_elses_page_is_left_alone(lpbench: CommandLine, run: Path, tmp_path: Path) -> None:
    """And so are pictures that are called as ours are."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "report.html").write_text("<h1>mine</h1>", encoding="utf-8")
    (folder / "run-1-loss.png").write_bytes(b"loss")
    before = contents(folder)
    result = lpbench("report", run, "--output", folder)
    assert BAD_INPUT == result.code
    assert "holds other things" in one_line(result.err)
    assert before == contents(folder)


@pytest.mark.parametrize("name", ["altair", "jinja2", "vl_convert"])
def test_without_the_extra(
    lpbench: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One line says how to install it, and no folder is made."""
    monkeypatch.setitem(sys.modules, name, None)
    result = lpbench("report", run, "--output", tmp_path / "page")
    assert (UNAVAILABLE, "") == (result.code, result.out)
    assert "lpbench report needs its extra: pip install 'lpbench[report]'" == one_line(result.err)
    assert not (tmp_path / "page").exists()


def test_a_full_disk(
    lpbench: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, no half file; with room again the same command makes the report."""
    arguments = ("report", run, "--output", tmp_path / "page")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        result = lpbench(*arguments)
    assert (FAILED, "") == (result.code, result.out)
    assert "report.html could not be written: No space left on device" in one_line(result.err)
    assert {} == contents(tmp_path / "page")
    assert OK == lpbench(*arguments).code


def test_an_interrupt_between_pictures(
    lpbench: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is whole, and the same command makes the rest."""
    arguments = ("report", run, "--output", tmp_path / "page")

    def interrupted(path: Path, content: str | bytes) -> None:
        if path.suffix == ".png":
            raise KeyboardInterrupt
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("lpbench.record.store.write_atomically", interrupted)
        result = lpbench(*arguments)
    assert (INTERRUPTED, "interrupted") == (result.code, one_line(result.err))
    assert ["report.html"] == list(contents(tmp_path / "page"))
    assert OK == lpbench(*arguments).code
    assert 2 == len(contents(tmp_path / "page"))


def test_damaged_runs_make_harmless_pages(tmp_path: Path) -> None:
    """Whatever is changed in a run's files: a page with nothing that runs in it, or one line."""
    endings = fuzz_report(11, tmp_path, seed=5)
    assert 11 == endings.total()
    assert {"made", "drawn", "refused"} >= set(endings)
