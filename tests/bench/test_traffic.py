"""The job when it fails half-way: what its record says then, with an engine that computes nothing.

What it says when all goes well: tests/cli/test_traffic.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lpbench.bench import traffic
from lpbench.bench.traffic import run_traffic
from lpbench.errors import InputError, RunError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore, read_record
from tests.bench.fakes import FakeEngine, Quiet
from tests.bench.tiny import tiny_spec

OUTPUT = 5
PASSES = OUTPUT
"""Iterations of one arm: the prompts fit one pass, then each request decodes."""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Record]:
    """Return the job on a fake engine, with where and how that fails."""
    (tmp_path / "model").mkdir()

    def run(**changes: object) -> Record:
        monkeypatch.setattr(traffic, "Engine", type("Failing", (FakeEngine,), changes))
        spec = tiny_spec(tmp_path / "model", schedules=("whole", "chunked"))
        return run_traffic(spec, lambda: RunStore(output=tmp_path / "run", json=None), Quiet())

    return run


def failed(run: Callable[[], object], folder: Path, error: type[BaseException]) -> Record:
    """Run into an error and return the record that is left."""
    with pytest.raises(error):
        run()
    record = read_record(folder / "run")
    assert "failed" == record.status
    assert {"run.json", "iterations.jsonl", "requests.jsonl"} >= {
        path.name for path in (folder / "run").iterdir()
    }
    return record


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the objects of a file of lines; none where there is no file."""
    file = folder / "run" / name
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def test_the_fake_engine_gets_through(tmp_path: Path, job: Callable[..., Record]) -> None:
    """Without a failure the record is complete: what the tests below take away from."""
    record = job()
    assert record == read_record(tmp_path / "run")
    assert ("complete", None) == (record.status, record.failure)
    assert [PASSES] * 2 == [arm.metrics["iterations"].value for arm in record.arms]
    assert 2 * PASSES == len(lines(tmp_path, "iterations.jsonl"))
    assert 6 == len(lines(tmp_path, "requests.jsonl"))


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_an_interrupt_in_the_first_arm(
    tmp_path: Path, job: Callable[..., Record], passes: int
) -> None:
    """What was done is there, marked invalid, even where that is nothing."""
    record = failed(lambda: job(fails_at=passes), tmp_path, KeyboardInterrupt)
    assert "interrupted" == record.failure
    assert None is record.audit
    (arm,) = record.arms
    done = arm.metrics["iterations"]
    assert (passes, "invalid") == (done.value, done.validity)
    assert passes == len(lines(tmp_path, "iterations.jsonl"))
    assert [] == lines(tmp_path, "requests.jsonl")
    for reading in arm.metrics.values():
        assert "arm_unfinished" in reading.reasons
        assert reading.validity in {"invalid", "absent"}


def test_an_interrupt_in_the_second_arm(tmp_path: Path, job: Callable[..., Record]) -> None:
    """The arm that was finished stays valid; no ratio is made with the one that was not."""
    record = failed(lambda: job(fails_at=PASSES + 2), tmp_path, KeyboardInterrupt)
    first, second = record.arms
    assert (PASSES, "valid") == (
        first.metrics["iterations"].value,
        first.metrics["iterations"].validity,
    )
    assert (2, "invalid") == (
        second.metrics["iterations"].value,
        second.metrics["iterations"].validity,
    )
    assert record.comparison
    assert all(one.ratio is None and one.reasons for one in record.comparison)


def test_an_interrupt_in_the_audit(tmp_path: Path, job: Callable[..., Record]) -> None:
    """All arms were counted, but nobody vouches for their sameness."""
    record = failed(lambda: job(fails_at=2 * PASSES + 1), tmp_path, KeyboardInterrupt)
    assert None is record.audit
    assert ["valid"] * 2 == [arm.metrics["expert_bytes"].validity for arm in record.arms]


@pytest.mark.parametrize(
    "error", [RunError("/secret/path is full"), MemoryError(), RuntimeError("CUDA")], ids=repr
)
def test_any_error_leaves_a_failed_record(
    tmp_path: Path, job: Callable[..., Record], error: Exception
) -> None:
    """The record says what kind of failure it was, without a path in its message."""
    record = failed(lambda: job(fails_at=2, error=error), tmp_path, type(error))
    assert record.failure
    assert type(error).__name__ in record.failure
    assert "/secret" not in record.to_json()


def test_weights_that_cannot_be_loaded_leave_nothing(
    tmp_path: Path, job: Callable[..., Record]
) -> None:
    """A bad checkpoint is bad input: no folder is made for a run that never began."""
    with pytest.raises(InputError):
        job(fails_to_load=True, error=InputError("a tensor is missing"))
    assert not (tmp_path / "run").exists()


def test_the_listener_hears_of_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, each arm, each arm's audit: named in order, and advanced to their ends."""
    monkeypatch.setattr(traffic, "Engine", FakeEngine)
    heard = Quiet()
    run_traffic(
        tiny_spec(tmp_path, schedules=("whole", "layered:num_groups=3")),
        lambda: RunStore(output=None, json=None),
        heard,
    )
    expected = [
        "load weights",
        "count whole",
        "count layered:num_groups=3",
        "audit whole",
        "audit layered:num_groups=3",
    ]
    assert expected == [name for name, _ in heard.stages]
    assert [total for _, total in heard.stages] == pytest.approx(heard.advanced)
