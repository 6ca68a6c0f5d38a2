import pytest

from lpbench.analysis.metrics import (
    ALL_METRICS,
    COMPARED,
    ENERGY_METRICS,
    LESS,
    METRICS,
    MORE,
    SPEED_METRICS,
    TAIL_SAMPLES,
    Times,
    latency_samples,
    summarise,
)
from lpbench.testing.records import example_record

MS = 1_000_000
"""Nanoseconds of a millisecond."""

UNITS = {"B", "1", "ratio", "ms", "J", "W", "FLOP"}
EXACT = {
    "iterations",
    "prefill_rows",
    "decode_rows",
    "preemptions",
    "expert_bytes",
    "expert_bytes_prefill_marginal",
    "expert_bytes_prefill_iterations",
    "distinct_expert_loads",
    "reload_factor",
    "expert_coverage",
    "expert_coverage_prefill_iterations",
    "expert_coverage_decode_iterations",
    "tokens_per_expert",
}


def times(arrival: int, scheduled: int, *tokens: int) -> Times:
    """Return the times of a request in milliseconds from anywhere."""
    start = 77 * MS
    return Times(
        arrival=start + arrival * MS,
        scheduled=start + scheduled * MS,
        tokens=tuple(start + token * MS for token in tokens),
    )


def test_every_metric_has_a_unit_and_a_meaning() -> None:
    """The table of metrics uses the record's units."""
    every = {**METRICS, **ENERGY_METRICS, **SPEED_METRICS}
    assert {name for name, metric in every.items() if metric.unit not in UNITS} == set()
    assert all(metric.meaning for metric in every.values())


def test_less_is_better_but_of_rates_and_attainment() -> None:
    """No metric is compared without a side that is better."""
    more = {name for name, metric in COMPARED.items() if metric.better == MORE}
    rates = {name for name, metric in ALL_METRICS.items() if metric.unit == "1/s"}
    assert {"slo_attainment", *rates} == more
    assert {LESS, MORE} == {metric.better for metric in COMPARED.values()}


def test_counts_are_exact_and_times_are_not() -> None:
    """Only what follows from plans, seeds and routing is the same on every machine."""
    assert EXACT == {name for name, metric in METRICS.items() if metric.exact}
    assert all(metric.unit != "ms" for metric in METRICS.values() if metric.exact)


@pytest.mark.parametrize("name", ["ttft", "tbt", "tpot", "e2e", "queue"])
def test_a_latency_has_its_unit_in_its_key(name: str) -> None:
    """Mean, median, p99 and max of each, in milliseconds."""
    keys = [f"{name}_ms_{statistic}" for statistic in ("mean", "median", "p99", "max")]
    assert ["ms"] * 4 == [METRICS[key].unit for key in keys]


def test_the_example_record_has_every_metric() -> None:
    """The builder for tests keeps up with the table, units included."""
    units = {name: metric.unit for name, metric in METRICS.items()}
    for arm in example_record().arms:
        assert units == {name: reading.unit for name, reading in arm.metrics.items()}


def test_latencies_of_one_request_by_hand() -> None:
    """Arrived at 10, scheduled at 25, tokens at 40, 70 and 80 ms."""
    expected = {"ttft": [30], "tbt": [30, 10], "tpot": [20], "e2e": [70], "queue": [15]}
    assert expected == latency_samples([times(10, 25, 40, 70, 80)])


def test_gaps_are_pooled_over_requests() -> None:
    """Every gap of every request is a sample of tbt; the rest has one sample a request."""
    expected = {
        "ttft": [5, 2],
        "tbt": [10, 1, 1],
        "tpot": [10, 1],
        "e2e": [15, 4],
        "queue": [0, 1],
    }
    assert expected == latency_samples([times(0, 0, 5, 15), times(3, 4, 5, 6, 7)])


def test_a_single_token_has_neither_gap_nor_time_per_token() -> None:
    """With one output token tbt and tpot have no sample, and e2e is ttft."""
    expected = {"ttft": [7], "tbt": [], "tpot": [], "e2e": [7], "queue": [2]}
    assert expected == latency_samples([times(1, 3, 8)])


def test_no_request_gives_no_sample() -> None:
    """All lists are there, and empty."""
    expected: dict[str, list[float]] = {"ttft": [], "tbt": [], "tpot": [], "e2e": [], "queue": []}
    assert expected == latency_samples([])


def test_no_sample_gives_the_reason_for_every_statistic() -> None:
    """Absent, never zero."""
    expected = dict.fromkeys(("mean", "median", "p90", "p99", "max"), "no_samples")
    assert expected == summarise([])


def test_mean_median_and_max_by_hand() -> None:
    """Samples come in any order; of an even number the median lies between."""
    few = dict.fromkeys(("p90", "p99"), "too_few_samples")
    expected = {"mean": 3.75, "median": 2.5, **few, "max": 9.0}
    assert expected == summarise([9.0, 1.0, 3.0, 2.0])


@pytest.mark.parametrize(
    ("count", "expected"), [(63, "too_few_samples"), (64, 58), (69, 63), (70, 63), (100, 90)]
)
def test_a_p90_needs_64_samples(count: int, expected: float | str) -> None:
    """It is the smallest sample that 90 % do not exceed, of 1 to `count`."""
    assert expected == summarise(list(range(count, 0, -1)))["p90"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "too_few_samples"),
        (699, "too_few_samples"),
        (700, 693),
        (701, 694),
        (799, 792),
        (800, 792),
        (1000, 990),
    ],
)
def test_a_p99_needs_700_samples(count: int, expected: float | str) -> None:
    """It is the smallest sample that 99 % do not exceed, of 1 to `count`."""
    assert 700 == TAIL_SAMPLES
    assert expected == summarise(list(range(count, 0, -1)))["p99"]
