"""`adaptive`: the budget is kept wherever it can be, and no fixed schedule that keeps it is faster.

The predictor is linear, so that times are sums a reader can check.
"""

from collections.abc import Iterator
from itertools import count
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.plan.adaptive import MOST_TOKENS, Adaptive
from lpbench.plan.check import check_plan
from lpbench.plan.chunked import Chunked
from lpbench.plan.grid import Span
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.layered import Layered
from lpbench.plan.policy import Policy, Predictive, View
from lpbench.plan.queues import Queues
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from tests.predicted import Linear

LAYERS = 12
LINEAR = Linear(kinds=(0,) * LAYERS)
BEGIN = 20
"""The iteration in which prompts arrive: by then all others decode, under any schedule."""


def in_flight(num_decodes: int, *prompts: int) -> tuple[Request, ...]:
    """Return requests that decode for long, and prompts that arrive once they do."""
    decoding = [
        Request(index=at, prompt_tokens=1, context_tokens=500, output_tokens=10_000)
        for at in range(num_decodes)
    ]
    return (
        *decoding,
        *(
            Request(index=num_decodes + at, prompt_tokens=tokens, output_tokens=1, arrival=BEGIN)
            for at, tokens in enumerate(prompts)
        ),
    )


def prefill(
    policy: Policy, requests: tuple[Request, ...], *, num_layers: int = LAYERS
) -> Iterator[tuple[View, IterationPlan, list[int]]]:
    """Yield view, plan and new tokens of each pass from the prompts' arrival to the last's end."""
    queues = Queues(requests, num_layers=num_layers, num_kv_pages=10_000, max_num_seqs=256)
    left = sum(1 for one in requests if one.arrival)
    for iteration in count():
        queues.arrive(iteration)
        view = queues.begin()
        plan = policy.plan(view)
        check_plan(view, plan, policy)
        sampled = queues.settle(plan).sampled
        if iteration < BEGIN:
            continue
        new = [one for one in sampled if requests[one].arrival]
        yield view, plan, new
        left -= len(new)
        if not left:
            return


def times(
    policy: Policy, requests: tuple[Request, ...], linear: Linear = LINEAR
) -> tuple[float, float]:
    """Return the mean TTFT of the prompts and the longest pass until the last of them, seconds."""
    now, longest, first = 0.0, 0.0, []
    for view, plan, new in prefill(policy, requests, num_layers=len(linear.kinds)):
        spent = linear.seconds(plan, requests, decode_tokens=view.decode_tokens)
        now, longest = now + spent, max(longest, spent)
        first += [now] * len(new)
    return fmean(first), longest


def adaptive(milliseconds: int, linear: Linear = LINEAR) -> Adaptive:
    """Return the policy with the linear predictor."""
    return Adaptive(tbt_budget_ms=milliseconds, predictor=linear)


def test_the_default_budget_is_stated() -> None:
    """50 ms, and what the policy predicts by is no parameter of its text form."""
    policy = parse_schedule("adaptive")
    assert {"tbt_budget_ms": 50} == policy.params
    assert isinstance(policy, Predictive)


def test_a_budget_below_a_millisecond_is_refused() -> None:
    """One line with the accepted range."""
    with pytest.raises(InputError, match="tbt_budget_ms=0 is out of range; accepted: 1 or more"):
        parse_schedule("adaptive:tbt_budget_ms=0")


def test_a_prompt_that_fits_passes_whole() -> None:
    """500 tokens add 6 ms to each of 12 layers, the rest is 13 ms: 90 ms hold all, 26 ms two."""
    requests = in_flight(1, 500)
    (whole,) = (plan for _, plan, _ in prefill(adaptive(90), requests))
    assert (500, LAYERS) == (whole.num_prefill_tokens, len(whole.prefill[0].tile.layers))
    layered = [plan for _, plan, _ in prefill(adaptive(26), requests)]
    assert [2] * 6 == [len(plan.prefill[0].tile.layers) for plan in layered]
    assert {500} == {plan.num_prefill_tokens for plan in layered}


def test_a_prompt_of_which_no_layer_fits_is_cut() -> None:
    """A layer of 3000 tokens adds 31 ms to 13 ms: more than 30 ms hold, so a piece climbs."""
    plans = [plan for _, plan, _ in prefill(adaptive(30), in_flight(1, 3000))]
    assert 1700 > max(plan.num_prefill_tokens for plan in plans)


