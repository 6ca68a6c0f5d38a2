"""Expected coverage: against the draws it stands for, against the paper, and its closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.workload.coverage import find_coverage
from lpbench.workload.routing import RoutingDraws

LAYERS = 12
QWEN = {"num_experts": 128, "top_k": 8}
SIZES = [(128, 8, 2.0), (32, 4, 2.5), (256, 8, 2.0), (8, 2, 5.0)]
"""Experts, top-k, and the points that the fast form may be off."""


def drawn_coverage(
    num_experts: int, top_k: int, *, decodes: int, prompts: tuple[int, ...]
) -> float:
    """Return the coverage of a batch in per cent, counted from draws of four such batches."""
    draws = RoutingDraws("calibrated", 3, LAYERS, num_experts, top_k)
    counts = []
    for batch in range(4):
        first = 1000 * batch
        rows = [(first + at, 1) for at in range(decodes)]
        rows += [(first + 500 + at, rows_of) for at, rows_of in enumerate(prompts)]
        chosen = np.concatenate(
            [draws.experts(request=request, start=0, stop=count) for request, count in rows],
            axis=1,
        )
        counts += [len(np.unique(chosen[layer])) for layer in range(LAYERS)]
    return 100 * float(np.mean(counts)) / num_experts


@pytest.mark.parametrize(("num_experts", "top_k", "points"), SIZES)
@pytest.mark.parametrize(
    ("decodes", "prompts"),
    [(1, ()), (8, ()), (64, ()), (0, (64,)), (0, (512,)), (16, (496,)), (4, (100, 300))],
    ids=str,
)
def test_the_fast_form_is_near_the_draws(
    num_experts: int, top_k: int, points: float, decodes: int, prompts: tuple[int, ...]
) -> None:
    """Batches of decodes, of prompts and of both, for as many experts as models have."""
    expected = drawn_coverage(num_experts, top_k, decodes=decodes, prompts=prompts)
    coverage = find_coverage("calibrated", num_experts=num_experts, top_k=top_k)
    found = 100 * coverage.distinct(decodes, prompts) / num_experts
    assert expected == pytest.approx(found, abs=points)


@pytest.mark.parametrize(
    ("decodes", "prompts", "reported"),
    [
        (32, (), 55.0),
        (128, (), 86.3),
        (0, (512,), 82.4),
        (0, (1024,), 87.6),
        (0, (2048,), 92.0),
        (0, (4096,), 94.9),
        (0, (8192,), 98.5),
    ],
)
def test_coverage_is_within_five_points_of_the_paper(
    decodes: int, prompts: tuple[int, ...], reported: float
) -> None:
    """Its Table 1 over decode batches, its Fig. 2 over slices of one prompt (PAPER.md 3.2, 3.4)."""
    found = 100 * find_coverage("calibrated", **QWEN).distinct(decodes, prompts) / 128
    assert reported == pytest.approx(found, abs=5)


@pytest.mark.parametrize("routing", ["calibrated", "uniform"])
def test_one_row_touches_top_k(routing: str) -> None:
    """Whatever the popularity, a decode or a prompt of one token takes k experts; none takes 0."""
    coverage = find_coverage(routing, **QWEN)
    assert 8 == pytest.approx(coverage.distinct(1), rel=1e-9)
    assert 8 == pytest.approx(coverage.distinct(0, (1,)), rel=1e-9)
    assert 0 == pytest.approx(coverage.distinct(0), abs=1e-9)


@given(
    routing=st.sampled_from(["calibrated", "uniform"]),
    decodes=st.integers(0, 300),
    prompts=st.lists(st.integers(1, 10_000), max_size=3).map(tuple),
    more=st.integers(1, 1000),
)
def test_more_rows_touch_more_and_never_all_twice(
    routing: str, decodes: int, prompts: tuple[int, ...], more: int
) -> None:
    """Coverage grows with rows, by no more than a further batch touches by itself, up to E."""
    coverage = find_coverage(routing, **QWEN)
    before, after = (
        coverage.distinct(decodes, prompts),
        coverage.distinct(decodes, (*prompts, more)),
    )
    alone = coverage.distinct(0, (more,))
    assert before <= after + 1e-9
    assert after <= min(128, before + alone) + 1e-9


def test_uniform_is_the_closed_form() -> None:
    """E (1 - (1 - k/E)^rows), whoever the rows are of."""
    coverage = find_coverage("uniform", **QWEN)
    expected = 128 * (1 - (1 - 8 / 128) ** 40)
    assert expected == pytest.approx(coverage.distinct(10, (20, 10)), rel=1e-12)
