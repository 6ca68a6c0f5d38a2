"""`lpbench traffic` and `energy` where nothing runs, and what may be made of their records."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lpbench.data import data_folder
from lpbench.record.store import read_runs
from tests.cli.command import (
    BAD_INPUT,
    OK,
    REGRESSION,
    UNAVAILABLE,
    CommandLine,
    one_line,
    read_json,
    read_lines,
    write_lines,
)

ROOFLINE = ("--executor", "roofline")
SMALL = ("--workload", "mixed", "--num-prompts", "8")
LOAD = ("--workload", "sharegpt", "--num-prompts", "40", "--request-rate", "8")
SLO = ("--goodput", "ttft:400 tbt:20")
LARGE = ("--model", "qwen3-30b-a3b")


def made(lpbench: CommandLine, command: str, path: Path, *options: str | Path) -> Path:
    """Run a modelled job and return its record's file."""
    result = lpbench(command, *ROOFLINE, *options, "--json", path)
    assert OK == result.code, result.err
    return path


@pytest.mark.parametrize("command", ["traffic", "energy"])
def test_nothing_ran(lpbench: CommandLine, tmp_path: Path, command: str) -> None:
    """The record says modelled of every figure but counts of plans, has no audit and no window."""
    result = lpbench(command, *ROOFLINE, *SMALL, "--output", tmp_path / "run")
    assert OK == result.code, result.err
    assert all(len(line) <= 80 for line in result.out.splitlines())
    said = " ".join(result.out.split())
    assert "modelled by roofline: kernels coefficients on h100-sxm" in said
    assert "counted from" not in said
    (record,) = read_runs(tmp_path / "run")
    assert ("complete", command, "roofline") == (
        record.status,
        record.command,
        record.spec["executor"],
    )
    assert record.audit is None
    assert "iterations" == record.protocol["arrivals"]
    for arm in record.arms:
        assert "modelled" == arm.metrics["expert_bytes"].method
        assert {"plan"} == {one.source for one in arm.metrics.values() if one.method != "modelled"}
        assert [command] == [one.pass_ for one in arm.windows]
        assert arm.ledger.counted_bytes is None
        terms = {one.name: one.bytes for one in arm.ledger.modelled}
        assert arm.metrics["expert_bytes"].value == terms["experts"]
        joules = {name: arm.metrics[name].value or 0 for name in ("idle_share", "idle_power_w")}
        assert 0 < joules["idle_share"] < 1
        assert 0 < joules["idle_power_w"] < (arm.metrics["power_w_mean"].value or 0)
    lines = read_lines(tmp_path / "run" / "iterations.jsonl")
    for arm in record.arms:
        mine = [line for line in lines if line["arm"] == arm.label]
        assert arm.metrics["iterations"].value == len(mine)
        bytes_ = sum(line["expert_bytes"] for line in mine)
        assert bytes_ == pytest.approx(arm.metrics["expert_bytes"].value)
        assert all(line["expert_bytes"] < line["bytes"] for line in mine)
        assert all(0 < line["flops"] and 0 < line["joules"] for line in mine)


def test_plans_are_those_of_real_passes(lpbench: CommandLine, qwen: Path, tmp_path: Path) -> None:
    """By iteration, the counting pass on the engine and the modelled one plan alike."""
    requests = write_lines(
        tmp_path / "requests.jsonl",
        {"prompt_tokens": 40, "output_tokens": 12, "context_tokens": 20},
        {"prompt_tokens": 70, "output_tokens": 9, "arrival_iteration": 2},
        {"prompt_tokens": 30, "output_tokens": 9, "arrival_iteration": 3},
    )
    schedules = ("--schedule", "chunked:max_num_batched_tokens=24", "--schedule", "hybrid:chunk=32")
    model = ("--model", qwen, "--routing", "uniform", "--num-kv-pages", "11", "--quiet")
    options = (*model, "--requests", requests, *schedules)
    assert OK == lpbench("traffic", *options, "--device", "cpu", "--json", tmp_path / "real").code
    made(lpbench, "traffic", tmp_path / "modelled", *options)
    (real,), (modelled,) = (read_runs(tmp_path / name) for name in ("real", "modelled"))
    assert [arm.plan_hash for arm in real.arms] == [arm.plan_hash for arm in modelled.arms]
    for name in ("iterations", "prefill_rows", "decode_rows", "preemptions"):
        for one, other in zip(real.arms, modelled.arms, strict=True):
            assert one.metrics[name].value == other.metrics[name].value
    assert any(arm.metrics["preemptions"].value for arm in real.arms)


