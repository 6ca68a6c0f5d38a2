"""Seeded routing: the draws against a plain reference, their bits, and the coverage they give."""

import hashlib
import math
from collections.abc import Callable
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lpbench.workload.routing import (
    LAYER_SPREAD,
    REQUEST_SPREAD,
    RoutingDraws,
    cheapest,
    natural_exp,
    natural_log,
    normal_quantile,
)

QWEN = {"num_layers": 48, "num_experts": 128, "top_k": 8}
PROMPTS = 2

REPORTED_DECODE = {16: 45.0, 32: 55.0, 64: 68.0, 128: 86.0}
REPORTED_SLICE = {512: 82.0, 1024: 88.0, 2048: 92.0, 4096: 95.0, 8192: 98.0}


def reference_uniform(*coordinates: int) -> float:
    """Hash the coordinates one by one in Python integers, to a number in (0, 1)."""
    mask = (1 << 64) - 1
    word = 0
    for coordinate in coordinates:
        word = (word + (coordinate + 1) * 0x9E3779B97F4A7C15) & mask
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        word ^= word >> 31
    return (2 * (word >> 12) + 1) / (1 << 53)


def reference_experts(draws: RoutingDraws, layer: int, *, request: int, position: int) -> list[int]:
    """Take the largest score plus Gumbel noise, with the logarithms of the standard library."""
    normal = NormalDist().inv_cdf
    keys = []
    for expert in range(draws.num_experts):
        score = 0.0
        if draws.kind == "calibrated":
            score += LAYER_SPREAD * normal(reference_uniform(draws.seed, 1, layer, expert))
            own = reference_uniform(draws.seed, 2, layer, request, expert)
            score += REQUEST_SPREAD * normal(own)
        noise = reference_uniform(draws.seed, 3, layer, request, position, expert)
        keys.append((score - math.log(-math.log(noise)), expert))
    return sorted(expert for _, expert in sorted(keys)[-draws.top_k :])


def coverage(experts: NDArray[np.int16], num_experts: int) -> float:
    """Return the percentage of distinct experts, averaged over the layers."""
    layers = [len(np.unique(layer)) for layer in experts]
    return 100.0 * sum(layers) / (len(layers) * num_experts)


def decode_batch(kind: str) -> NDArray[np.int16]:
    """Return position 1000 of 128 requests, side by side."""
    draws = RoutingDraws(kind, 0, **QWEN)
    rows = [draws.experts(request=request, start=1000, stop=1001) for request in range(128)]
    return np.concatenate(rows, axis=1)


@pytest.mark.parametrize("kind", ["calibrated", "uniform"])
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_draws_equal_a_scalar_reference(kind: str, seed: int) -> None:
    """Every row equals the one that a loop over integers and Gumbel scores gives."""
    draws = RoutingDraws(kind, seed, num_layers=3, num_experts=128, top_k=8)
    coordinates = [(0, 0, 0), (2, 0, 1), (1, 7, 511), (2, 1_000, 8_191), (0, 3, 200_000)]
    expected = [
        reference_experts(draws, layer, request=request, position=position)
        for layer, request, position in coordinates
    ]

    assert expected == [
        draws.experts(request=request, start=position, stop=position + 1)[layer, 0].tolist()
        for layer, request, position in coordinates
    ]


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        ("calibrated", "d43c83b3db081774c1e0dad06779d72d26cef83c3422f2a4ff3731791165e343"),
        ("uniform", "99d29bdcdacdefba6578c805ebf67153879df5f48595fc7eba0c0d7ff32af773"),
    ],
)
def test_draws_have_the_same_bits_everywhere(kind: str, digest: str) -> None:
    """The bytes of a fixed draw hash to a stored digest, whatever the machine."""
    draws = RoutingDraws(kind, 2**63 + 11, num_layers=5, num_experts=60, top_k=4)
    experts = draws.experts(request=3, start=10, stop=1010)
    shape = (draws.num_layers, 1000, draws.top_k)

    assert shape == experts.shape
    assert np.dtype(np.int16) == experts.dtype
    assert digest == hashlib.sha256(experts.astype("<i2").tobytes()).hexdigest()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_slices_of_a_request_join_to_the_whole(data: st.DataObject) -> None:
    """However a request is sliced the ids are the same: ascending, distinct and in range."""
    num_experts = data.draw(st.integers(1, 300), label="num_experts")
    draws = RoutingDraws(
        data.draw(st.sampled_from(["calibrated", "uniform"]), label="kind"),
        data.draw(st.integers(0, 2**64 - 1), label="seed"),
        num_layers=data.draw(st.integers(1, 4), label="num_layers"),
        num_experts=num_experts,
        top_k=data.draw(st.integers(1, min(8, num_experts)), label="top_k"),
    )
    request = data.draw(st.integers(0, 10_000), label="request")
    points = st.lists(st.integers(0, 150), min_size=2, max_size=5)
    cuts = sorted(data.draw(points, label="cuts"))
    whole = draws.experts(request=request, start=cuts[0], stop=cuts[-1])
    slices = [
        draws.experts(request=request, start=start, stop=stop) for start, stop in pairwise(cuts)
    ]

    assert (draws.num_layers, cuts[-1] - cuts[0], draws.top_k) == whole.shape
    assert np.array_equal(whole, np.concatenate(slices, axis=1))
    assert (np.diff(whole, axis=-1) > 0).all()
    assert ((whole >= 0) & (whole < num_experts)).all()