def test_the_next_prompt_begins_below_where_that_spares_a_pass() -> None:
    """31 ms hold five layers of 500 tokens: the two left over leave room for three of the next."""
    plans = [plan for _, plan, _ in prefill(adaptive(44), in_flight(1, 500, 500, 500, 500))]
    shared = next(plan for plan in plans if len(plan.prefill) > 1)
    assert [Span(10, 12), Span(0, 3)] == [part.tile.layers for part in shared.prefill]


@pytest.mark.parametrize("milliseconds", [1, 10, 13])
def test_where_decodes_alone_leave_no_room_prompts_go_on(milliseconds: int) -> None:
    """Decodes take 13.2 ms; prefill gets 1.25 of the quarter of that: a layer adds 1.25 ms."""
    _, longest = times(adaptive(milliseconds), in_flight(1, 25))
    assert 13.2e-3 + 2 * 1.25e-3 == pytest.approx(longest, rel=0.01)


requests_and_budgets = st.tuples(
    st.integers(1, 40),
    st.lists(st.integers(1, 4000), min_size=1, max_size=4),
    st.integers(20, 120),
    st.sampled_from([(0,) * LAYERS, (0, 1) * (LAYERS // 2), (0,) * 5]),
)


@settings(max_examples=60, deadline=None)
@given(requests_and_budgets)
def test_every_predicted_pass_is_within_the_budget(
    drawn: tuple[int, list[int], int, tuple[int, ...]],
) -> None:
    """Where decodes and a layer of a least piece fit with a tenth to spare, every pass fits."""
    num_decodes, prompts, milliseconds, kinds = drawn
    linear = Linear(kinds=kinds)
    requests = in_flight(num_decodes, *prompts)
    _, longest = times(adaptive(milliseconds, linear), requests, linear)
    most = num_decodes + len(prompts)
    alone = linear.pass_s + sum(
        (1 + kind) * (linear.layer_s + linear.row_s * most + linear.key_s * 1200 * most)
        for kind in kinds
    )
    least = (1 + max(kinds)) * (linear.prompt_s + linear.row_s * 16 + linear.key_s * 4000) / 0.9
    if alone + least < milliseconds / 1e3:
        assert longest <= milliseconds / 1e3 * (1 + 1e-9)  # the last bit of a sum


@settings(max_examples=25, deadline=None)
@given(requests_and_budgets)
def test_no_fixed_schedule_within_the_budget_is_faster(
    drawn: tuple[int, list[int], int, tuple[int, ...]],
) -> None:
    """For one prompt: the best chunk size and the best number of groups, within 1 %.

    Keys cost nothing here: how long the decodes are when the prompt comes depends on how the
    schedule began them, and would decide where a layer fits by a hair.
    """
    num_decodes, prompts, milliseconds, kinds = drawn
    linear = Linear(kinds=kinds, key_s=0.0)
    requests = in_flight(num_decodes, prompts[0])
    mean, _ = times(adaptive(milliseconds, linear), requests, linear)
    others: list[Policy] = [Layered(num_groups=count) for count in range(1, len(kinds) + 1)]
    others += [
        Chunked(max_num_batched_tokens=num_decodes + -(-prompts[0] // pieces))
        for pieces in (*range(1, 9), 12, 16, 24, 32)
    ]
    for policy in others:
        fixed, longest = times(policy, requests, linear)
        if longest < milliseconds / 1e3 * (
            1 - 1e-9
        ):  # sums in another order differ in the last bit
            assert mean <= 1.01 * fixed, policy


def test_a_pass_holds_a_bounded_number_of_tokens() -> None:
    """However long the budget: activations of 16384 prompt tokens at most."""
    plans = [plan for _, plan, _ in prefill(adaptive(100_000), in_flight(1, 40_000, 9_000))]
    assert MOST_TOKENS >= max(plan.num_prefill_tokens for plan in plans)
    entered = [part.tile for plan in plans for part in plan.prefill if not part.tile.layers.start]
    assert 49_000 == sum(len(tile.tokens) for tile in entered)
