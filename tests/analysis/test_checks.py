import pytest

from lpbench.analysis.checks import cache_cautions, routing_cautions


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
