"""`lpbench trace`: files of real runs, and what is no run."""

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import chdir
from pathlib import Path

import pytest

from lpbench.record.schema import Record
from lpbench.record.store import read_record
from lpbench.report.trace.arm import ADDED, BYTES, ITERATIONS, TILES
from tests.cli.command import (
    BAD_INPUT,
    FAILED,
    OK,
    UNAVAILABLE,
    Argument,
    CommandLine,
    Lines,
    contents,
    one_line,
    read_lines,
    write_lines,
)
from tests.fuzzed import fuzz_trace
from tests.metered import WATTS, energy_job
from tests.traced import Traced, read_trace

REQUESTS: Lines = [
    {"arrival_iteration": at, "prompt_tokens": 30 + at, "output_tokens": 20} for at in range(8)
]
SMALL = ("--schedule", "chunked:max_num_batched_tokens=24", "--schedule", "layered:num_groups=3")


@pytest.fixture(scope="session")
def counted(lpbench: CommandLine, qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of `traffic` with preemptions, on the CPU; not to be changed."""
    folder = tmp_path_factory.mktemp("traced")
    requests = write_lines(folder / "requests.jsonl", *REQUESTS)
    run = ("--model", qwen, "--requests", requests, "--num-kv-pages", "11", "--output")
    result = lpbench("traffic", *SMALL, *run, folder / "run", "--device", "cpu", "--quiet")
    assert OK == result.code, result.err
    return folder / "run"


@pytest.fixture(scope="session")
def modelled(lpbench: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of `latency` on a virtual clock; not to be changed."""
    folder = tmp_path_factory.mktemp("traced") / "run"
    model = ("--executor", "roofline", "--model", "gpt-oss-20b", "--device", "h100-sxm")
    load = ("--num-prompts", "6", "--input-len", "3000", "--output-len", "8", "--request-rate", "9")
    result = lpbench("latency", *model, *load, "--output", folder, "--quiet")
    assert OK == result.code, result.err
    return folder


def traced(
    lpbench: CommandLine, run: Path, folder: Path, *arguments: Argument
) -> tuple[Traced, str]:
    """Return what is in the trace of a run, and what was said."""
    path = folder / "one.pftrace"
    result = lpbench("trace", run, "--output", path, *arguments)
    assert (OK, "") == (result.code, result.err)
    return read_trace(path), " ".join(result.out.split())


def values(record: Record, label: str) -> dict[str, float | None]:
    """Return an arm's figures."""
    arm = record.arm(label)
    assert arm is not None
    return {name: one.value for name, one in arm.metrics.items()}


def test_sums_equal_the_record(lpbench: CommandLine, counted: Path, tmp_path: Path) -> None:
    """Bytes, rows, times and preemptions of the trace add up to what the record says."""
    trace, _ = traced(lpbench, counted, tmp_path)
    record = read_record(counted)
    preemptions = 0
    for arm in record.arms:
        wanted = values(record, arm.label)
        iterations = trace.within(arm.label, ITERATIONS)
        segments = trace.within(arm.label, ITERATIONS, depth=1)
        tiles = [one for depth in range(9) for one in trace.within(arm.label, TILES, depth=depth)]
        lines = [
            line for line in read_lines(counted / "iterations.jsonl") if line["arm"] == arm.label
        ]
        assert wanted["iterations"] == len(iterations)
        assert wanted["expert_bytes"] == sum(int(one.values[BYTES]) for one in iterations)
        assert wanted["expert_bytes"] == sum(int(one.values[BYTES]) for one in segments)
        assert wanted["expert_bytes"] == sum(
            value for _, value in trace.counted(arm.label, "expert bytes per iteration, counted")
        )
        marginal = wanted["expert_bytes_prefill_marginal"]
        assert marginal == sum(int(one.values[ADDED]) for one in segments)
        assert wanted["decode_rows"] == sum(int(one.values["decodes"]) for one in iterations)
        assert wanted["prefill_rows"] == sum(
            int(one.values["tokens"]) for one in tiles if one.place[-1].startswith("layers 0-")
        )
        assert sum(one.span_ns for one in segments) == sum(one.span_ns for one in iterations)
        assert [round(line["start_ms"] * 1e6) for line in lines] == [
            one.start_ns for one in iterations
        ]
        assert [round(line["duration_ms"] * 1e6) for line in lines] == [
            one.span_ns for one in iterations
        ]
        preempted = len(trace.within(arm.label, "requests", depth=1))
        assert wanted["preemptions"] == preempted
        preemptions += preempted
        for line in read_lines(counted / "requests.jsonl"):
            if line["arm"] != arm.label:
                continue
            place = (arm.label, "requests", f"request {line['request']}")
            assert [round((line["arrival_ms"] + one) * 1e6) for one in line["token_ms"]] == (
                pytest.approx([one.start_ns for one in trace.marked(*place)], abs=1)
            )
    assert preemptions


def test_a_run_on_a_virtual_clock(lpbench: CommandLine, modelled: Path, tmp_path: Path) -> None:
    """Its bytes are the record's and are called modelled; nothing counted is there."""
    trace, said = traced(lpbench, modelled, tmp_path)
    record = read_record(modelled)
    assert "nothing ran: times, bytes and joules are modelled" in said
    for arm in record.arms:
        wanted = values(record, arm.label)
        iterations = trace.within(arm.label, ITERATIONS)
        assert wanted["expert_bytes"] == pytest.approx(
            sum(float(one.values[BYTES]) for one in iterations)
        )
        assert trace.counted(arm.label, "power, modelled (W)")
        assert not trace.counted(arm.label, "expert bytes per iteration, counted")
        assert not any(BYTES in one.values for one in trace.within(arm.label, ITERATIONS, depth=1))


def test_energy_windows_are_drawn(
    lpbench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every window of a campaign stands beside the arms with its joules."""
    record = energy_job(tmp_path, monkeypatch)()
    trace, _ = traced(lpbench, tmp_path / "run", tmp_path)
    windows = trace.within("energy windows", "windows")
    there = [*record.windows, *(one for arm in record.arms for one in arm.windows)]
    assert len(there) == len(windows)
    assert {f"{WATTS:.0f}"} == {
        f"{float(one.values['total_gpu_energy_j (J)']) / (one.span_ns / 1e9):.0f}"
        for one in windows
    }


def test_the_file_lies_in_the_run(lpbench: CommandLine, counted: Path, tmp_path: Path) -> None:
    """Without --output it is made in the run's folder, and made anew when asked again."""
    run = tmp_path / "run"
    run.symlink_to(counted)
    for given in (run, run / "run.json"):
        result = lpbench("trace", given, "--no-progress")
        assert OK == result.code
        assert "trace.pftrace" in result.out
        assert "ui.perfetto.dev" in result.out
        assert read_trace(counted / "trace.pftrace").slices
        (counted / "trace.pftrace").unlink()


def test_what_is_cut_is_said(lpbench: CommandLine, counted: Path, tmp_path: Path) -> None:
    """The cut stands on stdout, for every arm."""
    trace, said = traced(lpbench, counted, tmp_path, "--most-iterations", "7")
    assert 2 == said.count("cut after 3 of ")
    assert 3 == len(trace.within("chunked", ITERATIONS))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("none",), "none does not exist"),
        (("empty",), "holds no run.json"),
        (("alone",), "alone/iterations.jsonl does not exist; a run with --output DIR leaves it"),
        (("alone/run.json",), "alone/iterations.jsonl does not exist"),
        (("runs",), "holds 2 runs; give one of them"),
        (("run", "--output", "run/run.json"), "accepted: a file name that ends in .pftrace"),
        (("run", "--output", "-"), "accepted: a file name that ends in .pftrace"),
        (("run", "--output", "none/one.pftrace"), "cannot be written"),
        (("run", "--most-iterations", "0"), "--most-iterations 0 is out of range; accepted: 1"),
    ],
)
def test_what_cannot_be_drawn(
    lpbench: CommandLine, counted: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    """One line says what is wrong, and nothing is left."""
    (tmp_path / "run").symlink_to(counted)
    (tmp_path / "empty").mkdir()
    for name in ("alone", "runs/one", "runs/two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_bytes((counted / "run.json").read_bytes())
    before = contents(tmp_path)
    with chdir(tmp_path):
        result = lpbench("trace", *arguments)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert expected in one_line(result.err)
    assert before == contents(tmp_path)


def test_a_killed_run(lpbench: CommandLine, counted: Path, tmp_path: Path) -> None:
    """What it left is drawn: whole lines, without the requests that were not written yet."""
    run = tmp_path / "run"
    run.mkdir()
    record = json.loads((counted / "run.json").read_text())
    record |= {"status": "failed", "failure": "interrupted", "arms": [], "comparison": []}
    (run / "run.json").write_text(json.dumps(record | {"audit": None}))
    (run / "iterations.jsonl").write_bytes((counted / "iterations.jsonl").read_bytes()[:-5000])
    trace, said = traced(lpbench, run, tmp_path)
    assert "the run failed (interrupted): this is what it left" in said
    assert "iterations.jsonl: 1 lines are damaged and not drawn" in said
    assert "no requests.jsonl: no request's life is drawn" in said
    whole = (run / "iterations.jsonl").read_bytes().count(b"\n")
    assert whole == len(
        [one for one in trace.slices if one.place[1] == ITERATIONS and not one.depth]
    )


def test_without_the_extra(
    lpbench: CommandLine, counted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says how to install it."""
    for name in [
        one for one in sys.modules if one.startswith(("lpbench.report.trace", "perfetto"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "perfetto", None)
    result = lpbench("trace", counted)
    assert UNAVAILABLE == result.code
    assert "pip install 'lpbench[trace]' brings it" in one_line(result.err)


def test_a_full_disk(
    lpbench: CommandLine, counted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trace that was there stays as it was."""
    path = tmp_path / "one.pftrace"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = lpbench("trace", counted, "--output", path)
    assert FAILED == result.code
    assert "No space left on device" in one_line(result.err)
    assert {"one.pftrace": b"before"} == contents(tmp_path)


def test_damaged_runs_end_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is changed in a run's files, it is drawn and read back, or refused in one line."""
    energy_job(tmp_path, monkeypatch)()
    run, folder = tmp_path / "run", tmp_path / "damaged"
    record = json.loads((run / "run.json").read_text())
    place = {"arm": "whole", "window": "measured", "block": 0, "runs": 2}
    counted = {"name": "measured", "pass": "counters", "block": 0, "runs": 2}
    record["arms"][0]["windows"].append(counted | {"iterations": 8, "duration_ms": 500.0})
    (run / "run.json").write_text(json.dumps(record))
    (run / "samples").mkdir()
    series: dict[str, Iterable[Mapping[str, object]]] = {
        "nvml_power_w": ({"arm": None, "window": at, "sample": [0.5, 80.0]} for at in range(4)),
        "rapl": ({"arm": None, "window": 0, "sample": [at * 1e9, at * 1e7]} for at in range(4)),
        "dram": (place | {"sample": [at * 1e6, (at + 1) * 1e6, 1e9, 0]} for at in range(4)),
    }
    for name, lines in series.items():
        write_lines(run / "samples" / f"{name}.jsonl", *lines)
    folder.mkdir()
    assert 200 == sum(fuzz_trace(200, run, folder, seed=3).values())
