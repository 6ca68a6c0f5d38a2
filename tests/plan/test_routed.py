"""What schedules read of the experts, with routing drawn from a seed: the idea in numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lpbench.meters.experts import ExpertMeter, IterationCount
from lpbench.plan.chunked import Chunked
from lpbench.plan.layered import Layered
from lpbench.plan.policy import Policy
from lpbench.plan.request import Request, pages_for
from lpbench.plan.whole import Whole
from lpbench.workload.routing import RoutingDraws
from tests.drawn import KINDS, Drawn, Standing, any_arms, requests
from tests.serving import Served

NUM_EXPERTS = 16
TOP_K = 4
EXPERT_BYTES = 1000
SOME_EXAMPLES = settings(max_examples=25, deadline=None)


@dataclass(frozen=True)
class Counted:
    """One iteration: its bitmaps and the meter's count of them."""

    touched: NDArray[np.bool_]
    count: IterationCount


@dataclass(frozen=True)
class Traffic:
    """An arm's iterations and the meter's sums."""

    iterations: list[Counted]
    values: Mapping[str, float | None]

    def __getitem__(self, name: str) -> float:
        """Return a metric that is there."""
        value = self.values[name]
        assert value is not None, name
        return value


class Router:
    """Draws once per request, and sets the bits of an iteration's rows."""

    def __init__(self, drawn: Drawn, *, seed: int) -> None:
        """Draw the experts of every position of every request."""
        self._drawn = drawn
        draws = RoutingDraws("calibrated", seed, drawn.num_layers, NUM_EXPERTS, TOP_K)
        self._experts = [
            draws.experts(request=one.index, start=0, stop=one.kv_tokens) for one in drawn.requests
        ]

    def touched(self, step: Served, standing: Standing) -> NDArray[np.bool_]:
        """Return the bitmaps [layers, decodes and each prompt, experts] of one iteration."""
        shape = (self._drawn.num_layers, 1 + len(step.plan.prefill), NUM_EXPERTS)
        bits = np.zeros(shape, dtype=np.bool_)
        for request in step.plan.decodes:
            position = standing.kv_tokens(request) - 1
            self._set(bits[:, 0], request, slice(position, position + 1))
        contexts = {one.request: one.context_tokens for one in (*step.view.begun, *step.view.queue)}
        for at, part in enumerate(step.plan.prefill, start=1):
            tokens, layers = part.tile.tokens, part.tile.layers
            context = contexts[part.request]
            positions = slice(context + tokens.start, context + tokens.stop)
            rows = slice(layers.start, layers.stop)
            self._set(bits[rows, at], part.request, positions, layers=rows)
        return bits

    def _set(
        self,
        bits: NDArray[np.bool_],
        request: int,
        positions: slice,
        *,
        layers: slice = slice(None),
    ) -> None:
        for layer, chosen in zip(bits, self._experts[request][layers, positions], strict=True):
            layer[chosen.ravel()] = True


def rows_by_layer(step: Served, num_layers: int) -> list[int]:
    """Return the rows of each layer."""
    return [
        len(step.plan.decodes)
        + sum(
            len(part.tile.tokens)
            for part in step.plan.prefill
            if part.tile.layers.start <= layer < part.tile.layers.stop
        )
        for layer in range(num_layers)
    ]


def traffic(drawn: Drawn, *, seed: int = 0) -> Traffic:
    """Serve an arm and count its experts."""
    router, standing = Router(drawn, seed=seed), Standing.of(drawn)
    meter = ExpertMeter(num_experts=NUM_EXPERTS, top_k=TOP_K, expert_bytes=EXPERT_BYTES)
    iterations = []
    for step in drawn.serve():
        touched = router.touched(step, standing)
        count = meter.observe(
            touched=touched,
            prompts=[part.request for part in step.plan.prefill],
            rows=rows_by_layer(step, drawn.num_layers),
        )
        iterations.append(Counted(touched, count))
        standing.settle(step)
    return Traffic(iterations, meter.values())


def roomy(policy: Policy, served: Sequence[Request], *, num_layers: int) -> Drawn:
    """Return an arm in which nobody is preempted or waits for a sequence."""
    return Drawn(
        policy=policy,
        requests=tuple(served),
        num_layers=num_layers,
        num_kv_pages=sum(pages_for(one.kv_tokens) for one in served),
        max_num_seqs=len(served),
    )


