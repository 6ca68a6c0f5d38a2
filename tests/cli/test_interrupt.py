"""A run that is cut short leaves a record that says so, and never half a line or half a file."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lpbench.record.schema import Record
from tests.cli.command import (
    FAILED,
    INTERRUPTED,
    OK,
    Argument,
    Result,
    contents,
    finish,
    one_line,
    read_lines,
    record_of,
    start,
)

CPU = ("--device", "cpu")
LONG = ("--input-len", "8", "--output-len", "3000", "--num-prompts", "1", *CPU)
"""Takes many seconds: 3000 iterations an arm."""

SHORT = ("--input-len", "8", "--output-len", "40", "--num-prompts", "2", *CPU)

SMALL_DISK = """
import resource, sys
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
from lpbench.cli.app import main
main()
"""
"""No file may grow beyond a size: writing more fails as on a full disk."""

PATIENCE = 60.0


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Have children hear SIGINT even where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait_for_lines(process: subprocess.Popen[str], path: Path, *, least: int) -> None:
    """Wait until a file of a running process has so many lines."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if path.read_bytes().count(b"\n") >= least:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            pytest.fail(f"ended with {process.returncode}")
    process.kill()
    pytest.fail(f"no {least} lines in {PATIENCE} s")


def cut_short(model: Path, folder: Path, number: signal.Signals) -> Result:
    """Send a signal to a run that has done some iterations, and wait for its end."""
    places = ("--output", folder / "run", "--json", folder / "record.json")
    process = start("traffic", "--model", model, *LONG, *places)
    wait_for_lines(process, folder / "run" / "iterations.jsonl", least=20)
    process.send_signal(number)
    return finish(process, timeout=PATIENCE)


def failed_record(path: Path) -> Record:
    """Return a record that is whole and marked failed."""
    record = record_of(path.read_text(encoding="utf-8"))
    assert "failed" == record.status
    return record


def test_a_ci_that_cancels(qwen: Path, tmp_path: Path) -> None:
    """SIGTERM is taken as Ctrl-C is."""
    result = cut_short(qwen, tmp_path, signal.SIGTERM)
    assert (INTERRUPTED, "interrupted") == (result.code, one_line(result.err))
    assert "interrupted" == failed_record(tmp_path / "run" / "run.json").failure


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_several_runs_end_together(qwen: Path, tmp_path: Path, number: signal.Signals) -> None:
    """The process under way ends with them, its record marked; no further one is started."""
    options = ("--num-runs", "2", "--output", tmp_path)
    process = start("traffic", "--model", qwen, *LONG, *options)
    wait_for_lines(process, tmp_path / "run-1" / "iterations.jsonl", least=20)
    process.send_signal(number)
    result = finish(process, timeout=PATIENCE)
    assert INTERRUPTED == result.code, result.err
    assert ["lpbench: run 1 of 2", "lpbench: interrupted"] == result.err.splitlines()
    assert "interrupted" == failed_record(tmp_path / "run-1" / "run.json").failure
    assert ["run-1"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c(qwen: Path, tmp_path: Path) -> None:
    """Exit 130 in one line; the record is marked failed and tells what was done so far."""
    result = cut_short(qwen, tmp_path, signal.SIGINT)
    assert (INTERRUPTED, "") == (result.code, result.out)
    assert "interrupted" == one_line(result.err)
    record = failed_record(tmp_path / "run" / "run.json")
    assert "interrupted" == record.failure
    assert record == failed_record(tmp_path / "record.json")
    lines = read_lines(tmp_path / "run" / "iterations.jsonl")
    assert 20 <= len(lines)
    (arm,) = record.arms
    done = arm.metrics["iterations"]
    assert done.value in (len(lines), len(lines) + 1)
    assert ("invalid", ("arm_unfinished",)) == (done.validity, done.reasons)
    expected = ["record.json", "run", "run/iterations.jsonl", "run/run.json"]
    assert expected == list(contents(tmp_path))


def test_kill(qwen: Path, tmp_path: Path) -> None:
    """A process that is killed has said beforehand that its run is not finished."""
    assert -signal.SIGKILL == cut_short(qwen, tmp_path, signal.SIGKILL).code
    assert "unfinished" == failed_record(tmp_path / "run" / "run.json").failure
    assert "unfinished" == failed_record(tmp_path / "record.json").failure
    assert 20 <= len(read_lines(tmp_path / "run" / "iterations.jsonl"))


def run_on_small_disk(size: int, *arguments: Argument) -> str:
    """Run until a file would grow too large; return the line that says so."""
    program = ("-c", SMALL_DISK, str(size))
    result = finish(start("traffic", *arguments, program=program))
    assert (FAILED, "") == (result.code, result.out), result.err
    return one_line(result.err)


def test_a_disk_that_fills_with_iterations(qwen: Path, tmp_path: Path) -> None:
    """The folder keeps whole lines and a record that is marked failed, without any path in it."""
    run = tmp_path / "run"
    line = run_on_small_disk(30_000, "--model", qwen, *LONG, "--output", run)
    assert "iterations.jsonl" in line
    assert ["iterations.jsonl", "run.json"] == list(contents(run))
    assert read_lines(run / "iterations.jsonl")
    assert failed_record(run / "run.json").failure
    assert str(tmp_path) not in (run / "run.json").read_text()


@pytest.mark.parametrize("size", [6_000, 100])
def test_a_disk_that_fills_with_the_record(qwen: Path, tmp_path: Path, size: int) -> None:
    """The file is as it was, or marked failed, and no temporary file is left."""
    file = tmp_path / "record.json"
    line = run_on_small_disk(size, "--model", qwen, *SHORT, "--json", file)
    assert "record.json" in line
    assert set(contents(tmp_path)) <= {"record.json"}
    if file.exists():
        assert "unfinished" == failed_record(file).failure


@pytest.mark.parametrize("command", [("plan",), ("plan", "--json", "-"), ("list", "models")])
def test_a_full_disk_under_stdout(command: tuple[str, ...]) -> None:
    """Results that cannot be written are a failure, in one line."""
    with Path("/dev/full").open("wb") as full:
        result = finish(start(*command, stdout=full))
    assert FAILED == result.code, result.err
    one_line(result.err)


def close_after(count: int, *arguments: Argument) -> Result:
    """Run into a pipe whose reader leaves after so many bytes."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stdout:
        process = start(*arguments, stdout=stdout)
    if count:
        assert count == len(os.read(reader, count))
    os.close(reader)
    return finish(process)


@pytest.mark.parametrize("many", ["chunked:max_num_batched_tokens=1", "layered"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_pipe_that_closes(many: str, count: int) -> None:
    """A reader who has enough, such as head, ends the command without a word."""
    result = close_after(count, "plan", "--schedule", many, "--json", "-")
    assert "" == result.err
    assert result.code in (OK, FAILED)


def test_a_pipe_that_closes_before_the_record(qwen: Path) -> None:
    """The same where the record is what nobody reads."""
    result = close_after(0, "traffic", "--model", qwen, *SHORT, "--json", "-")
    assert (FAILED, "") == (result.code, result.err)
