from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from lpbench.meters.experts import ExpertMeter, IterationCount

E, K, W = 4, 2, 10
"""Experts of a layer, experts a row takes, bytes of one expert."""

METRICS = (
    "expert_bytes",
    "expert_bytes_prefill_marginal",
    "expert_bytes_prefill_iterations",
    "distinct_expert_loads",
    "reload_factor",
    "expert_coverage",
    "expert_coverage_prefill_iterations",
    "expert_coverage_decode_iterations",
    "tokens_per_expert",
)


def bits(*layers: Sequence[str]) -> NDArray[np.bool_]:
    """Return bitmaps from one list per layer: decodes, then each prompt, as in "1010"."""
    return np.array([[[bit == "1" for bit in row] for row in layer] for layer in layers])


def meter() -> ExpertMeter:
    """Return a meter that has seen nothing."""
    return ExpertMeter(num_experts=E, top_k=K, expert_bytes=W)


def values(**given: float | None) -> Mapping[str, float | None]:
    """Return all metrics, those not given as None."""
    return {name: given.get(name) for name in METRICS}


def test_nothing_observed_has_no_ratios() -> None:
    """Sums are 0; what would be a division by nothing is absent."""
    expected = values(
        expert_bytes=0,
        expert_bytes_prefill_marginal=0,
        expert_bytes_prefill_iterations=0,
        distinct_expert_loads=0,
    )
    assert expected == meter().values()


def test_an_iteration_is_counted_by_layer() -> None:
    """|D|, |P| and |E_d| of two layers, with two prompts that overlap the decodes."""
    touched = bits(["1100", "0110", "0100"], ["0000", "0011", "1001"])
    found = meter().observe(touched=touched, prompts=[7, 3], rows=[4, 2])
    expected = IterationCount(distinct=(3, 3), prefill=(2, 3), decode=(2, 0))
    assert expected == found
    assert 60 == meter().bytes_of(found)


def test_decodes_alone_have_no_prefill_metrics() -> None:
    """Without a prompt there is no reload factor, and all coverage is that of decode.

    Two layers load 2 and 3 of 4 experts for 2 rows each: 5 loads, 8 (row, expert) pairs.
    """
    found = meter()
    found.observe(touched=bits(["1100"], ["1110"]), prompts=[], rows=[2, 2])
    expected = values(
        expert_bytes=50,
        expert_bytes_prefill_marginal=0,
        expert_bytes_prefill_iterations=0,
        distinct_expert_loads=5,
        expert_coverage=5 / 8,
        expert_coverage_decode_iterations=5 / 8,
        tokens_per_expert=8 / 5,
    )
    assert expected == found.values()


def test_prompts_alone_have_no_decode_metrics() -> None:
    """One prompt of 3 rows in one pass: nothing is loaded twice, and all of it is prefill's."""
    found = meter()
    found.observe(touched=bits(["0000", "1110"], ["0000", "1111"]), prompts=[0], rows=[3, 3])
    expected = values(
        expert_bytes=70,
        expert_bytes_prefill_marginal=70,
        expert_bytes_prefill_iterations=70,
        distinct_expert_loads=7,
        reload_factor=1,
        expert_coverage=7 / 8,
        expert_coverage_prefill_iterations=7 / 8,
        tokens_per_expert=12 / 7,
    )
    assert expected == found.values()


def test_every_metric_of_a_mixed_arm_by_hand() -> None:
    """Three iterations of two layers: two chunks of prompt 5 beside a decode, then decodes alone.

    |D| is 3 + 4, 4 + 2 and 2 + 3; prefill adds 1 + 2 and 2 + 0 to the decodes' 2 each. Prompt 5
    touches (2 + 3) + (3 + 1) experts of a union of 3 + 3, so its reload factor is 9 / 6.
    """
    found = meter()
    found.observe(touched=bits(["1100", "0110"], ["0011", "1110"]), prompts=[5], rows=[3, 3])
    found.observe(touched=bits(["1010", "0111"], ["1100", "0100"]), prompts=[5], rows=[2, 2])
    found.observe(touched=bits(["1001"], ["0111"]), prompts=[], rows=[2, 2])
    expected = values(
        expert_bytes=10 * 18,
        expert_bytes_prefill_marginal=10 * 5,
        expert_bytes_prefill_iterations=10 * 13,
        distinct_expert_loads=18,
        reload_factor=9 / 6,
        expert_coverage=18 / (4 * 6),
        expert_coverage_prefill_iterations=13 / (4 * 4),
        expert_coverage_decode_iterations=5 / (4 * 2),
        tokens_per_expert=2 * 14 / 18,
    )
    assert expected == found.values()


def test_the_reload_factor_is_taken_request_by_request() -> None:
    """Two prompts that share experts do not reload for each other; one that comes twice does.

    Prompt 0 touches 2 then 2 of the same 2, prompt 1 the same 2 once: (2 + 2 + 2) / (2 + 2).
    """
    found = meter()
    found.observe(touched=bits(["0000", "1100", "1100"]), prompts=[0, 1], rows=[4])
    found.observe(touched=bits(["0000", "1100"]), prompts=[0], rows=[1])
    assert 6 / 4 == found.values()["reload_factor"]


def test_layered_groups_reload_nothing() -> None:
    """A prompt that passes each layer once touches what its union holds."""
    found = meter()
    found.observe(touched=bits(["1000", "1110"], ["0100", "0000"]), prompts=[2], rows=[3, 1])
    found.observe(touched=bits(["1000", "0000"], ["0100", "1111"]), prompts=[2], rows=[1, 3])
    assert 1 == found.values()["reload_factor"]


def test_a_layer_without_rows_does_not_count_as_covered() -> None:
    """Coverage is over passes through a layer that had a row: one of two here."""
    found = meter()
    found.observe(touched=bits(["0000", "1110"], ["0000", "0000"]), prompts=[2], rows=[3, 0])
    assert (3 / 4, 3 / 4) == (
        found.values()["expert_coverage"],
        found.values()["expert_coverage_prefill_iterations"],
    )


def test_the_meter_does_not_hold_on_to_the_callers_bitmaps() -> None:
    """An engine may reuse its buffers after the count."""
    found = meter()
    buffer = bits(["0000", "1000"])
    found.observe(touched=buffer, prompts=[0], rows=[1])
    buffer[:] = True
    found.observe(touched=bits(["0000", "1000"]), prompts=[0], rows=[1])
    assert 2 == found.values()["reload_factor"]


@pytest.mark.parametrize("expert_bytes", [1, 9_437_184])
def test_bytes_are_loads_times_the_bytes_of_an_expert(expert_bytes: int) -> None:
    """All byte metrics scale with w, and stay whole numbers."""
    found = ExpertMeter(num_experts=E, top_k=K, expert_bytes=expert_bytes)
    found.observe(touched=bits(["1100", "0110"]), prompts=[0], rows=[2])
    expected = [3 * expert_bytes, 1 * expert_bytes, 3 * expert_bytes]
    measured = [found.values()[name] for name in METRICS[:3]]
    assert expected == measured
    assert {int} == {type(value) for value in measured}
