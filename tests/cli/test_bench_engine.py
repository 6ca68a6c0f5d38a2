"""`lpbench bench-engine`: the whole way on a tiny model, and what it refuses."""

from functools import partial
from pathlib import Path

import pytest

from lpbench.executors.torch_engine import peaks
from lpbench.record.store import read_record
from tests.cli.command import (
    BAD_INPUT,
    OK,
    UNAVAILABLE,
    CommandLine,
    contents,
    one_line,
    record_of,
)

SMALL = (
    *("--device", "cpu", "--batch", "1,3", "--prompt", "20", "--context-len", "9"),
    *("--repeats", "3", "--no-progress"),
)


@pytest.fixture(autouse=True)
def _short_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the peaks measured in an instant: what they are does not matter here."""
    quick = partial(peaks.measure_peaks, seconds=1e-4, most_bytes=1 << 16)
    monkeypatch.setattr(peaks, "measure_peaks", quick)
    monkeypatch.setattr(peaks, "SIZES", (64,))


def test_passes_against_the_roofline(lpbench: CommandLine, qwen: Path, tmp_path: Path) -> None:
    """A row for every size, two tables of operators, a complete record; 80 columns hold it."""
    run = tmp_path / "run"
    result = lpbench("bench-engine", "--model", qwen, *SMALL, "--output", run)
    assert (OK, "") == (result.code, result.err)
    record = read_record(run)
    assert ("complete", "engine") == (record.status, record.command)
    assert ["decode:1", "decode:3", "prefill:20"] == [arm.label for arm in record.arms]
    assert "model" == record.spec["routing"]
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for said in ("decode:3 under the profiler", "prefill:20 under the profiler", "aten::mm"):
        assert said in result.out
    assert ["passes.jsonl", "run.json"] == list(contents(run))
    again = lpbench("compare", run, run)
    assert OK == again.code, again.err
    assert "pass ms median" in again.out


def test_the_record_alone(lpbench: CommandLine, qwen: Path) -> None:
    """With --json - nothing else is on stdout."""
    options = ("--load-format", "dummy", "--dtype", "bfloat16")
    result = lpbench("bench-engine", "--model", qwen, *SMALL, *options, "--json", "-")
    record = record_of(result.out)
    assert ("calibrated", "bfloat16") == (record.spec["routing"], record.spec["dtype"])


def test_quiet_prints_tables_alone(lpbench: CommandLine, qwen: Path) -> None:
    """No note follows the last row."""
    result = lpbench("bench-engine", "--model", qwen, *SMALL, "--quiet")
    assert "outside torch's operators" in result.out.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--batch", "0"), "--batch 0 is out of range; accepted: 1 to 4096"),
        (("--batch", "x"), "--batch 'x' is no list"),
        (("--prompt", "5000"), "--prompt 5000: model 'tiny-qwen' has 4096 positions"),
        (("--context-len", "4094"), "--context-len 4094 with 7 decodes"),
        (("--repeats", "0"), "--repeats 0 is out of range"),
        (("--repeats", "many"), "--repeats"),
        (("--model", "qwen3-30b"), "did you mean 'qwen3-30b-a3b'"),
        (("--model", "mixtral-8x7b", "--context-len", "9"), "modelled only"),
        (("--routing", "a.npz"), "--routing FILE.npz"),
        (("--kernels", "cuda"), "known: torch, triton"),
        (("--dtype", "float16"), "float32, bfloat16"),
        (("--device", "tpu"), "cpu, cuda"),
        (("--seed", "-1"), "--seed -1"),
        (("--schedule", "whole"), "--schedule"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input(
    lpbench: CommandLine, qwen: Path, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    """One line, exit code 2, and nothing is made."""
    places = ("--output", tmp_path / "run", "--json", tmp_path / "record.json")
    result = lpbench("bench-engine", "--model", qwen, *SMALL, *options, *places)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert {} == contents(tmp_path)


def test_a_folder_that_is_not_empty(lpbench: CommandLine, qwen: Path, tmp_path: Path) -> None:
    """It stays as it was."""
    (tmp_path / "note").touch()
    result = lpbench("bench-engine", "--model", qwen, *SMALL, "--output", tmp_path)
    assert BAD_INPUT == result.code
    assert "not an empty folder" in one_line(result.err)
    assert ["note"] == list(contents(tmp_path))


def test_tritons_kernels_need_a_gpu(lpbench: CommandLine, qwen: Path) -> None:
    """Exit 77, as for a device that is not there."""
    result = lpbench("bench-engine", "--model", qwen, *SMALL, "--kernels", "triton")
    assert UNAVAILABLE == result.code
    assert "needs a CUDA device" in one_line(result.err)


def test_a_record_of_it_is_no_baseline_to_run_again(
    lpbench: CommandLine, qwen: Path, tmp_path: Path
) -> None:
    """Its figures are times: whoever wants them runs it."""
    file = tmp_path / "record.json"
    options = ("--routing", "uniform", "--json", file)
    assert OK == lpbench("bench-engine", "--model", qwen, *SMALL, *options).code
    result = lpbench("check", "--baseline", file)
    assert BAD_INPUT == result.code
    assert "run it yourself" in one_line(result.err)