def test_arrivals_in_seconds(lpbench: CommandLine, tmp_path: Path) -> None:
    """The virtual clock takes them; on torch the refusal points there."""
    requests = write_lines(
        tmp_path / "requests.jsonl",
        {"prompt_tokens": 400, "output_tokens": 3},
        {"prompt_tokens": 30, "output_tokens": 2, "arrival_s": 2.5},
    )
    made(lpbench, "traffic", tmp_path / "record", "--requests", requests)
    (record,) = read_runs(tmp_path / "record")
    assert "seconds" == record.protocol["arrivals"]
    window = record.arms[0].windows[0]
    assert 2500 < window.duration_ms < 2600
    result = lpbench("traffic", "--requests", requests, "--device", "cpu")
    assert BAD_INPUT == result.code
    assert "--executor roofline, whose clock is virtual" in one_line(result.err)


@pytest.mark.parametrize(
    ("command", "options", "code", "says"),
    [
        ("traffic", ("--meter", "cupti"), BAD_INPUT, "--meter: with --executor roofline nothing"),
        ("energy", ("--meter", "rapl"), BAD_INPUT, "--meter: with --executor roofline nothing"),
        ("energy", ("--time-budget", "0"), BAD_INPUT, "--time-budget: with --executor roofline"),
        ("traffic", ("--require-counters",), UNAVAILABLE, "--require-counters: with --executor"),
        ("traffic", ("--require-energy",), UNAVAILABLE, "--require-energy: with --executor"),
        ("energy", ("--require-counters",), UNAVAILABLE, "--require-counters: with --executor"),
        ("energy", ("--require-energy",), UNAVAILABLE, "--require-energy: with --executor"),
    ],
)
def test_nothing_is_measured(
    lpbench: CommandLine, command: str, options: Sequence[str], code: int, says: str
) -> None:
    """What asks for a measurement is refused, in one line, before the run."""
    result = lpbench(command, *ROOFLINE, *options)
    assert (code, "") == (result.code, result.out)
    assert says in one_line(result.err)


