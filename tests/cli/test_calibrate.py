"""`lpbench calibrate`: coefficients from measured runs, and what is refused as one.

The runs are modelled by known coefficients and marked as if torch had run them on an H200.
"""

import json
import shutil
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from lpbench.data import data_folder
from lpbench.executors.roofline.coefficients import find_coefficients
from tests.cli.command import (
    BAD_INPUT,
    OK,
    Argument,
    CommandLine,
    contents,
    one_line,
    read_json,
    read_lines,
    write_lines,
)

HOST_S = 4e-3
"""Of the coefficients that made the runs; the start set has 1.5 ms."""

Change: TypeAlias = Callable[[dict[str, Any]], None]


def change_json(path: Path, change: Change) -> None:
    """Change a JSON file."""
    document = read_json(path)
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def change_line(path: Path, number: int, change: Change) -> None:
    """Change one line of a file of JSON objects."""
    lines = read_lines(path)
    change(lines[number - 1])
    write_lines(path, *lines)


def as_measured(document: dict[str, Any]) -> None:
    """Have a record say that torch ran on an H200."""
    document["spec"]["executor"] = "torch"
    document["environment"] |= {"device": "cuda", "device_name": "NVIDIA H200"}


def tile(request: int, start: int, stop: int) -> dict[str, Any]:
    """Return a tile of a line, through all layers."""
    return {"request": request, "tokens": [start, stop], "layers": [0, 48]}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return coefficients with a slower host than the start set's."""
    text = (data_folder("workloads", "coefficients") / "kernels.toml").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("truth") / "slow-host.toml"
    path.write_text(text.replace("host_s = 1.5e-3", f"host_s = {HOST_S}"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def served(lpbench: CommandLine, truth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run as if measured; not to be changed."""
    folder = tmp_path_factory.mktemp("served") / "chats"
    result = lpbench(
        *("latency", "--executor", "roofline", "--model", "qwen3-30b-a3b", "--device", "h200"),
        *("--workload", "sharegpt", "--num-prompts", "12", "--request-rate", "8"),
        *("--coefficients", truth, "--output", folder),
    )
    assert OK == result.code, result.err
    change_json(folder / "run.json", as_measured)
    return folder


@pytest.fixture
def run(served: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, to be damaged."""
    return Path(shutil.copytree(served, tmp_path / "run"))


def test_the_coefficients_that_made_a_run_come_back(
    lpbench: CommandLine, served: Path, tmp_path: Path
) -> None:
    """A file for --coefficients, with its sources, and a table of 80 columns."""
    output = tmp_path / "mine.toml"
    result = lpbench("calibrate", served, "--output", output)
    assert OK == result.code, result.err
    assert all(len(line) <= 80 for line in result.out.splitlines())
    assert "not told from" in result.out
    assert "one block of 10 passes in 5" in result.out
    found = find_coefficients(str(output))
    passed = 48  # layers: what the host waits for and what a layer takes are told apart by nothing
    expected = HOST_S + passed * find_coefficients("kernels").layer_s
    assert expected == pytest.approx(found.host_s + passed * found.layer_s, rel=0.02)
    sources = tomllib.loads(output.read_text(encoding="utf-8"))["sources"]
    assert sources["runs"].startswith("chats: lpbench latency, qwen3-30b-a3b in bfloat16")
    assert str(tmp_path) not in output.read_text(encoding="utf-8")
    assert "median error" in sources["held_out"]
    again = lpbench(
        *("latency", "--executor", "roofline", "--device", "h200", "--coefficients", output),
        *("--model", "qwen3-30b-a3b", "--num-prompts", "2", "--json", "-"),
    )
    assert OK == again.code, again.err
    assert "mine" == json.loads(again.out)["spec"]["coefficients"]


def test_without_output_nothing_is_written(
    lpbench: CommandLine, served: Path, run: Path, tmp_path: Path
) -> None:
    """The tables alone; the errors are of the run that was held out."""
    before = contents(tmp_path)
    result = lpbench("calibrate", served, "--held-out", run)
    assert OK == result.code, result.err
    assert "runs that were not fitted: run" in result.out
    assert before == contents(tmp_path)


def refused(lpbench: CommandLine, folder: Path, *arguments: Argument) -> str:
    """Return the line with which it refuses, leaving `folder` as it was."""
    before = contents(folder)
    result = lpbench("calibrate", *arguments)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert before == contents(folder)
    return one_line(result.err)


def test_an_output_that_is_there_is_kept(
    lpbench: CommandLine, served: Path, tmp_path: Path
) -> None:
    """Never overwritten; nor is a name taken that ships, or another ending."""
    taken = tmp_path / "mine.toml"
    taken.write_text("x = 1\n", encoding="utf-8")
    for output, says in (
        (taken, "is there already; name a new file"),
        (tmp_path / "kernels.toml", "'kernels' is one that ships"),
        (tmp_path / "mine.json", "ends in .toml"),
        (tmp_path / "no" / "mine.toml", "cannot be written"),
    ):
        assert says in refused(lpbench, tmp_path, served, "--output", output)


def failed(document: dict[str, Any]) -> None:
    """Mark a record failed."""
    document |= {"status": "failed", "failure": "interrupted"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (failed, "the run failed (interrupted)"),
        (lambda it: it["spec"].update(executor="roofline"), "the run is modelled"),
        (lambda it: it.update(command="plan"), "accepted: traffic, energy, latency"),
        (lambda it: it["spec"].update(dtype="int8"), "dtype 'int8' is not modelled"),
        (lambda it: it["spec"].update(model="mine"), "give its folder as --model"),
        (lambda it: it["environment"].update(device_name="NVIDIA X1"), "'NVIDIA X1' is not in"),
        (lambda it: it["environment"].pop("device_name"), "lpbench doctor --measure FILE.toml"),
    ],
)
def test_a_run_that_cannot_be_fitted_is_refused(
    lpbench: CommandLine, run: Path, change: Change, says: str
) -> None:
    """One line, exit code 2."""
    change_json(run / "run.json", change)
    assert says in refused(lpbench, run, run)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda it: it.update(duration_ms=0), "iterations.jsonl line 7: duration_ms"),
        (lambda it: it.pop("tiles"), "line 7: tiles"),
        (lambda it: it.update(decodes=[999]), "request 999 of 'chunked' is not in"),
        (lambda it: it.update(decodes=[], tiles=[]), "line 7: nothing ran"),
        (lambda it: it.update(distinct_experts=[1, 2]), "distinct_experts has 2 values"),
        (
            lambda it: it.update(tiles=[{"request": 0, "tokens": [0, 4], "layers": [0, 99]}]),
            "tokens 0 to 4, layers 0 to 99 are no tile of 'qwen3-30b-a3b'",
        ),
        (lambda it: it.update(duration_ms=1e300), "line 7: duration_ms: Input should be less"),
        (lambda it: it.update(duration_ms=1e-300), "line 7: duration_ms: Input should be great"),
        (lambda it: it.update(decodes=[0, 0], tiles=[]), "line 7: a request decodes twice"),
        (
            lambda it: it.update(decodes=[0], tiles=[tile(0, 0, 1)]),
            "line 7: request 0 decodes and is in prefill",
        ),
        (
            lambda it: it.update(decodes=[], tiles=[tile(0, 0, 2), tile(0, 1, 3)]),
            "line 7: tiles of request 0 run a token through a layer twice",
        ),
        (
            lambda it: it.update(decodes=[], tiles=[tile(0, 0, 30_000)]),
            "tokens 0 to 30000, layers 0 to 48 are no tile of 'qwen3-30b-a3b' and the",
        ),
        (
            lambda it: it.update(decodes=[], tiles=[tile(0, 0, 30_000)], preempted=[0]),
            "tokens of request 0",
        ),
        (lambda it: it.update(distinct_experts=[129] * 48), "has 129; 'qwen3-30b-a3b' has 128"),
        (lambda it: it.update(distinct_experts=[0] * 48), "is 0 in layer 0, which had rows"),
        (lambda it: it.update(distinct_experts=[9] * 47 + [0]), "is 0 in layer 47, which had"),
        (lambda it: it.update(distinct_experts=[-1] * 48), "line 7: distinct_experts.0"),
    ],
)
def test_a_damaged_line_is_named(
    lpbench: CommandLine, run: Path, change: Change, says: str
) -> None:
    """By its number."""
    change_line(run / "iterations.jsonl", 7, change)
    assert says in refused(lpbench, run, run)


