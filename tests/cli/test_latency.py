"""`lpbench latency`: requests over time, served by torch or by a model of a device."""

import json
from pathlib import Path

import pytest

from lpbench.record.store import read_runs
from tests.cli.command import BAD_INPUT, OK, CommandLine, one_line, read_lines

ROOFLINE = ("--executor", "roofline", "--model", "qwen3-30b-a3b", "--device", "h200")
SEARCH = ("--goodput", "ttft:1000 tbt:30", "--find-rate")
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
            (*ROOFLINE, "--num-prompts", "1", "--input-len", "40000", "--output-len", "1000"),
            "request 0: context 0 + prompt 40000 + output 1000 tokens are more than the 40960",
        ),
        (
            (*ROOFLINE[:-3], "qwen3-235b-a22b", "--device", "h200", *LOAD),
            "--tensor-parallel-size 4 would fit",
        ),
        (("--coefficients", "ideal"), "go with --executor roofline"),
        ((*ROOFLINE, *LOAD, "--find-rate"), "--find-rate needs an SLO"),
        ((*ROOFLINE, *LOAD[:-1], "inf", *SEARCH), "--request-rate inf"),
        ((*ROOFLINE, *LOAD[:-1], "0", *SEARCH), "--request-rate 0"),
        ((*ROOFLINE, *LOAD, *SEARCH, "--num-warmups", "17"), "of 63 measured requests"),
        ((*ROOFLINE, *SEARCH, "--duration", "5"), "--workload arxiv or sharegpt"),
        ((*ROOFLINE, *LOAD, *SEARCH, "--duration", "-1"), "--duration -1"),
        ((*ROOFLINE, *LOAD, "--duration", "inf"), "--duration inf is out of range; accepted: sec"),
        ((*ROOFLINE, *LOAD, *SEARCH, "--duration", "inf"), "leave it out for all requests"),
        ((*ROOFLINE, *LOAD, *SEARCH, "--duration", "nan"), "--duration nan is out of range"),
        (
            (*ROOFLINE, *LOAD[:-1], "nan", *SEARCH, "--duration", "60"),
            "--request-rate nan is no rate that --find-rate can start from; accepted: 1e-09 to",
        ),
        ((*ROOFLINE, *LOAD[:-1], "1e308", *SEARCH), "accepted: 1e-09 to 1e+09 requests per second"),
        (
            (*ROOFLINE, *LOAD[:-1], "100", *SEARCH, "--duration", "1e308"),
            "--duration 1e+308 holds more than 1000000 requests at 100 a second; accepted: 10000 s",
        ),
        ((*ROOFLINE, *LOAD[:-1], "1", *SEARCH, "--duration", "1e7"), "accepted: 1e+06 seconds"),
    ],
)
def test_bad_input(lpbench: CommandLine, options: tuple[str, ...], says: str) -> None:
    """One line, exit code 2."""
    result = lpbench("latency", *options)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)


def test_an_even_load_is_recorded_and_run_again(lpbench: CommandLine, tmp_path: Path) -> None:
    """A burstiness of infinity is a text in the record, as a rate is, and leads back to itself."""
    path = tmp_path / "even.json"
    load = (*LOAD[:2], "--num-prompts", "8", "--request-rate", "4", "--burstiness", "inf")
    result = lpbench("latency", *ROOFLINE, *load, "--json", path)
    assert OK == result.code, result.err
    assert "inf" == json.loads(path.read_text(encoding="utf-8"))["spec"]["burstiness"]
    result = lpbench("check", "--baseline", path)
    assert (OK, "") == (result.code, result.err)


def test_decades_may_go_by_between_two_requests(lpbench: CommandLine) -> None:
    """At a second of 1e9 a float knows no single nanoseconds: each is served all the same."""
    load = ("--input-len", "100", "--output-len", "2", "--num-prompts", "64")
    result = lpbench("latency", *ROOFLINE, *load, "--request-rate", "1e-7", "--json", "-")
    assert OK == result.code, result.err
    for arm in json.loads(result.out)["arms"]:
        assert 64 * 100 == arm["metrics"]["prefill_rows"]["value"]


