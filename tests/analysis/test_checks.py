from dataclasses import replace

import pytest

from lpbench.analysis.checks import (
    bandwidth_cautions,
    cache_cautions,
    is_impossible,
    mark_impossible,
    routing_cautions,
)
from lpbench.record.schema import Reading
from lpbench.shape.device import find_device
from lpbench.testing.records import example_record

SLOW = replace(
    find_device("h200"), name="slow", memory_bandwidth=1e6, cache_bytes=1_000_000, cuda_names=()
)
"""A device that moves a kilobyte in a millisecond."""


@pytest.mark.parametrize(
    ("routing", "drawn_weights", "random_ids", "expected"),
    [
        ("model", True, True, ["untrained_router", "random_prompts"]),
        ("model", True, False, ["untrained_router"]),
        ("model", False, True, ["random_prompts"]),
        ("model", False, False, []),
        ("calibrated", True, True, []),
        ("uniform", True, True, []),
    ],
)
def test_only_the_models_own_router_is_doubted(
    routing: str,
    drawn_weights: bool,  # noqa: FBT001
    random_ids: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    """Drawn weights and random ids misroute it; drawn routing depends on neither."""
    found = routing_cautions(routing=routing, drawn_weights=drawn_weights, random_ids=random_ids)
    assert expected == [caution.code for caution in found]


@pytest.mark.parametrize(
    ("expert_bytes", "cache_bytes", "expected"),
    [
        (3_999_999, 1_000_000, ["fits_in_cache"]),
        (4_000_001, 1_000_000, []),
        (1, None, []),
        (1, 0, []),
    ],
)
def test_experts_below_four_times_the_cache_may_be_read_from_it(
    expert_bytes: int, cache_bytes: int | None, expected: list[str]
) -> None:
    """A cache that is not known says nothing."""
    found = cache_cautions(expert_bytes=expert_bytes, cache_bytes=cache_bytes)
    assert expected == [caution.code for caution in found]


def test_the_caution_names_both_sizes() -> None:
    """A reader sees how far the experts are from the limit."""
    (found,) = cache_cautions(expert_bytes=12_345_678, cache_bytes=36_000_000)
    expected = (
        "all experts are 12.3 MB, no more than 4 times the last-level cache (36.0 MB): counted "
        "bytes may not reach DRAM"
    )
    assert expected == found.message


@pytest.mark.parametrize(
    ("num_bytes", "duration_ms", "expected"),
    [(1000, 1, False), (1001, 1, True), (1001, 2, False), (1, 0, True), (0, 0, False)],
)
def test_more_bytes_than_the_peak_moves_are_impossible(
    num_bytes: float, duration_ms: float, *, expected: bool
) -> None:
    """1 MB/s is 1000 bytes in a millisecond; any byte in no time is too many."""
    assert expected == is_impossible(num_bytes, duration_ms=duration_ms, device=SLOW)


def test_an_unknown_device_has_no_peak() -> None:
    """A CPU is in no catalogue: nothing is impossible there."""
    assert not is_impossible(1e30, duration_ms=1e-9, device=None)


def dram(value: float | None) -> Reading:
    """Return measured DRAM bytes; None for absent ones."""
    absent = value is None
    return Reading.model_validate(
        {
            "value": value,
            "unit": "B",
            "method": "measured",
            "source": "cupti",
            "pass": "counters",
            "validity": "absent" if absent else "valid",
            "reasons": ("no_device",) if absent else (),
        }
    )


def test_bytes_are_impossible_above_a_known_peak() -> None:
    """1 MB/s moves 1000 bytes in a millisecond; who knows no peak claims nothing."""
    assert is_impossible(1001, duration_ms=1, device=SLOW)
    assert not is_impossible(1000, duration_ms=1, device=SLOW)
    assert not is_impossible(1001, duration_ms=1, device=None)


@pytest.mark.parametrize(
    ("impossible", "expert_bytes", "expected"),
    [
        (1, 4_000_001, ["impossible_bandwidth"]),
        (1, 4_000_000, []),
        (0, 4_000_001, []),
    ],
)
def test_counted_bytes_are_impossible_where_no_cache_can_serve_them(
    impossible: int, expert_bytes: int, expected: list[str]
) -> None:
    """Above four times the last-level cache; below it `fits_in_cache` warns instead."""
    found = bandwidth_cautions(impossible=impossible, expert_bytes=expert_bytes, device=SLOW)
    assert expected == [caution.code for caution in found]
    cached = cache_cautions(expert_bytes=expert_bytes, cache_bytes=SLOW.cache_bytes)
    assert (expert_bytes <= 4_000_000) == bool(cached)


def test_an_unknown_device_is_not_doubted() -> None:
    """Without a peak and a cache there is nothing to hold the count to."""
    assert [] == bandwidth_cautions(impossible=3, expert_bytes=10**12, device=None)


def test_the_doubt_names_device_and_peak() -> None:
    """A reader sees how often, of what, and what may be wrong."""
    (found,) = bandwidth_cautions(
        impossible=3, expert_bytes=10**12, device=replace(SLOW, memory_bandwidth=4.8e12)
    )
    expected = (
        "counted expert bytes over time exceed the peak of slow (4.80 TB/s) in 3 iterations or "
        "windows: the bytes or the times are wrong"
    )
    assert expected == found.message


def test_both_sides_of_an_impossible_quotient_are_marked() -> None:
    """Counted bytes and measured times are invalid, absent ones stay absent, others valid."""
    before = example_record().arms[0].metrics
    after = mark_impossible(before)
    for name in ("expert_bytes", "expert_bytes_prefill_marginal", "ttft_ms_mean", "e2e_ms_max"):
        assert ("invalid", ("impossible_bandwidth",)) == (
            after[name].validity,
            after[name].reasons,
        )
        assert before[name].value == after[name].value
    for name in ("iterations", "reload_factor", "expert_bytes_modelled"):
        assert before[name] == after[name]
    assert ("absent", ("too_few_samples", "impossible_bandwidth")) == (
        after["ttft_ms_p99"].validity,
        after["ttft_ms_p99"].reasons,
    )