def test_what_a_request_may_prefill(lpbench: CommandLine, run: Path) -> None:
    """Its prompt, and after a preemption all that it knows, but never a token more."""
    known = read_lines(run / "requests.jsonl")[0]
    assert 0 == known["request"]
    prompt, every = known["prompt_tokens"], known["prompt_tokens"] + known["output_tokens"] - 1
    for most, preempted in ((prompt, []), (every, [0])):
        for stop, code in ((most, OK), (most + 1, BAD_INPUT)):
            change = {"decodes": [], "tiles": [tile(0, 0, stop)], "preempted": preempted}
            change_line(run / "iterations.jsonl", 7, partial(dict.update, **change))
            result = lpbench("calibrate", run)
            assert code == result.code, result.err
        assert f"the {most} tokens of request 0" in one_line(result.err)


def test_a_request_of_no_model_is_named(lpbench: CommandLine, run: Path) -> None:
    """Longer than there are positions."""
    change_line(run / "requests.jsonl", 1, lambda it: it.update(context_tokens=10**30))
    line = refused(lpbench, run, run)
    assert "requests.jsonl line 1: request" in line
    assert "is longer than the 40960 positions of 'qwen3-30b-a3b'" in line


@pytest.mark.parametrize("name", ["iterations.jsonl", "requests.jsonl"])
def test_a_run_without_its_lines_is_refused(lpbench: CommandLine, run: Path, name: str) -> None:
    """As after --json without --output."""
    (run / name).unlink()
    assert f"{name} does not exist; a run with --output" in refused(lpbench, run, run)


