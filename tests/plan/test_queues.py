from collections.abc import Sequence

import pytest

from lpbench.errors import InputError
from lpbench.plan.chunked import Chunked
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.layered import Layered
from lpbench.plan.queues import Queues, Settled, refuse_too_large
from lpbench.plan.request import Progress, Request
from lpbench.plan.whole import Whole
from tests.serving import Served, serve, written


def request(
    index: int, prompt: int, *, output: int = 1, context: int = 0, arrival: float = 0
) -> Request:
    """Return a request, in few words."""
    return Request(
        index=index,
        prompt_tokens=prompt,
        output_tokens=output,
        context_tokens=context,
        arrival=arrival,
    )


def queues(*requests: Request, num_kv_pages: int = 100, max_num_seqs: int = 256) -> Queues:
    """Return the queues of a model of one layer."""
    return Queues(requests, num_layers=1, num_kv_pages=num_kv_pages, max_num_seqs=max_num_seqs)


def whole(*prompts: tuple[int, int], decodes: Sequence[int] = ()) -> IterationPlan:
    """Return a plan of (request, tokens) prompts in one tile each, on one layer."""
    tiles = [PromptTile(index, Tile(Span(0, tokens), Span(0, 1))) for index, tokens in prompts]
    return IterationPlan(decodes=tuple(decodes), prefill=tuple(tiles))


def pages_left(steps: Sequence[Served]) -> list[int]:
    """Return the free pages after each iteration."""
    return [step.free_pages for step in steps]


def test_requests_arrive_by_time_then_by_line() -> None:
    """Whatever their order in the list, arrival decides, then the line number."""
    found = queues(request(0, 5, arrival=3), request(1, 5), request(2, 5, arrival=1), request(3, 5))
    assert 0 == found.next_arrival
    assert (1, 3) == found.arrive(0)
    assert 1 == found.next_arrival
    assert (2,) == found.arrive(2.5)
    assert () == found.arrive(2.9)
    assert (0,) == found.arrive(3)
    assert [1, 3, 2, 0] == [progress.request for progress in found.begin().queue]


def test_a_request_is_runnable_from_arrival_to_its_last_token() -> None:
    """Queues are finished when nobody is there and nobody is to come."""
    found = queues(request(0, 5, arrival=2))
    assert (False, False) == (found.is_finished, found.is_runnable)
    found.arrive(2)
    assert (False, True) == (found.is_finished, found.is_runnable)
    found.begin()
    found.settle(whole((0, 5)))
    assert (True, False) == (found.is_finished, found.is_runnable)


def test_the_view_shows_everything_a_policy_may_know() -> None:
    """A decode, a begun prompt and a waiting one, with pages and sequences left."""
    found = queues(
        request(0, 16, output=9), request(1, 40, context=8), request(2, 5), num_kv_pages=9
    )
    found.arrive(0)
    found.begin()
    found.settle(whole((0, 16), (1, 30)))
    view = found.begin()
    assert (0,) == view.decodes
    expected = Progress(request=1, num_tokens=40, done=(30,), context_tokens=8)
    assert (expected,) == view.begun
    assert (Progress.start(2, 5, num_layers=1),) == view.queue
    assert (9 - 2 - 3, 254, (), 1) == (
        view.free_pages,
        view.free_seqs,
        view.preempted,
        view.num_layers,
    )


def test_settling_tells_who_was_admitted_sampled_and_finished() -> None:
    """Decodes are sampled first, then prompts whose last tile ran."""
    found = queues(request(0, 4, output=2), request(1, 6, output=2), request(2, 3))
    found.arrive(0)
    found.begin()
    first = found.settle(whole((0, 4)))
    assert Settled(admitted=(0,), sampled=(0,), finished=()) == first
    found.begin()
    second = found.settle(whole((1, 6), (2, 2), decodes=(0,)))
    assert Settled(admitted=(1, 2), sampled=(0, 1), finished=(0,)) == second


def test_decodes_stand_in_admission_order_whoever_was_sampled_first() -> None:
    """1 finishes its prompt before 0, which was admitted before it."""
    found = queues(request(0, 8, output=3), request(1, 2, output=3))
    found.arrive(0)
    found.begin()
    found.settle(whole((0, 4), (1, 2)))
    assert (1,) == found.begin().decodes
    rest = PromptTile(0, Tile(Span(4, 8), Span(0, 1)))
    found.settle(IterationPlan(decodes=(1,), prefill=(rest,)))
    assert (0, 1) == found.begin().decodes


