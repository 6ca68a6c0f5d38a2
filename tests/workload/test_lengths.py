import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.workload.drawn import draw_lengths, drawn_workload, normal_share
from lpbench.workload.lengths import (
    DEFAULT_PROMPTS,
    LengthTable,
    Marginal,
    find_lengths,
    length_names,
)
from lpbench.workload.requests import Line
from lpbench.workload.routing import Floats

MANY = 20_000
NAMES = ("arxiv", "sharegpt")


def drawn(name: str, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Return many prompt lengths and their output lengths."""
    prompts, outputs = np.array(draw_lengths(find_lengths(name), MANY, seed=seed), dtype=float).T
    return prompts, outputs


def marginals(name: str) -> tuple[Marginal, Marginal]:
    """Return how prompts and outputs are distributed."""
    table = find_lengths(name)
    return table.prompt_tokens, table.output_tokens


def ranks(x: Floats) -> Floats:
    """Return the ranks, those of equal numbers being their mean."""
    _, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Floats = (last - (counts - 1) / 2.0)[which]
    return middle


def test_the_tables_are_listed() -> None:
    """The data sets of the layered-prefill paper."""
    assert NAMES == length_names()


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_one_of_whole_distributions(name: str) -> None:
    """Percentiles rise from 0 to 100 and no request of the data is longer than the limit."""
    table = find_lengths(name)
    assert name == table.name
    for marginal in marginals(name):
        percentages, tokens = zip(*marginal.percentiles, strict=True)
        assert (0, 100) == (percentages[0], percentages[-1])
        assert sorted(set(percentages)) == list(percentages)
        assert sorted(set(tokens)) == list(tokens)
        assert 1 <= tokens[0]
        assert tokens[0] < marginal.mean < tokens[-1] < table.limit
        assert 0 < marginal.std


def test_the_limits_are_those_of_the_evaluation() -> None:
    """8192 tokens of conversation, 32768 of paper and abstract."""
    assert (32768, 8192) == tuple(find_lengths(name).limit for name in NAMES)


def test_an_unknown_table_is_refused_with_the_nearest() -> None:
    """As every other catalogue does."""
    with pytest.raises(InputError) as caught:
        find_lengths("arxive")
    expected = "unknown table of lengths 'arxive' (did you mean 'arxiv'?); known: arxiv, sharegpt"
    assert expected == str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_means_and_deviations_are_those_of_the_table(name: str) -> None:
    """Means within 2 %, standard deviations within 3 %."""
    for lengths, marginal in zip(drawn(name), marginals(name), strict=True):
        assert pytest.approx(marginal.mean, rel=0.02) == lengths.mean()
        assert pytest.approx(marginal.std, rel=0.03) == lengths.std()


@pytest.mark.parametrize("name", NAMES)
def test_percentiles_are_those_of_the_table(name: str) -> None:
    """Within 3 % of the table's, or of its values three standard errors of a share away.

    A share of 20,000 draws is known to 0.35 points at best, and where the lengths are short 0.35
    points are more than 3 % of them.
    """
    for lengths, marginal in zip(drawn(name), marginals(name), strict=True):
        percentages, tokens = zip(*marginal.percentiles, strict=True)
        for percentage in percentages[1:-1]:
            error = 3 * math.sqrt(percentage * (100 - percentage) / MANY)
            low, high = np.interp((percentage - error, percentage + error), percentages, tokens)
            assert 0.97 * low - 1 <= np.percentile(lengths, percentage) <= 1.03 * high + 1


@pytest.mark.parametrize("name", NAMES)
def test_most_percentiles_need_no_such_allowance(name: str) -> None:
    """From the 20th to the 98th all are within 3 %."""
    for lengths, marginal in zip(drawn(name), marginals(name), strict=True):
        for percentage, tokens in marginal.percentiles:
            if 20 <= percentage <= 98:
                assert pytest.approx(tokens, rel=0.03) == np.percentile(lengths, percentage)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_and_outputs_are_correlated_as_in_the_table(name: str) -> None:
    """Spearman's coefficient within 0.03."""
    prompts, outputs = drawn(name)
    found = np.corrcoef(ranks(prompts), ranks(outputs))[0, 1]
    assert pytest.approx(find_lengths(name).spearman, abs=0.03) == found


@pytest.mark.parametrize("name", NAMES)
def test_no_pair_is_longer_than_the_limit(name: str) -> None:
    """Less than one in a hundred had to be shortened to it."""
    prompts, outputs = drawn(name)
    total = prompts + outputs
    assert find_lengths(name).limit >= total.max()
    assert 0.01 * MANY > np.count_nonzero(total == find_lengths(name).limit)


def flat(limit: int, *, spearman: float = 0.0) -> LengthTable:
    """Return a table of prompts of 1 to 100 tokens and outputs of 1 to 10."""
    prompts = Marginal(mean=50.0, std=30.0, percentiles=((0, 1), (100, 100)))
    outputs = Marginal(mean=5.0, std=3.0, percentiles=((0, 1), (100, 10)))
    return LengthTable(
        name="flat",
        description="",
        n=1,
        limit=limit,
        spearman=spearman,
        prompt_tokens=prompts,
        output_tokens=outputs,
    )


def test_a_pair_that_is_too_long_gives_up_tokens_of_its_prompt() -> None:
    """Outputs stay as they are, and prompts that fit do."""
    wide, narrow = (draw_lengths(flat(limit), 500, seed=0) for limit in (110, 60))
    expected = [(min(prompt, 60 - output), output) for prompt, output in wide]
    assert expected == narrow
    assert wide != narrow


@pytest.mark.parametrize("sign", [1, -1])
def test_a_full_correlation_orders_all_pairs(sign: int) -> None:
    """The longest prompt then has the longest, or the shortest, output."""
    pairs = draw_lengths(flat(110, spearman=float(sign)), 500, seed=0)
    outputs = [
        sign * output for _, output in sorted(pairs, key=lambda one: (one[0], sign * one[1]))
    ]
    assert sorted(outputs) == outputs


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, (1 << 64) - 1),
    few=st.integers(0, 40),
    more=st.integers(0, 40),
)
def test_more_requests_begin_as_fewer(name: str, seed: int, few: int, more: int) -> None:
    """A pair depends on the seed and on its number alone, and is of whole numbers, 1 or more."""
    table = find_lengths(name)
    longer = draw_lengths(table, few + more, seed=seed)
    assert longer[:few] == draw_lengths(table, few, seed=seed)
    assert all(type(tokens) is int and tokens >= 1 for pair in longer for tokens in pair)