@pytest.mark.parametrize("kind", ["calibrated", "uniform"])
def test_a_layer_does_not_depend_on_how_many_there_are(kind: str) -> None:
    """The layers of a shallow model are the first layers of a deep one."""
    shallow = RoutingDraws(kind, 5, num_layers=2, num_experts=64, top_k=6)
    deep = RoutingDraws(kind, 5, num_layers=9, num_experts=64, top_k=6)
    expected = shallow.experts(request=1, start=0, stop=400)

    assert np.array_equal(expected, deep.experts(request=1, start=0, stop=400)[:2])


def test_seed_layer_request_and_position_each_change_the_draw() -> None:
    """No two rows agree that differ in one of seed, layer, request and position."""
    rows = [
        tuple(row.tolist())
        for seed in range(2)
        for request in range(3)
        for layer in RoutingDraws("uniform", seed, **QWEN).experts(request=request, start=0, stop=5)
        for row in layer
    ]

    assert len(rows) == len(set(rows))


def test_equal_costs_go_to_the_lower_ids() -> None:
    """Experts that cost the same are taken in the order of their ids."""
    costs = np.array([[2.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 1.0], [3.0, 2.0, 1.0, 0.5]])
    expected = [[1, 2], [0, 3], [2, 3]]

    assert expected == cheapest(costs, 2).tolist()


def test_natural_log_keeps_its_bound() -> None:
    """The logarithm is within 1e-15, relative, of the standard library's."""
    rng = np.random.default_rng(0)
    roots = np.nextafter(math.sqrt(0.5), [0.0, 0.5, 1.0])
    edges = np.array([2.0**-53, 1.0 - 2.0**-53, 0.5, 1.0, 2.0, 1.0 + 2.0**-52])
    x = np.concatenate([rng.random(10_000), 1.0 - 2.0 ** -rng.uniform(1, 52, 5_000), roots, edges])
    expected = [math.log(value) for value in x]

    assert expected == pytest.approx(natural_log(x), rel=1e-15, abs=0.0)


def test_natural_exp_keeps_its_bound() -> None:
    """The exponential is within 1e-15, relative, of the standard library's."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-30, 30, 10_000), [-700.0, 0.0, 700.0]])
    expected = [math.exp(value) for value in x]

    assert expected == pytest.approx(natural_exp(x), rel=1e-15, abs=0.0)


def test_normal_quantile_keeps_its_bound() -> None:
    """The quantile is within 1e-14 of the standard library's and inverts the error function."""
    tails = 2.0 ** -np.random.default_rng(0).uniform(1, 53, 5_000)
    p = np.concatenate([np.random.default_rng(1).random(5_000), tails, 1.0 - tails])
    quantiles = normal_quantile(p)
    expected = [NormalDist().inv_cdf(value) for value in p]
    tail_mass = [0.5 * math.erfc(abs(value) / math.sqrt(2.0)) for value in quantiles]

    assert expected == pytest.approx(quantiles, rel=1e-14, abs=0.0)
    assert np.minimum(p, 1.0 - p) == pytest.approx(np.array(tail_mass), rel=1e-12, abs=0.0)


def test_calibrated_coverage_is_the_reported_one(
    record_property: Callable[[str, object], None],
) -> None:
    """All nine coverages of the paper are met within five points, with seed 0.

    A decode batch holds position 1000 of the requests 0, 1, ...; a slice is the first tokens of one
    prompt, averaged over two prompts.
    """
    batch = decode_batch("calibrated")
    draws = RoutingDraws("calibrated", 0, **QWEN)
    prompts = [draws.experts(request=request, start=0, stop=8192) for request in range(PROMPTS)]
    measured = {f"decode {size}": coverage(batch[:, :size], 128) for size in REPORTED_DECODE}
    for size in REPORTED_SLICE:
        slices = [coverage(prompt[:, :size], 128) for prompt in prompts]
        measured[f"slice {size}"] = sum(slices) / PROMPTS
    reported = {f"decode {size}": value for size, value in REPORTED_DECODE.items()}
    reported |= {f"slice {size}": value for size, value in REPORTED_SLICE.items()}
    record_property("coverage_percent", measured)

    assert reported == pytest.approx(measured, abs=5.0), measured


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_uniform_coverage_is_the_closed_form(size: int) -> None:
    """A batch of B rows leaves each expert out with probability (1 - 8/128)**B."""
    expected = 100.0 * (1.0 - (1.0 - 8 / 128) ** size)

    assert expected == pytest.approx(coverage(decode_batch("uniform")[:, :size], 128), abs=1.5)