def test_a_request_that_can_never_fit_is_refused() -> None:
    """Context, prompt and all but one generated token must fit the pool."""
    requests = (request(0, 16), request(1, 10, context=16, output=8))
    queues(*requests, num_kv_pages=3)
    expected = (
        "request 1 needs 3 KV pages for 33 tokens, the pool has 2; raise --num-kv-pages or "
        "shorten it"
    )
    with pytest.raises(InputError) as caught:
        queues(*requests, num_kv_pages=2)
    assert expected == str(caught.value)
    with pytest.raises(InputError) as caught:
        refuse_too_large(requests, num_kv_pages=2)
    assert expected == str(caught.value)


def test_a_plan_without_pages_is_an_error_of_ours() -> None:
    """Admission past the pool would be a bug of a policy that no check caught."""
    found = queues(request(0, 16), request(1, 16), num_kv_pages=1)
    found.arrive(0)
    found.begin()
    with pytest.raises(AssertionError, match="without pages"):
        found.settle(whole((0, 16), (1, 16)))


def test_a_decode_takes_a_page_every_sixteen_tokens() -> None:
    """15 prompt tokens: the 16th fills the page, the 17th takes another, the last is not fed."""
    steps = serve(Whole(), [request(0, 15, output=4)], num_kv_pages=3)
    assert [2, 2, 1, 3] == pages_left(steps)


def test_context_takes_pages_at_admission() -> None:
    """20 tokens of context and 12 of prompt are two pages; the next token takes a third."""
    steps = serve(Whole(), [request(0, 12, context=20, output=3)], num_kv_pages=4)
    assert [2, 1, 4] == pages_left(steps)


def test_the_latest_admitted_is_preempted_when_it_asks_itself() -> None:
    """Three requests, four pages: 1 takes the last page, 2 finds none and is preempted.

    It is computed again, 16 prompt tokens and 1 generated, when two pages are free.
    """
    requests = [request(0, 15, output=5), request(1, 16, output=3), request(2, 16, output=2)]
    expected = [
        "- | 0:0-15x0-1 1:0-16x0-1 2:0-16x0-1",
        "0 1 | - | !2",
        "0 1 | -",
        "0 | 2:0-17x0-1",
        "0 | -",
    ]
    steps = serve(Whole(), requests, num_layers=1, num_kv_pages=4)
    assert expected == written(steps)
    assert [1, 1, 2, 2, 4] == pages_left(steps)


def test_the_latest_admitted_is_preempted_when_an_earlier_one_asks() -> None:
    """Three requests, three pages: 0 needs a page, so 2 gives up its own though it needs none."""
    requests = [request(0, 16, output=3), request(1, 14, output=4), request(2, 5, output=3)]
    expected = [
        "- | 0:0-16x0-1 1:0-14x0-1 2:0-5x0-1",
        "0 1 | - | !2",
        "0 1 | -",
        "1 | 2:0-6x0-1",
        "2 | -",
    ]
    assert expected == written(serve(Whole(), requests, num_layers=1, num_kv_pages=3))


def test_preempted_requests_return_in_order_ahead_of_the_waiting() -> None:
    """2 and 1 lose their pages; 1 returns before 2, and 3 waits although it would fit all along.

    While 1 does not fit, nobody behind it is admitted.
    """
    requests = [
        request(0, 16, output=3),
        request(1, 16, output=2),
        request(2, 5, output=2),
        request(3, 4),
    ]
    expected = [
        "- | 0:0-16x0-1 1:0-16x0-1 2:0-5x0-1",
        "0 | - | !2 !1",
        "0 | -",
        "- | 1:0-17x0-1 2:0-6x0-1",
        "- | 3:0-4x0-1",
    ]
    assert expected == written(serve(Whole(), requests, num_layers=1, num_kv_pages=3))


