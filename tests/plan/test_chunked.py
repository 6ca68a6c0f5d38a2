import pytest

from lpbench.errors import InputError
from lpbench.plan.chunked import Chunked
from lpbench.plan.request import Request
from tests.serving import serve, written


def lengths(*prompts: int) -> list[Request]:
    """Return requests of one output token with these prompts."""
    return [
        Request(index=at, prompt_tokens=tokens, output_tokens=1)
        for at, tokens in enumerate(prompts)
    ]


def test_the_default_budget_is_512() -> None:
    """The parameters in force are the budget alone."""
    assert {"max_num_batched_tokens": 512} == Chunked().params
    assert "chunked" == Chunked().name


def test_two_prompts_under_a_budget_of_seven() -> None:
    """Written out: the begun prompt first, the next cut to fit, decodes taking 1 each."""
    requests = [
        Request(index=0, prompt_tokens=10, output_tokens=4),
        Request(index=1, prompt_tokens=12, output_tokens=2),
    ]
    expected = [
        "- | 0:0-7x0-2",
        "- | 0:7-10x0-2 1:0-4x0-2",
        "0 | 1:4-10x0-2",
        "0 | 1:10-12x0-2",
        "0 1 | -",
    ]
    assert expected == written(serve(Chunked(max_num_batched_tokens=7), requests))


def test_a_prompt_that_waits_for_pages_is_not_overtaken() -> None:
    """Prompts of 2, 2 and 1 pages and a pool of 3: the third waits for the second."""
    requests = [
        Request(index=0, prompt_tokens=20, output_tokens=1),
        Request(index=1, prompt_tokens=32, output_tokens=1),
        Request(index=2, prompt_tokens=1, output_tokens=1),
    ]
    expected = [
        "- | 0:0-16x0-2",
        "- | 0:16-20x0-2",
        "- | 1:0-16x0-2",
        "- | 1:16-32x0-2",
        "- | 2:0-1x0-2",
    ]
    policy = Chunked(max_num_batched_tokens=16)
    assert expected == written(serve(policy, requests, num_kv_pages=3))


def test_many_short_prompts_share_a_pass() -> None:
    """Prompts of 2, 3 and 4 tokens fit 8 but for one token of the last."""
    expected = ["- | 0:0-2x0-2 1:0-3x0-2 2:0-3x0-2", "- | 2:3-4x0-2"]
    assert expected == written(serve(Chunked(max_num_batched_tokens=8), lengths(2, 3, 4)))


def test_decodes_take_one_token_each_of_the_budget() -> None:
    """What is left is never below nothing."""
    chunked = Chunked(max_num_batched_tokens=8)
    assert [8, 5, 0, 0] == [chunked.prefill_budget(decodes) for decodes in (0, 3, 8, 9)]


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_below_one_is_refused(budget: int) -> None:
    """The message gives value and accepted range."""
    expected = (
        f"schedule 'chunked': max_num_batched_tokens={budget} is out of range; accepted: 1 or more"
    )
    with pytest.raises(InputError) as caught:
        Chunked(max_num_batched_tokens=budget)
    assert expected == str(caught.value)


def test_a_budget_that_decodes_could_use_up_is_refused() -> None:
    """Five requests leave at most four decodes beside a prompt: budget 4 starves it."""
    expected = (
        "schedule 'chunked': max_num_batched_tokens=4 could starve prompts, as 4 requests may be "
        "decoding; accepted: 5 or more, or a lower --max-num-seqs"
    )
    with pytest.raises(InputError) as caught:
        Chunked(max_num_batched_tokens=4).refuse(lengths(*[9] * 5), max_num_seqs=256)
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("budget", "num_requests", "max_num_seqs"), [(5, 5, 256), (1, 1, 256), (4, 99, 3), (1, 1, 1)]
)
def test_a_budget_above_the_most_decodes_serves(
    budget: int, num_requests: int, max_num_seqs: int
) -> None:
    """Accepted: more than the lesser of max_num_seqs and the other requests."""
    policy = Chunked(max_num_batched_tokens=budget)
    policy.refuse(lengths(*[9] * num_requests), max_num_seqs=max_num_seqs)


@pytest.mark.parametrize(("budget", "max_num_seqs"), [(3, 3), (1, 1), (2, 3)])
def test_max_num_seqs_bounds_the_decodes_that_may_starve(budget: int, max_num_seqs: int) -> None:
    """With 99 requests a budget of max_num_seqs or less is refused."""
    with pytest.raises(InputError, match=f"as {max_num_seqs} requests may be decoding"):
        Chunked(max_num_batched_tokens=budget).refuse(lengths(*[1] * 99), max_num_seqs=max_num_seqs)
