"""`lpbench latency`: requests over time, served by torch or by a model of a device."""

import json
from pathlib import Path

import pytest

from lpbench.record.store import read_runs
from tests.cli.command import BAD_INPUT, OK, CommandLine, one_line, read_lines

ROOFLINE = ("--executor", "roofline", "--model", "qwen3-30b-a3b", "--device", "h200")
LOAD = ("--workload", "sharegpt", "--num-prompts", "80", "--request-rate", "4")


def test_a_modelled_run_says_so_of_every_figure(lpbench: CommandLine, tmp_path: Path) -> None:
    """Both schedules serve 80 requests to their end; times, bytes and joules are modelled."""
    result = lpbench(
        "latency", *ROOFLINE, *LOAD, "--goodput", "ttft:5000 tbt:125", "--output", tmp_path / "run"
    )
    assert OK == result.code, result.err
    assert all(len(line) <= 80 for line in result.out.splitlines())
    (record,) = read_runs(tmp_path / "run")
    assert ("complete", "latency") == (record.status, record.command)
    for arm in record.arms:
        assert {"plan"} == {one.source for one in arm.metrics.values() if one.method != "modelled"}
        assert 0 < (arm.metrics["expert_bytes"].value or 0)
        assert 0 < (arm.metrics["joules_per_total_token"].value or 0)
        assert 0 <= (arm.metrics["slo_attainment"].value or 0) <= 1
        assert "modelled" in [one.code for one in arm.warnings]
    lines = read_lines(tmp_path / "run" / "requests.jsonl")
    assert 160 == len(lines)
    assert all(line["output_tokens"] == len(line["token_ms"]) for line in lines)
    assert all(0 <= line["queue_ms"] <= line["token_ms"][0] for line in lines)


def test_the_same_run_twice_is_the_same(lpbench: CommandLine) -> None:
    """The clock is virtual: every figure is equal to the last bit."""
    options = ("latency", *ROOFLINE, *LOAD, "--json", "-")
    first, again = (json.loads(lpbench(*options).out) for _ in range(2))
    assert first["arms"] == again["arms"]


def test_torch_serves_requests_over_time(lpbench: CommandLine, qwen: Path, tmp_path: Path) -> None:
    """Real passes on the wall clock: requests come a twentieth of a second apart."""
    load = ("--num-prompts", "4", "--input-len", "16", "--output-len", "3", "--request-rate", "20")
    result = lpbench(
        "latency", "--model", qwen, *load, "--device", "cpu", "--output", tmp_path / "r"
    )
    assert OK == result.code, result.err
    (record,) = read_runs(tmp_path / "r")
    assert "measured" == record.arms[0].metrics["ttft_ms_mean"].method
    lines = read_lines(tmp_path / "r" / "requests.jsonl")
    assert 200 == pytest.approx(max(line["arrival_ms"] for line in lines))
    assert all(0 < line["token_ms"][0] for line in lines)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((*ROOFLINE, *LOAD[:-1], "0"), "--request-rate 0"),
        ((*ROOFLINE, *LOAD, "--burstiness", "-1"), "--burstiness -1"),
        ((*ROOFLINE, *LOAD, "--goodput", "itl:5"), "unknown metric 'itl'"),
        ((*ROOFLINE, *LOAD, "--goodput", "ttft:fast"), "ttft:MILLISECONDS"),
        ((*ROOFLINE, *LOAD, "--num-warmups", "80"), "leaves none of the 80 requests"),
        ((*ROOFLINE, *LOAD, "--duration", "0.0001"), "no request arrives before"),
        ((*ROOFLINE[:-1], "h300", *LOAD), "unknown device 'h300'"),
        ((*ROOFLINE, *LOAD, "--coefficients", "kernel"), "did you mean 'kernels'?"),
        ((*ROOFLINE, *LOAD, "--routing", "model"), "accepted: calibrated, uniform"),
        ((*ROOFLINE, *LOAD, "--dtype", "fp8"), "unknown dtype 'fp8'"),
        ((*ROOFLINE, *LOAD, "--tensor-parallel-size", "3"), "divisors of the model's 32"),
        ((*ROOFLINE, "--workload", "mixed"), "arrivals in seconds"),
        (
            (*ROOFLINE[:-3], "qwen3-235b-a22b", "--device", "h200", *LOAD),
            "--tensor-parallel-size 4 would fit",
        ),
        (("--coefficients", "ideal"), "go with --executor roofline"),
    ],
)
def test_bad_input(lpbench: CommandLine, options: tuple[str, ...], says: str) -> None:
    """One line, exit code 2."""
    result = lpbench("latency", *options)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)


@pytest.mark.parametrize("command", ["traffic", "energy"])
def test_the_roofline_runs_nothing(lpbench: CommandLine, command: str) -> None:
    """What counts or measures passes refuses it in one line."""
    result = lpbench(command, "--executor", "roofline")
    assert BAD_INPUT == result.code
    assert "serves lpbench latency alone" in one_line(result.err)