def test_context_is_computed_again_after_a_preemption() -> None:
    """The pages of the context are lost too: 20 + 6 + 1 tokens are prefilled."""
    requests = [request(0, 16, output=2), request(1, 6, context=20, output=2)]
    expected = ["- | 0:0-16x0-1 1:0-6x0-1", "0 | - | !1", "- | 1:0-27x0-1"]
    steps = serve(Whole(), requests, num_layers=1, num_kv_pages=3)
    assert expected == written(steps)
    assert [20, 0] == [step.view.queue[-1].context_tokens for step in (steps[0], steps[2])]


def test_a_prompt_in_flight_is_never_preempted() -> None:
    """The only decode gives itself up, though it was admitted before the prompt in flight."""
    requests = [request(0, 15, output=3), request(1, 16, arrival=1)]
    expected = [
        "- | 0:0-15x0-1",
        "- | 0:0-15x1-2",
        "- | 0:0-15x2-3",
        "0 | 1:0-16x0-1",
        "- | 1:0-16x1-2 | !0",
        "- | 1:0-16x2-3",
        "- | 0:0-17x0-1",
        "- | 0:0-17x1-2",
        "- | 0:0-17x2-3",
    ]
    steps = serve(Layered(num_groups=3), requests, num_layers=3, num_kv_pages=2)
    assert expected == written(steps)


def test_nothing_is_sampled_again_after_a_preemption() -> None:
    """Each request is sampled once per output token, the recomputed one included."""
    requests = [request(0, 15, output=5), request(1, 16, output=3), request(2, 16, output=2)]
    steps = serve(Whole(), requests, num_layers=1, num_kv_pages=4)
    sampled = [index for step in steps for index in step.settled.sampled]
    assert [5, 3, 2] == [sampled.count(index) for index in range(3)]


def test_the_cut_prompt_then_the_preempted_then_the_waiting() -> None:
    """Chunks of 18: 2 is cut, 1 loses its page meanwhile, 3 waits; then they come in that order."""
    requests = [
        request(0, 15, output=4),
        request(1, 1, output=3),
        request(2, 36),
        request(3, 2, arrival=1),
    ]
    expected = [
        "- | 0:0-15x0-1 1:0-1x0-1 2:0-2x0-1",
        "0 1 | 2:2-18x0-1",
        "0 | 2:18-35x0-1 | !1",
        "0 | 2:35-36x0-1",
        "- | 1:0-3x0-1 3:0-2x0-1",
    ]
    steps = serve(Chunked(max_num_batched_tokens=18), requests, num_layers=1, num_kv_pages=5)
    assert expected == written(steps)
    assert [2, 1, 3] == [one.request for one in (*steps[3].view.begun, *steps[3].view.queue)]


def test_max_num_seqs_bounds_admitted_and_unfinished_requests() -> None:
    """With two sequences the third request waits for the first to finish."""
    requests = [request(0, 3, output=2), request(1, 3, output=3), request(2, 3)]
    expected = ["- | 0:0-3x0-1 1:0-3x0-1", "0 1 | -", "1 | 2:0-3x0-1"]
    assert expected == written(serve(Whole(), requests, num_layers=1, max_num_seqs=2))


def test_one_sequence_serves_one_request_after_the_other() -> None:
    """The prompt in flight takes the sequence as a decode does."""
    requests = [request(0, 3, output=2), request(1, 4)]
    expected = ["- | 0:0-3x0-1", "- | 0:0-3x1-2", "0 | -", "- | 1:0-4x0-1", "- | 1:0-4x1-2"]
    policy = Layered(num_groups=2)
    assert expected == written(serve(policy, requests, max_num_seqs=1))


def test_a_readmitted_request_counts_as_admitted_last() -> None:
    """1 was admitted before 2 but came back after it, so it is preempted again when 2 asks.

    1 loses its page in iteration 3 while 2 is in flight, returns in 5 when 0 is finished, and in
    19 the 33rd token of 2 needs a third page.
    """
    requests = [
        request(0, 2, output=4),
        request(1, 15, output=30),
        request(2, 17, output=18, arrival=1),
    ]
    steps = serve(Layered(num_groups=2), requests, num_kv_pages=4)
    expected = {3: (1,), 19: (1,)}
    assert expected == {
        step.iteration: step.view.preempted for step in steps if step.view.preempted
    }
    assert ["2 | 1:0-17x0-1", "2 | - | !1", "2 | -", "- | 1:0-30x0-1"] == [
        written(steps)[iteration] for iteration in (5, 19, 20, 21)
    ]
