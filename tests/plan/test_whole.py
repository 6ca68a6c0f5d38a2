import pytest

from lpbench.errors import InputError
from lpbench.plan.policy import View
from lpbench.plan.request import Progress, Request
from lpbench.plan.whole import Whole
from tests.serving import serve, written


def test_the_default_budget_is_8192() -> None:
    """The parameters in force are the budget alone."""
    assert {"max_num_batched_tokens": 8192} == Whole().params
    assert "whole" == Whole().name


def test_whole_prompts_share_an_iteration_with_the_decodes() -> None:
    """Budget 10, written out: prompts of 6 and 4 go first, 8 waits for the next iteration."""
    requests = [
        Request(index=0, prompt_tokens=6, output_tokens=3),
        Request(index=1, prompt_tokens=4, output_tokens=2),
        Request(index=2, prompt_tokens=8, output_tokens=1),
        Request(index=3, prompt_tokens=1, output_tokens=1),
    ]
    expected = [
        "- | 0:0-6x0-3 1:0-4x0-3",
        "0 1 | 2:0-8x0-3 3:0-1x0-3",
        "0 | -",
    ]
    assert expected == written(serve(Whole(max_num_batched_tokens=10), requests, num_layers=3))


def test_decodes_do_not_count_against_the_budget() -> None:
    """A prompt of exactly the budget runs beside two decodes."""
    requests = [
        Request(index=0, prompt_tokens=1, output_tokens=2),
        Request(index=1, prompt_tokens=1, output_tokens=2),
        Request(index=2, prompt_tokens=5, output_tokens=1, arrival=1),
    ]
    expected = ["- | 0:0-1x0-2 1:0-1x0-2", "0 1 | 2:0-5x0-2"]
    assert expected == written(serve(Whole(max_num_batched_tokens=5), requests))
    assert 5 == Whole(max_num_batched_tokens=5).prefill_budget(2)


def test_without_prompts_only_decodes_run() -> None:
    """An empty queue gives a plan without tiles."""
    view = View(num_layers=2, decodes=(1,), begun=(), queue=(), free_pages=0, free_seqs=0)
    assert () == Whole().plan(view).prefill


def test_a_whole_plan_groups_no_layers() -> None:
    """The record's group count belongs to layered alone."""
    prompt = Progress.start(0, 4, num_layers=2)
    view = View(num_layers=2, decodes=(), begun=(), queue=(prompt,), free_pages=1, free_seqs=1)
    assert Whole().plan(view).num_groups is None


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_is_refused(budget: int) -> None:
    """The message gives value and accepted range."""
    expected = (
        f"schedule 'whole': max_num_batched_tokens={budget} is out of range; accepted: 1 or more"
    )
    with pytest.raises(InputError) as caught:
        Whole(max_num_batched_tokens=budget)
    assert expected == str(caught.value)


def test_a_prompt_longer_than_the_budget_is_refused_at_the_start() -> None:
    """The first such request is named, one of exactly the budget is not."""
    requests = [
        Request(index=0, prompt_tokens=10, output_tokens=1),
        Request(index=1, prompt_tokens=11, output_tokens=1),
        Request(index=2, prompt_tokens=99, output_tokens=1),
    ]
    expected = (
        "schedule 'whole': the prompt of request 1 has 11 tokens, more than "
        "max_num_batched_tokens=10; raise it or shorten the prompt"
    )
    with pytest.raises(InputError) as caught:
        Whole(max_num_batched_tokens=10).refuse(requests, max_num_seqs=256)
    assert expected == str(caught.value)


def test_a_preempted_prompt_that_outgrew_the_budget_still_returns() -> None:
    """A prompt of exactly the budget comes back with a token more, alone in its iteration."""
    requests = [
        Request(index=0, prompt_tokens=16, output_tokens=3),
        Request(index=1, prompt_tokens=16, output_tokens=2),
        Request(index=2, prompt_tokens=1, output_tokens=1, arrival=2),
    ]
    expected = [
        "- | 0:0-16x0-1",
        "0 | 1:0-16x0-1",
        "0 | - | !1",
        "- | 1:0-17x0-1",
        "- | 2:0-1x0-1",
    ]
    policy = Whole(max_num_batched_tokens=16)
    assert expected == written(serve(policy, requests, num_layers=1, num_kv_pages=3))
