import pytest

from lpbench.errors import InputError
from lpbench.plan.grid import Span
from lpbench.plan.layered import Layered, hybrid, table_groups
from lpbench.plan.request import Request
from tests.serving import serve, written

PAPER_TABLE = {
    16: {512: 1, 1024: 2, 2048: 4, 4096: 8, 8192: 16},
    12: {512: 1, 1024: 2, 2048: 4, 4096: 6, 8192: 12},
    24: {512: 1, 1024: 2, 2048: 4, 4096: 8, 8192: 24},
    4: {512: 1, 1024: 2, 2048: 4, 4096: 4, 8192: 4},
}
"""PAPER.md 1.2: by cap, the groups of a batch of up to so many tokens; 8192 stands for above."""

DEEP = 100


def num_groups(policy: Layered, num_tokens: int, *, num_layers: int = DEEP) -> int:
    """Return how many groups a batch of `num_tokens` is cut into."""
    return len(policy.groups(num_tokens, num_layers))


@pytest.mark.parametrize("cap", PAPER_TABLE)
def test_the_table_is_the_papers_at_and_around_every_threshold(cap: int) -> None:
    """Every entry holds from one above the last threshold up to its own, and 1 from 1 token."""
    policy = Layered(rule="table", max_groups=cap)
    lowest = 1
    for threshold, expected in PAPER_TABLE[cap].items():
        for tokens in {lowest, lowest + 1, threshold - 1, threshold}:
            assert expected == num_groups(policy, tokens)
            assert expected == table_groups(tokens, cap)
        lowest = threshold + 1
    assert PAPER_TABLE[cap][8192] == num_groups(policy, 1_000_000)


@pytest.mark.parametrize(
    ("num_tokens", "paper", "code"), [(1500, 3, 4), (2500, 5, 8), (4500, 9, 16)]
)
def test_the_papers_rule_and_its_code_differ(num_tokens: int, paper: int, code: int) -> None:
    """PAPER.md 1.2's examples: the step table against ceil(L/512), both at a cap of 16."""
    assert paper == num_groups(Layered(), num_tokens)
    assert code == num_groups(Layered(rule="table"), num_tokens)


@pytest.mark.parametrize(
    ("expected", "num_tokens"),
    [(1, 1), (1, 511), (1, 512), (2, 513), (2, 1024), (3, 1025), (16, 8192), (17, 8193)],
)
def test_ceil_gives_a_group_for_every_512_tokens(expected: int, num_tokens: int) -> None:
    """The paper's max(1, ceil(L/512)), the default."""
    assert expected == num_groups(Layered(), num_tokens)


@pytest.mark.parametrize("num_layers", [1, 2, 7, 16, 48])
def test_no_rule_makes_more_groups_than_layers(num_layers: int) -> None:
    """Whatever the rule, a group has at least one layer."""
    policies = (Layered(), Layered(rule="table"), Layered(num_groups=16), hybrid(num_groups=16))
    expected = [min(16, num_layers)] * 4
    assert expected == [num_groups(one, 8192, num_layers=num_layers) for one in policies]


@pytest.mark.parametrize("num_tokens", [1, 512, 5000])
def test_num_groups_is_fixed_whatever_the_batch(num_tokens: int) -> None:
    """`num_groups` takes the place of either rule."""
    assert 5 == num_groups(Layered(num_groups=5), num_tokens)
    assert 5 == num_groups(Layered(num_groups=5, rule="table"), num_tokens)


def test_groups_are_contiguous_and_larger_first() -> None:
    """Seven layers in three groups are 3, 2 and 2 layers."""
    expected = (Span(0, 3), Span(3, 5), Span(5, 7))
    assert expected == Layered(tokens_per_group=10).groups(25, 7)


def test_one_group_per_iteration_carries_the_prompt() -> None:
    """Ten tokens at 4 per group through 7 layers; the decode runs in every iteration."""
    requests = [
        Request(index=0, prompt_tokens=3, output_tokens=9),
        Request(index=1, prompt_tokens=10, output_tokens=2, arrival=2),
    ]
    expected = [
        "- | 0:0-3x0-7",
        "0 | -",
        "0 | 1:0-10x0-3",
        "0 | 1:0-10x3-5",
        "0 | 1:0-10x5-7",
        "0 1 | -",
        "0 | -",
        "0 | -",
        "0 | -",
    ]
    steps = serve(Layered(tokens_per_group=4), requests, num_layers=7)
    assert expected == written(steps)
    assert [1, None, 3, 3, 3, None, None, None, None] == [step.plan.num_groups for step in steps]


def test_the_rest_of_a_cut_prompt_leads_the_next_batch() -> None:
    """Budget 10, 5 tokens per group, prompts of 6, 8 and 3: the second is cut at 4."""
    requests = [
        Request(index=0, prompt_tokens=6, output_tokens=3),
        Request(index=1, prompt_tokens=8, output_tokens=2),
        Request(index=2, prompt_tokens=3, output_tokens=1),
    ]
    expected = [
        "- | 0:0-6x0-2 1:0-4x0-2",
        "- | 0:0-6x2-4 1:0-4x2-4",
        "0 | 1:4-8x0-2 2:0-3x0-2",
        "0 | 1:4-8x2-4 2:0-3x2-4",
        "1 | -",
    ]
    policy = Layered(tokens_per_group=5, max_num_batched_tokens=10)
    assert expected == written(serve(policy, requests, num_layers=4))


