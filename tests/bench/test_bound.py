"""The roofline of one pass, by hand: what it reads and computes with the experts it touched."""

import math
from dataclasses import replace

import pytest

from lpbench.bench.bound import pass_cost
from lpbench.executors.executor import Cost
from lpbench.executors.roofline.coefficients import IDEAL
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import Device
from lpbench.shape.precision import PRECISIONS

B = 4
GPT_OSS, _ = find_shape("gpt-oss-20b")
TINY = replace(
    GPT_OSS,
    num_layers=2,
    windows=(4, 0),
    hidden_size=8,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    num_experts=4,
    top_k=2,
    expert_size=6,
    vocab_size=10,
)
SLOW, FAST = 1e6, 1e21
DECODES = IterationPlan(decodes=(0, 1), prefill=())
PROMPT = IterationPlan(decodes=(), prefill=(PromptTile(0, Tile(Span(0, 5), Span(0, 2))),))


def cost(plan: IterationPlan, *, bandwidth: float, rate: float, sampled: int = 1) -> Cost:
    """Return what a pass of the tiny model costs that touches 3 and 2 experts."""
    device = Device(
        name="by hand",
        cuda_names=(),
        memory_bandwidth=bandwidth,
        memory_bytes=1,
        bf16_flops=rate,
        fp32_flops=rate,
        sources={},
    )
    roofline = Roofline(TINY, PRECISIONS["float32"], device, IDEAL)
    starts = {0: 9, 1: 1} if plan.decodes else {0: 0}
    return pass_cost(roofline, plan, starts=starts, distinct=(3, 2), sampled=sampled)


def weights() -> float:
    """Return the bytes of all weights that such a pass reads."""
    shape = TINY
    layer = shape.projection_params + shape.router_params
    head = shape.vocab_size * shape.hidden_size
    return B * (2 * layer + 5 * shape.params_per_expert + head)


def test_bytes_of_decodes_are_weights_and_the_keys_they_see() -> None:
    """Of 10 and 2 keys the layer with a window of 4 shows 4 and 2."""
    found = cost(DECODES, bandwidth=SLOW, rate=FAST, sampled=2)
    keys = (4 + 2) + (10 + 2)
    expected = weights() + B * TINY.kv_values * keys
    assert expected == found.bytes
    assert pytest.approx(expected / SLOW) == found.seconds


def test_flops_of_a_prompt_bound_it_where_memory_does_not() -> None:
    """Five rows make 15 pairs of query and key, within the window of four 14."""
    found = cost(PROMPT, bandwidth=FAST, rate=SLOW)
    shape, rows, pairs = TINY, 5, 15 + 14
    layer = shape.projection_params + shape.top_k * shape.expert_matrix_params
    router = shape.hidden_size * shape.num_experts
    head = shape.vocab_size * shape.hidden_size
    expected = 2 * (2 * rows * (layer + router) + head)
    expected += 2 * shape.num_heads * (shape.key_width + shape.value_width) * pairs
    assert expected == found.flops
    assert pytest.approx(expected / SLOW) == found.seconds


def test_a_bound_is_summed_over_operators() -> None:
    """No less than the larger of both for the whole pass, and no more than their sum."""
    found = cost(PROMPT, bandwidth=1e9, rate=1e9)
    memory, compute = found.bytes / 1e9, found.flops / 1e9
    assert max(memory, compute) <= found.seconds <= memory + compute
    assert math.isfinite(found.seconds)