def test_the_same_seed_gives_the_same_lengths_anywhere() -> None:
    """These lengths were drawn once and for all: others are another workload."""
    expected = [(613, 549), (4507, 940), (100, 241), (611, 123)]
    assert expected == draw_lengths(find_lengths("sharegpt"), 4, seed=7)
    assert expected != draw_lengths(find_lengths("sharegpt"), 4, seed=8)


def test_a_drawn_workload_arrives_all_at_once() -> None:
    """Its lines hold the drawn lengths and no arrival, its words are the table's."""
    table = find_lengths("arxiv")
    found = drawn_workload(table, num_prompts=DEFAULT_PROMPTS, seed=3)
    assert ("arxiv", table.description) == (found.name, found.description)
    pairs = draw_lengths(table, 100, seed=3)
    assert tuple(Line(prompt=p, output_tokens=o) for p, o in pairs) == found.lines


def test_too_many_requests_are_refused() -> None:
    """Before any is drawn."""
    with pytest.raises(InputError) as caught:
        drawn_workload(find_lengths("arxiv"), num_prompts=1_000_001, seed=0)
    expected = "--num-prompts 1000001 is out of range; accepted: 1 to 1000000"
    assert expected == str(caught.value)


def test_the_normal_share_equals_a_reference() -> None:
    """Within 1e-14 to 6 standard deviations, and as good as 0 or 1 beyond."""
    x = np.linspace(-6, 6, 1201)
    expected = [NormalDist().cdf(float(one)) for one in x]
    assert pytest.approx(expected, abs=1e-14) == normal_share(x).tolist()
    assert pytest.approx([0.0, 1.0], abs=1e-8) == normal_share(np.array([-40.0, 40.0])).tolist()