@st.composite
def small_arms(draw: st.DrawFn) -> Drawn:
    """Draw an arm of any kind, on 4 to 6 layers."""
    kind = draw(st.sampled_from(KINDS))
    return draw(any_arms(kind, layers=st.integers(4, 6)))


@SOME_EXAMPLES
@given(
    served=requests(),
    tokens_per_group=st.integers(1, 300),
    num_layers=st.integers(4, 6),
    seed=st.integers(0, 99),
)
def test_layered_reloads_nothing_when_no_prompt_is_cut_or_preempted(
    served: tuple[Request, ...], tokens_per_group: int, num_layers: int, seed: int
) -> None:
    """Each prompt passes each layer once, so its reload factor is exactly 1."""
    policy = Layered(tokens_per_group=tokens_per_group)
    found = traffic(roomy(policy, served, num_layers=num_layers), seed=seed)
    assert 1.0 == found["reload_factor"]


@SOME_EXAMPLES
@given(
    served=requests(most=1),
    chunk=st.integers(4, 250),
    num_groups=st.integers(1, 8),
    num_layers=st.integers(4, 6),
    seed=st.integers(0, 99),
)
def test_alone_whole_and_layered_read_the_same_and_chunked_no_less(
    served: tuple[Request], chunk: int, num_groups: int, num_layers: int, seed: int
) -> None:
    """With one prompt and no decode in flight: whole = layered <= chunked, in expert bytes."""
    policies: tuple[Policy, ...] = (
        Whole(),
        Layered(num_groups=num_groups),
        Chunked(max_num_batched_tokens=chunk),
    )
    whole, layered, chunked = (
        traffic(roomy(policy, served, num_layers=num_layers), seed=seed) for policy in policies
    )
    assert whole["expert_bytes"] == layered["expert_bytes"]
    assert whole["expert_bytes"] <= chunked["expert_bytes"]
    if chunk >= served[0].prompt_tokens:
        assert whole.values == chunked.values


@SOME_EXAMPLES
@given(drawn=small_arms(), seed=st.integers(0, 99))
def test_counts_are_those_of_the_bitmaps(drawn: Drawn, seed: int) -> None:
    """Layer by layer |D| = |P| + |E_d| - overlap, and none exceeds the experts there are."""
    for one in traffic(drawn, seed=seed).iterations:
        decode, prefill = one.touched[:, 0], one.touched[:, 1:].any(axis=1)
        overlap = (decode & prefill).sum(axis=1)
        sums = zip(one.count.prefill, one.count.decode, overlap.tolist(), strict=True)
        assert tuple(p + d - both for p, d, both in sums) == one.count.distinct
        assert max(one.count.distinct) <= NUM_EXPERTS


def loads(iterations: Iterator[Counted]) -> int:
    """Return the sum of |D|."""
    return sum(sum(one.count.distinct) for one in iterations)


@SOME_EXAMPLES
@given(drawn=small_arms(), seed=st.integers(0, 99))
def test_sums_of_an_arm_agree_with_its_iterations(drawn: Drawn, seed: int) -> None:
    """Bytes are w x loads, in all and with prefill; what prefill adds is |D| - |E_d|."""
    found = traffic(drawn, seed=seed)
    added = sum(sum(one.count.distinct) - sum(one.count.decode) for one in found.iterations)
    with_prefill = (one for one in found.iterations if one.touched.shape[1] > 1)
    assert loads(iter(found.iterations)) == found["distinct_expert_loads"]
    assert EXPERT_BYTES * loads(iter(found.iterations)) == found["expert_bytes"]
    assert EXPERT_BYTES * loads(with_prefill) == found["expert_bytes_prefill_iterations"]
    assert EXPERT_BYTES * added == found["expert_bytes_prefill_marginal"]


@SOME_EXAMPLES
@given(drawn=small_arms(), seed=st.integers(0, 99))
def test_ratios_lie_in_their_ranges(drawn: Drawn, seed: int) -> None:
    """Coverage is in (0, 1], split or not; nothing reloads below 1; a load serves a row or more."""
    found = traffic(drawn, seed=seed)
    coverages = [value for name, value in found.values.items() if name.startswith("expert_coverag")]
    assert 3 == len(coverages)
    assert all(value is None or 0 < value <= 1 for value in coverages)
    assert found["reload_factor"] >= 1
    assert found["tokens_per_expert"] >= 1