def test_a_device_without_design_power_has_no_joules(lpbench: CommandLine, tmp_path: Path) -> None:
    """The energy pass is refused; the traffic pass leaves them out, with the reason."""
    text = (data_folder("workloads", "devices") / "h200.toml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith("tdp_w")]
    device = tmp_path / "unknown-power.toml"
    device.write_text("\n".join(kept))
    result = lpbench("energy", *ROOFLINE, *SMALL, "--device", device)
    assert BAD_INPUT == result.code
    assert "'unknown-power' states no tdp_w" in one_line(result.err)
    made(lpbench, "traffic", tmp_path / "record", *SMALL, "--device", device)
    (record,) = read_runs(tmp_path / "record")
    reading = record.arms[0].metrics["joules_per_total_token"]
    assert (None, ("no_design_power",)) == (reading.value, reading.reasons)


def test_passes_of_one_experiment_join(lpbench: CommandLine, tmp_path: Path) -> None:
    """Bytes and joules of the same modelled machine, side by side."""
    pair = [made(lpbench, name, tmp_path / name, *SMALL) for name in ("traffic", "energy")]
    result = lpbench("compare", *pair)
    assert OK == result.code, result.err
    assert "runs: traffic of 1, energy of 1" in " ".join(result.out.split())


@pytest.mark.parametrize("command", ["traffic", "energy", "latency"])
def test_check_models_the_run_again(lpbench: CommandLine, tmp_path: Path, command: str) -> None:
    """The same figures, times and joules too; one that differs is named, whichever way it went."""
    options = (*LOAD, *SLO, "--num-warmups", "3") if command == "latency" else SMALL
    file = made(lpbench, command, tmp_path / "baseline.json", *options, "--device", "h200")
    result = lpbench("check", "--baseline", file)
    assert (OK, "") == (result.code, result.err)
    assert "exact figures of 2 arms equal" in " ".join(result.out.split())
    document = read_json(file)
    document["arms"][1]["metrics"]["tbt_ms_mean"]["value"] *= 1.001
    file.write_text(json.dumps(document))
    result = lpbench("check", "--baseline", file)
    assert REGRESSION == result.code
    assert "layered tbt_ms_mean" in result.out
    assert "chunked" not in result.out


def test_check_says_what_it_does_not_run_again(
    lpbench: CommandLine, tmp_path: Path, qwen: Path
) -> None:
    """Plans that followed a clock, requests that were cut away: one line each."""
    file = made(lpbench, "latency", tmp_path / "cut.json", *LOAD, "--duration", "2")
    result = lpbench("check", "--baseline", file)
    assert BAD_INPUT == result.code
    assert "--duration cut some away; run it yourself" in one_line(result.err)
    file = tmp_path / "clock.json"
    options = ("--num-prompts", "2", "--input-len", "16", "--output-len", "2", "--device", "cpu")
    drawn = ("--model", qwen, "--routing", "uniform", "--quiet")
    assert OK == lpbench("latency", *drawn, *options, "--json", file).code
    result = lpbench("check", "--baseline", file)
    assert BAD_INPUT == result.code
    assert "the plans followed the machine's speed; an exact gate needs" in one_line(result.err)


def test_more_is_better_of_rates(lpbench: CommandLine, tmp_path: Path) -> None:
    """A faster device: shorter times, higher rates; every verdict better, each exactly so."""
    slow, fast = (
        made(lpbench, "latency", tmp_path / name, *LARGE, *LOAD, *SLO, "--device", name)
        for name in ("h100-sxm", "b200")
    )
    model = ("--allow", "device", "--allow", "device_hash", "--allow", "num_kv_pages")
    refused = lpbench("compare", slow, fast)
    assert BAD_INPUT == refused.code
    assert "device is 'h100-sxm' and 'b200'" in one_line(refused.err)
    found = verdicts(lpbench, slow, fast, *model)
    back = verdicts(lpbench, fast, slow, *model)
    for name in ("goodput", "slo_attainment", "output_token_throughput", "ttft_ms_mean"):
        assert ("better", "modelled") == found[name]
        assert ("worse", "modelled") == back[name]
    assert ("same", "modelled") == verdicts(lpbench, slow, slow)["goodput"]


def verdicts(lpbench: CommandLine, *options: str | Path) -> dict[str, tuple[str, str]]:
    """Return status and reason of the first arm's verdicts by metric."""
    result = lpbench("compare", *options, "--json", "-")
    assert OK == result.code, result.err
    document: dict[str, Any] = json.loads(result.out)
    return {
        one["metric"]: (one["status"], one["reason"])
        for one in document["verdicts"]
        if one["candidate"] == "chunked"
    }


def test_arms_of_a_modelled_run_are_judged(lpbench: CommandLine, tmp_path: Path) -> None:
    """One record alone: no noise, so that every figure decides."""
    file = made(lpbench, "latency", tmp_path / "record", *LOAD, *SLO)
    result = lpbench("compare", file, "--json", "-")
    document = json.loads(result.out)
    judged = [one for one in document["verdicts"] if one["status"] != "incomparable"]
    assert {"modelled"} == {one["reason"] for one in judged}
    assert {"goodput", "joules_per_total_token"} <= {one["metric"] for one in judged}
    assert "any difference is one" in " ".join(lpbench("compare", file).out.split())
