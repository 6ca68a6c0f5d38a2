from collections.abc import Sequence

import pytest

from lpbench.plan.admission import admit
from lpbench.plan.policy import View
from lpbench.plan.request import Progress


def waiting(request: int, num_tokens: int, *, context_tokens: int = 0) -> Progress:
    """Return a prompt of which nothing has run."""
    return Progress.start(request, num_tokens, num_layers=2, context_tokens=context_tokens)


def cut(request: int, num_tokens: int, *, done: int) -> Progress:
    """Return a prompt whose first `done` tokens have passed all layers."""
    return Progress(request=request, num_tokens=num_tokens, done=(done, done))


def admitted(
    *queue: Progress,
    budget: int,
    begun: Sequence[Progress] = (),
    free_pages: int = 100,
    free_seqs: int = 100,
    whole: bool = False,
) -> list[tuple[int, int]]:
    """Return the (request, tokens) pairs that are admitted."""
    view = View(
        num_layers=2,
        decodes=(),
        begun=tuple(begun),
        queue=queue,
        free_pages=free_pages,
        free_seqs=free_seqs,
    )
    return [(progress.request, tokens) for progress, tokens in admit(view, budget, cut=not whole)]


def test_nobody_is_admitted_from_empty_queues() -> None:
    """Without prompts there is nothing to admit."""
    assert [] == admitted(budget=10)


def test_the_last_prompt_is_cut_to_the_budget() -> None:
    """Prompts come in order until the budget is used up, the last one in part."""
    assert [(4, 6), (2, 4)] == admitted(waiting(4, 6), waiting(2, 9), waiting(3, 1), budget=10)


def test_a_budget_used_up_exactly_cuts_nobody() -> None:
    """A prompt that would get no token is not admitted."""
    assert [(0, 6), (1, 4)] == admitted(waiting(0, 6), waiting(1, 4), waiting(2, 1), budget=10)


def test_no_budget_admits_nobody() -> None:
    """A budget of nothing, as decodes may leave, serves not even a prompt already begun."""
    assert [] == admitted(waiting(0, 6), budget=0, begun=[cut(1, 9, done=3)])


def test_the_cut_prompt_leads_then_the_queue_in_its_order() -> None:
    """The cut prompt's rest comes before preempted and waiting prompts, whatever their index."""
    begun = [cut(5, 9, done=6)]
    assert [(5, 3), (8, 4), (1, 3)] == admitted(
        waiting(8, 4), waiting(1, 7), budget=10, begun=begun
    )


@pytest.mark.parametrize(("free_pages", "expected"), [(1, []), (2, [0]), (3, [0, 1]), (4, [0, 1])])
def test_the_first_prompt_without_pages_ends_admission(
    free_pages: int, expected: list[int]
) -> None:
    """Prompts of 2, 1 and 2 pages: nobody overtakes the one that does not fit, however small."""
    queue = (waiting(0, 17), waiting(1, 16), waiting(2, 18), waiting(3, 1))
    found = admitted(*queue, budget=100, free_pages=free_pages)
    assert expected == [request for request, _ in found]


def test_context_tokens_take_pages_too() -> None:
    """16 tokens of context and 1 of prompt need two pages."""
    prompt = waiting(0, 1, context_tokens=16)
    assert [] == admitted(prompt, budget=10, free_pages=1)
    assert [(0, 1)] == admitted(prompt, budget=10, free_pages=2)


def test_pages_are_taken_for_the_whole_prompt_even_where_it_is_cut() -> None:
    """A prompt of 40 tokens takes three pages though only 8 tokens run now."""
    assert [] == admitted(waiting(0, 40), budget=8, free_pages=2)
    assert [(0, 8)] == admitted(waiting(0, 40), budget=8, free_pages=3)


def test_a_prompt_already_begun_needs_neither_pages_nor_a_sequence() -> None:
    """It holds its pages and counts as admitted."""
    begun = [cut(1, 40, done=8)]
    assert [(1, 8)] == admitted(budget=8, begun=begun, free_pages=0, free_seqs=0)


def test_no_more_are_admitted_than_sequences_are_free() -> None:
    """Two free sequences admit two of three prompts."""
    queue = (waiting(0, 1), waiting(1, 1), waiting(2, 1))
    assert [(0, 1), (1, 1)] == admitted(*queue, budget=10, free_seqs=2)


def test_whole_prompts_are_never_cut() -> None:
    """The first that does not fit the budget ends admission, though a later one would fit."""
    queue = (waiting(0, 6), waiting(1, 5), waiting(2, 1))
    assert [(0, 6)] == admitted(*queue, budget=10, whole=True)
    assert [(0, 6), (1, 5)] == admitted(*queue, budget=11, whole=True)


def test_a_prompt_that_outgrew_the_budget_is_admitted_alone() -> None:
    """A preempted prompt longer than the budget still returns, and nobody rides along."""
    queue = (waiting(0, 12), waiting(1, 1))
    assert [(0, 12)] == admitted(*queue, budget=10, whole=True)