def test_too_few_passes_are_refused(lpbench: CommandLine, run: Path) -> None:
    """With how many there must be."""
    path = run / "iterations.jsonl"
    write_lines(path, *read_lines(path)[:30])
    assert "accepted: 50 or more" in refused(lpbench, run, run)


def test_runs_of_two_devices_are_refused(lpbench: CommandLine, served: Path, run: Path) -> None:
    """Also where one of them is held out, or the device that is named is another."""
    change_json(
        run / "run.json",
        lambda it: it["environment"].update(device_name="NVIDIA H100 80GB HBM3"),
    )
    for more in ((run,), ("--held-out", run)):
        line = refused(lpbench, run, served, *more)
        assert "several devices: NVIDIA H200, NVIDIA H100 80GB HBM3" in line
    assert "--device b200 is another device" in refused(lpbench, run, run, "--device", "b200")


def test_a_run_counts_once(lpbench: CommandLine, served: Path) -> None:
    """Twice, or fitted and held out: refused."""
    assert "is given twice" in refused(lpbench, served, served, served / "run.json")
    assert "is given twice" in refused(lpbench, served, served, "--held-out", served)


def test_a_measured_run_on_a_cpu(lpbench: CommandLine, qwen: Path, tmp_path: Path) -> None:
    """Real passes of a checkpoint, on a device of its own file, by the command alone."""
    load = ("--num-prompts", "4", "--input-len", "16", "--output-len", "40")
    result = lpbench(
        "traffic", "--model", qwen, *load, "--device", "cpu", "--output", tmp_path / "r"
    )
    assert OK == result.code, result.err
    device = tmp_path / "cpu.toml"
    device.write_text(
        "memory_bandwidth = 2e10\nmemory_bytes = 1000000000\nbf16_flops = 1e11\n[sources]\n",
        encoding="utf-8",
    )
    options = ("calibrate", tmp_path / "r", "--device", device)
    assert "give its folder as --model" in one_line(lpbench(*options).err)
    result = lpbench(*options, "--model", qwen)
    assert "states no fp32_flops, which float32 needs" in one_line(result.err)
    text = device.read_text(encoding="utf-8")
    device.write_text(text.replace("[sources]", "fp32_flops = 1e11\n[sources]"), encoding="utf-8")
    result = lpbench(*options, "--model", qwen)
    assert OK == result.code, result.err
    assert "experts counted" in " ".join(result.out.split())