def test_a_prompt_longer_than_the_budget_goes_in_batches() -> None:
    """Seven tokens at a budget of 3: each part passes all groups before the next begins."""
    requests = [Request(index=0, prompt_tokens=7, output_tokens=1)]
    expected = [
        "- | 0:0-3x0-1",
        "- | 0:0-3x1-2",
        "- | 0:3-6x0-1",
        "- | 0:3-6x1-2",
        "- | 0:6-7x0-1",
        "- | 0:6-7x1-2",
    ]
    policy = Layered(max_num_batched_tokens=3, num_groups=2)
    assert expected == written(serve(policy, requests))


def test_nobody_joins_a_batch_midway() -> None:
    """A prompt that arrives while a batch is under way waits for the next, though it would fit."""
    requests = [
        Request(index=0, prompt_tokens=8, output_tokens=1),
        Request(index=1, prompt_tokens=2, output_tokens=1, arrival=1),
        Request(index=2, prompt_tokens=2, output_tokens=1, arrival=2),
    ]
    expected = [
        "- | 0:0-8x0-2",
        "- | 0:0-8x2-4",
        "- | 0:0-8x4-6",
        "- | 1:0-2x0-2 2:0-2x0-2",
        "- | 1:0-2x2-4 2:0-2x2-4",
        "- | 1:0-2x4-6 2:0-2x4-6",
    ]
    assert expected == written(serve(Layered(num_groups=3), requests, num_layers=6))


def test_nobody_joins_a_cut_prompts_batch_midway_either() -> None:
    """The same when the batch in flight is the rest of a cut prompt."""
    requests = [
        Request(index=0, prompt_tokens=5, output_tokens=1),
        Request(index=1, prompt_tokens=1, output_tokens=1, arrival=3),
    ]
    expected = [
        "- | 0:0-4x0-1",
        "- | 0:0-4x1-2",
        "- | 0:4-5x0-1",
        "- | 0:4-5x1-2",
        "- | 1:0-1x0-1",
        "- | 1:0-1x1-2",
    ]
    policy = Layered(max_num_batched_tokens=4, num_groups=2)
    assert expected == written(serve(policy, requests))


def test_decodes_do_not_count_against_the_budget() -> None:
    """The batch is as large beside three decodes as beside none."""
    assert [9, 9] == [Layered(max_num_batched_tokens=9).prefill_budget(n) for n in (0, 3)]


def test_no_prompt_is_too_long() -> None:
    """A prompt past the budget is cut, so nothing is refused."""
    request = Request(index=0, prompt_tokens=10**6, output_tokens=1)
    Layered(max_num_batched_tokens=1).refuse([request], max_num_seqs=1)


def test_hybrid_is_layered_over_chunks() -> None:
    """The alias sets the budget and the number of groups."""
    assert Layered(max_num_batched_tokens=2048, num_groups=4) == hybrid()
    assert Layered(max_num_batched_tokens=100, num_groups=3) == hybrid(chunk=100, num_groups=3)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Layered(), {"rule": "ceil", "tokens_per_group": 512}),
        (Layered(tokens_per_group=64), {"rule": "ceil", "tokens_per_group": 64}),
        (Layered(rule="table"), {"rule": "table", "max_groups": 16}),
        (Layered(rule="table", max_groups=12), {"rule": "table", "max_groups": 12}),
        (Layered(num_groups=3), {"num_groups": 3}),
    ],
)
def test_the_parameters_in_force_are_those_of_the_rule(
    policy: Layered, expected: dict[str, int | str]
) -> None:
    """The record names what decided the groups, and the budget."""
    assert expected | {"max_num_batched_tokens": 8192} == policy.params
    assert "layered" == policy.name


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"tokens_per_group": 0}, "tokens_per_group=0 is out of range; accepted: 1 or more"),
        (
            {"max_num_batched_tokens": 0},
            "max_num_batched_tokens=0 is out of range; accepted: 1 or more",
        ),
        ({"num_groups": 0}, "num_groups=0 is out of range; accepted: 1 or more"),
        ({"num_groups": -4}, "num_groups=-4 is out of range; accepted: 1 or more"),
        ({"max_groups": 5}, "max_groups=5 is out of range; accepted: 4, 12, 16, 24"),
    ],
)
def test_a_number_out_of_range_is_refused(parameters: dict[str, int], expected: str) -> None:
    """The message gives schedule, parameter, value and accepted range."""
    with pytest.raises(InputError) as caught:
        Layered(
            tokens_per_group=parameters.get("tokens_per_group", 512),
            max_num_batched_tokens=parameters.get("max_num_batched_tokens", 8192),
            max_groups=parameters.get("max_groups", 16),
            num_groups=parameters.get("num_groups"),
        )
    assert f"schedule 'layered': {expected}" == str(caught.value)


def test_an_unknown_rule_is_refused() -> None:
    """The message names the two rules."""
    with pytest.raises(InputError) as caught:
        Layered(rule="floor")
    expected = "schedule 'layered': rule=floor is out of range; accepted: ceil, table"
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("chunk", "groups", "expected"),
    [(0, 4, "chunk=0"), (2048, 0, "num_groups=0"), (-1, 0, "chunk=-1")],
)
def test_hybrid_names_its_own_parameters(chunk: int, groups: int, expected: str) -> None:
    """An error of the alias speaks of the alias."""
    with pytest.raises(InputError) as caught:
        hybrid(chunk=chunk, num_groups=groups)
    message = f"schedule 'hybrid': {expected} is out of range; accepted: 1 or more"
    assert message == str(caught.value)
