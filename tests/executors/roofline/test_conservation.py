"""What no schedule may lose or make on the virtual clock: tokens, time, pages, rows.

Drawn requests arrive in seconds; every figure is taken from the loop's steps alone.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.bench.experiment import ArmSpec
from lpbench.bench.loop import NS, Limits, Step, run_arm
from lpbench.bench.served import Clock, ServedLog
from lpbench.executors.roofline.coefficients import find_coefficients
from lpbench.executors.roofline.cost import Roofline
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.plan.queues import Queues
from lpbench.plan.request import Request
from lpbench.shape.device import find_device
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.coverage import find_coverage
from tests.bench.tiny import CONFIG
from tests.drawn import KINDS, Drawn, any_arms, crowded_arms

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
MANY_EXAMPLES = settings(max_examples=8, deadline=None)

BEATS = st.sampled_from([0.0, 1e-4, 0.0017, 0.02])
"""Seconds that drawn arrivals are multiples of: all at once, while others run, after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A drawn arm that was served."""

    drawn: Drawn
    requests: tuple[Request, ...]
    shape: ModelShape
    steps: tuple[Step, ...]
    queues: Queues

    def stamps(self) -> dict[int, list[int]]:
        """Return when the tokens of each request were there."""
        found: dict[int, list[int]] = {one.index: [] for one in self.requests}
        for step in self.steps:
            for request in step.settled.sampled:
                found[request].append(step.stop_ns)
        return found

    def log(self, slo: dict[str, float]) -> ServedLog:
        """Return the arm's log under an SLO."""
        log = ServedLog(
            ArmSpec(typed="drawn", label="drawn", policy=self.drawn.policy),
            self.requests,
            origin_ns=0,
            clock=Clock(method="modelled", source="roofline"),
            slo=slo,
        )
        for step in self.steps:
            log.observe(step)
        return log


@cache
def shape_of(num_layers: int) -> ModelShape:
    """Return a tiny shape."""
    return ModelShape.from_config({**CONFIG, "num_hidden_layers": num_layers}, name="tiny")


def serve(drawn: Drawn, *, beat: float) -> Arm:
    """Serve a drawn arm on the virtual clock, its arrivals in beats."""
    requests = tuple(replace(one, arrival=one.arrival * beat) for one in drawn.requests)
    drawn.policy.refuse(requests, max_num_seqs=drawn.max_num_seqs)
    shape = shape_of(drawn.num_layers)
    executor = RooflineExecutor(
        requests,
        shape=shape,
        roofline=Roofline(
            shape, PRECISIONS["bfloat16"], find_device("h200"), find_coefficients("kernels")
        ),
        coverage=find_coverage("calibrated", num_experts=shape.num_experts, top_k=shape.top_k),
    )
    made: list[Queues] = []

    def kept(*given: object, **named: object) -> Queues:
        made.append(Queues(*given, **named))  # type: ignore[arg-type]
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lpbench.bench.loop.Queues", kept)
        steps = run_arm(
            drawn.policy,
            requests,
            executor,
            num_layers=shape.num_layers,
            limits=Limits(num_kv_pages=drawn.num_kv_pages, max_num_seqs=drawn.max_num_seqs),
            origin_ns=0,
        )
        found = tuple(steps)
    (queues,) = made
    return Arm(drawn=drawn, requests=requests, shape=shape, steps=found, queues=queues)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data(), beat=BEATS)
def test_every_token_once_and_in_time(kind: str, data: st.DataObject, beat: float) -> None:
    """As many as were asked for, one after another, none before its request has arrived."""
    arm = serve(data.draw(any_arms(kind)), beat=beat)
    stamps = arm.stamps()
    for one in arm.requests:
        assert one.output_tokens == len(stamps[one.index])
        assert all(before < after for before, after in pairwise(stamps[one.index]))
    arrival_ns = {one.index: one.arrival * NS for one in arm.requests}
    for step in arm.steps:
        assert step.start_ns < step.stop_ns
        rows = {*step.plan.decodes, *(part.request for part in step.plan.prefill)}
        assert all(arrival_ns[request] <= step.start_ns for request in {*rows, *step.arrived})
    assert all(one.stop_ns <= other.start_ns for one, other in pairwise(arm.steps))


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data(), beat=BEATS)
def test_every_page_comes_back(kind: str, data: st.DataObject, beat: float) -> None:
    """When all are served the pool is whole, and each request finished once."""
    arm = serve(data.draw(any_arms(kind)), beat=beat)
    finished = [request for step in arm.steps for request in step.settled.finished]
    assert [one.index for one in arm.requests] == sorted(finished)
    assert arm.queues.is_finished
    assert arm.drawn.num_kv_pages == arm.queues.free_pages


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data(), beat=BEATS)
def test_every_prompt_row_passes_every_layer(kind: str, data: st.DataObject, beat: float) -> None:
    """Each prompt once in each layer; what was preempted again, context and tokens with it."""
    arm = serve(data.draw(crowded_arms(kind)), beat=beat)
    layers = arm.shape.num_layers
    owed = {one.index: one.prompt_tokens for one in arm.requests}
    prompts = dict(owed)
    whole = {one.index: one.context_tokens + one.prompt_tokens for one in arm.requests}
    generated: Counter[int] = Counter()
    rows: Counter[tuple[int, int]] = Counter()
    pairs = 0
    for step in arm.steps:
        for request in step.preempted:
            owed[request] += whole[request] + generated[request]
        for part in step.plan.prefill:
            for layer in range(part.tile.layers.start, part.tile.layers.stop):
                rows[part.request, layer] += len(part.tile.tokens)
        pairs += step.execution.modelled.pairs
        generated.update(step.settled.sampled)
    preempted = {request for step in arm.steps for request in step.preempted}
    for one in arm.requests:
        found = {rows[one.index, layer] for layer in range(layers)}
        assert {owed[one.index]} == found
        assert (one.index in preempted) == (owed[one.index] > prompts[one.index])
    decodes = sum(len(step.plan.decodes) for step in arm.steps)
    counted = arm.log({}).to_record().metrics
    assert sum(owed.values()) == counted["prefill_rows"].value
    assert decodes == counted["decode_rows"].value
    assert arm.shape.top_k * (layers * decodes + rows.total()) == pairs


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data(), beat=BEATS)
def test_a_looser_slo_is_met_by_as_many(kind: str, data: st.DataObject, beat: float) -> None:
    """Attainment never falls as TTFT, TBT or both are loosened; from none to all of them."""
    arm = serve(data.draw(any_arms(kind)), beat=beat)
    bounds = st.floats(0.1, 200, allow_nan=False)
    ttft, tbt = (sorted(data.draw(st.tuples(bounds, bounds, bounds))) for _ in range(2))
    for slos in (
        [{"ttft": most} for most in ttft],
        [{"tbt": most} for most in tbt],
        [{"ttft": most, "tbt": gap} for most, gap in zip(ttft, tbt, strict=True)],
    ):
        met = [arm.log(slo).attainment for slo in slos]
        assert sorted(met) == met
    assert 1 == arm.log({"ttft": 1e9, "tbt": 1e9}).attainment
    assert 0 == arm.log({"ttft": 1e-6}).attainment