def test_every_schedule_is_given_its_own_rate(lpbench: CommandLine, tmp_path: Path) -> None:
    """Arms are at the highest rate that 90 % allow, which alone is compared; all tried are kept."""
    run = tmp_path / "run"
    result = lpbench("latency", *ROOFLINE, *LOAD, *SEARCH, "--output", run)
    assert OK == result.code, result.err
    assert all(len(line) <= 80 for line in result.out.splitlines())
    (record,) = read_runs(run)
    assert (True, 0.9) == (record.spec["find_rate"], record.spec["slo_target"])
    tried = read_lines(run / "rates.jsonl")
    for arm in record.arms:
        rate = arm.metrics["request_rate_at_slo"]
        assert ("modelled", "1/s") == (rate.method, rate.unit)
        assert f"{rate.value:.4g}" in result.out
        shares = {
            line["request_rate"]: line["slo_attainment"]
            for line in tried
            if line["arm"] == arm.label
        }
        assert rate.value is not None
        assert shares[rate.value] == arm.metrics["slo_attainment"].value
        assert 0.9 <= shares[rate.value]
        above = min(other for other in shares if other > rate.value)
        assert above <= 1.01 * rate.value
        assert shares[above] is None or shares[above] < 0.9
    assert ["request_rate_at_slo"] == [one.metric for one in record.comparison]
    served = read_lines(run / "requests.jsonl")
    assert [80, 80] == [sum(line["arm"] == arm.label for line in served) for arm in record.arms]
    compared = lpbench("compare", run)
    assert "request rate at slo" in compared.out
    assert "ttft" not in compared.out


def test_a_duration_draws_the_requests_of_a_rate(lpbench: CommandLine, tmp_path: Path) -> None:
    """At every rate tried so many requests are offered as arrive in it, 64 at least."""
    run = tmp_path / "run"
    options = ("--workload", "sharegpt", "--request-rate", "4", "--duration", "10")
    result = lpbench("latency", *ROOFLINE, *options, *SEARCH, "--output", run)
    assert OK == result.code, result.err
    tried = read_lines(run / "rates.jsonl")
    assert all(max(64, round(10 * one["request_rate"])) == one["num_prompts"] for one in tried)
    assert len({one["num_prompts"] for one in tried}) > 2


def test_an_slo_that_no_rate_keeps_has_no_rate(lpbench: CommandLine) -> None:
    """The rate is absent with its reason, and a line says at which rate the figures are."""
    load = ("--num-prompts", "64", "--input-len", "9", "--output-len", "2")
    slo = ("--goodput", "tbt:0.001", "--find-rate", "--request-rate", "4")
    result = lpbench("latency", *ROOFLINE, *load, *slo, "--schedule", "chunked")
    assert OK == result.code, result.err
    assert "chunked: even at 0.003906 requests/s fewer than 90% met the SLO" in " ".join(
        result.out.split()
    )


def test_a_rate_is_looked_for_on_the_wall_clock(
    lpbench: CommandLine, qwen: Path, tmp_path: Path
) -> None:
    """An SLO of a minute is kept at every rate: the search ends at its bound, and says so."""
    load = ("--num-prompts", "64", "--input-len", "2", "--output-len", "1", "--request-rate", "900")
    slo = ("--goodput", "ttft:60000", "--find-rate", "--schedule", "chunked", "--device", "cpu")
    run = tmp_path / "run"
    result = lpbench("latency", "--model", qwen, *load, *slo, "--output", run)
    assert OK == result.code, result.err
    (record,) = read_runs(run)
    rate = record.arms[0].metrics["request_rate_at_slo"]
    assert (None, ("slo_met_at_highest_rate",)) == (rate.value, rate.reasons)
    assert 11 == len(read_lines(run / "rates.jsonl"))
