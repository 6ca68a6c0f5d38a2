"""What holds for every schedule and every workload: DESIGN.md's rules, from outside `Queues`."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.plan.adaptive import MOST_TOKENS, Adaptive
from lpbench.plan.check import check_grid
from lpbench.plan.chunked import Chunked
from lpbench.plan.grid import Tile
from lpbench.plan.layered import Layered
from lpbench.plan.whole import Whole
from tests.drawn import KINDS, Standing, any_arms, crowded_arms

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
MANY_EXAMPLES = settings(max_examples=10, deadline=None)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_every_running_decode_is_in_every_plan_unless_preempted(
    kind: str, data: st.DataObject
) -> None:
    """The decodes of a plan are all that decoded before, in admission order, less the preempted."""
    drawn = data.draw(any_arms(kind))
    standing = Standing.of(drawn)
    for step in drawn.serve():
        assert set(step.view.preempted) <= set(standing.decoding)
        standing.preempt(step.view.preempted)
        assert tuple(standing.decoding) == step.plan.decodes
        assert set(step.plan.decodes) <= set(step.settled.sampled)
        standing.settle(step)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_every_prefill_covers_its_rectangle_once_in_order(kind: str, data: st.DataObject) -> None:
    """From admission to sampling the tiles cover all tokens x layers, again after a preemption."""
    drawn = data.draw(any_arms(kind))
    standing = Standing.of(drawn)
    tiles: dict[int, list[Tile]] = {}
    for step in drawn.serve():
        standing.preempt(step.view.preempted)
        for part in step.plan.prefill:
            tiles.setdefault(part.request, []).append(part.tile)
        for request in set(step.settled.sampled) - set(step.plan.decodes):
            one = drawn.requests[request]
            again = standing.generated[request] > 0
            rows = standing.kv_tokens(request) if again else one.prompt_tokens
            check_grid(tiles.pop(request), num_tokens=rows, num_layers=drawn.num_layers)
        standing.settle(step)
    assert {} == tiles


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_budgets_are_kept(kind: str, data: st.DataObject) -> None:
    """Chunked counts its decodes; whole may pass the budget for one preempted prompt alone."""
    drawn = data.draw(any_arms(kind))
    standing = Standing.of(drawn)
    policy = drawn.policy
    assert isinstance(policy, Chunked | Whole | Layered | Adaptive)
    for step in drawn.serve():
        tokens = sum(len(part.tile.tokens) for part in step.plan.prefill)
        if isinstance(policy, Chunked):
            tokens += len(step.plan.decodes) if tokens else 0
        prompts = [part.request for part in step.plan.prefill]
        budget = MOST_TOKENS if isinstance(policy, Adaptive) else policy.max_num_batched_tokens
        outgrown = (
            isinstance(policy, Whole) and len(prompts) == 1 and standing.generated[prompts[0]] > 0
        )
        assert outgrown or budget >= tokens
        standing.settle(step)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_pages_are_conserved_and_never_negative(kind: str, data: st.DataObject) -> None:
    """Pool = free pages + ceil(context, prompt and generated tokens / 16) of all that hold any."""
    drawn = data.draw(any_arms(kind))
    standing = Standing.of(drawn)
    steps = drawn.serve()
    for step in steps:
        standing.preempt(step.view.preempted)
        held = standing.pages([*standing.decoding, *standing.in_prefill])
        assert drawn.num_kv_pages == step.view.free_pages + held
        assert step.view.free_pages >= 0
        assert step.free_pages >= 0
        standing.settle(step)
    assert drawn.num_kv_pages == steps[-1].free_pages


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_only_the_latest_admitted_are_preempted_and_only_for_want_of_a_page(
    kind: str, data: st.DataObject
) -> None:
    """Victims are the last admitted decodes, and with the last victim the pool would not do."""
    drawn = data.draw(crowded_arms(kind))
    standing = Standing.of(drawn)
    admissions: dict[int, int] = {}
    for at, step in enumerate(drawn.serve()):
        decoding = sorted(standing.decoding, key=lambda one: admissions[one])
        victims = step.view.preempted
        if victims:
            assert victims == tuple(reversed(decoding[-len(victims) :]))
            spared = decoding[: len(decoding) - len(victims) + 1]
            assert drawn.num_kv_pages < standing.pages([*spared, *standing.in_prefill])
        standing.preempt(victims)
        standing.settle(step)
        for place, request in enumerate(step.settled.admitted):
            admissions[request] = at * len(drawn.requests) + place


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_every_request_gets_exactly_its_output_tokens(kind: str, data: st.DataObject) -> None:
    """It is sampled once an iteration at most, output_tokens times, and finishes with the last."""
    drawn = data.draw(any_arms(kind))
    standing = Standing.of(drawn)
    finished: list[int] = []
    for step in drawn.serve():
        assert len(step.settled.sampled) == len(set(step.settled.sampled))
        standing.settle(step)
        finished += step.settled.finished
        for request in step.settled.finished:
            assert drawn.requests[request].output_tokens == standing.generated[request]
    expected = [one.output_tokens for one in drawn.requests]
    assert expected == [standing.generated[one.index] for one in drawn.requests]
    assert list(range(len(drawn.requests))) == sorted(finished)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_no_more_requests_run_than_max_num_seqs(kind: str, data: st.DataObject) -> None:
    """Admitted and unfinished requests, the preempted among them, stay within the bound."""
    drawn = data.draw(any_arms(kind))
    standing = Standing.of(drawn)
    for step in drawn.serve():
        standing.preempt(step.view.preempted)
        running = {*standing.decoding, *standing.in_prefill, *standing.preempted}
        assert len(running | set(step.settled.admitted)) <= drawn.max_num_seqs
        standing.settle(step)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_policies_are_pure(kind: str, data: st.DataObject) -> None:
    """The same view gives the same plan, from the same policy and from one built alike."""
    drawn = data.draw(any_arms(kind))
    assert isinstance(drawn.policy, Chunked | Whole | Layered | Adaptive)
    twin = replace(drawn.policy)
    for step in drawn.serve():
        assert step.plan == drawn.policy.plan(step.view)
        assert step.plan == twin.plan(step.view)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_admission_is_first_come_first_served(kind: str, data: st.DataObject) -> None:
    """Requests are first admitted by arrival and line, and the preempted before any newcomer."""
    drawn = data.draw(any_arms(kind))
    standing = Standing.of(drawn)
    first: list[int] = []
    for step in drawn.serve():
        standing.preempt(step.view.preempted)
        order = sorted(standing.preempted, key=lambda one: (drawn.requests[one].arrival, one))
        returned = [one for one in step.settled.admitted if one in order]
        newcomers = [one for one in step.settled.admitted if one not in order]
        assert (*returned, *newcomers) == step.settled.admitted
        assert order[: len(returned)] == returned
        assert not newcomers or returned == order
        first += newcomers
        standing.settle(step)
    expected = sorted(drawn.requests, key=lambda one: (one.arrival, one.index))
    assert [one.index for one in expected] == first


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_nobody_runs_before_it_arrives(kind: str, data: st.DataObject) -> None:
    """A request is admitted in or after the iteration of its arrival, and iterations ascend."""
    drawn = data.draw(any_arms(kind))
    steps = drawn.serve()
    assert all(before.iteration < after.iteration for before, after in pairwise(steps))
    for step in steps:
        assert all(drawn.requests[one].arrival <= step.iteration for one in step.settled.admitted)


@EVERY_KIND
@MANY_EXAMPLES
@given(data=st.data())
def test_an_arm_is_determined_by_its_workload(kind: str, data: st.DataObject) -> None:
    """Served twice, every view, plan and outcome is the same."""
    drawn = data.draw(any_arms(kind))
    assert drawn.serve() == drawn.serve()
