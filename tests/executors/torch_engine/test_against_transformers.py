"""The engine's logits against transformers' full forward passes, under every schedule."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from lpbench.plan.request import Request
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.tokens import draw_ids
from tests.arms import Bench, Served, build_bench, single_thread
from tests.checkpoints import save_gpt_oss, save_qwen3_moe
from tests.oracle import Oracle, greedy, oracle_logits, worst_differences

BOUND = 1e-4
"""Of float32 logits; they are of order 1, of order 10 where the head is a tied embedding."""

SCHEDULES = (
    "whole",
    "chunked:max_num_batched_tokens=37",
    "layered:tokens_per_group=16",
    "hybrid:chunk=50,num_groups=3",
)
VARIANTS = ("layered:num_groups=3", "layered:max_num_batched_tokens=64", "layered:rule=table")

# (context, prompt, output, arrival): several in flight, with and without a context.
LENGTHS = (
    (0, 15, 24, 0),
    (33, 2, 30, 0),
    (0, 1, 25, 1),
    (0, 700, 6, 1),
    (100, 17, 20, 2),
    (0, 129, 12, 3),
    (0, 16, 20, 4),
    (0, 300, 6, 5),
)
REQUESTS = tuple(
    Request(
        index=index, context_tokens=context, prompt_tokens=prompt, output_tokens=out, arrival=at
    )
    for index, (context, prompt, out, at) in enumerate(LENGTHS)
)

AMPLE_POOL = 10_000
TIGHT_POOL = 49
"""KV pages: the longest request needs 45, all of them 95."""

GEOMETRIES: Mapping[str, Callable[[Path], PreTrainedModel]] = {
    "qwen, 5 layers, attention bias": lambda folder: save_qwen3_moe(
        folder, layers=5, attention_bias=True, seed=1
    ),
    "qwen, 7 layers, one KV head, tied, sharded": lambda folder: save_qwen3_moe(
        folder,
        layers=7,
        hidden=48,
        heads=6,
        kv_heads=1,
        head_dim=16,
        experts=12,
        top_k=3,
        expert_size=40,
        tied=True,
        max_shard_size="150KB",
        seed=2,
    ),
    "qwen, a window in all layers": lambda folder: save_qwen3_moe(
        folder, layers=3, heads=4, kv_heads=4, head_dim=16, window=40, seed=3
    ),
    "gpt-oss, 5 layers, window 8": lambda folder: save_gpt_oss(folder, layers=5, seed=4),
    "gpt-oss, 7 layers, as many KV heads, window 100, sharded": lambda folder: save_gpt_oss(
        folder,
        layers=7,
        heads=4,
        kv_heads=4,
        head_dim=16,
        experts=6,
        top_k=4,
        expert_size=48,
        window=100,
        max_shard_size="150KB",
        seed=5,
    ),
    "gpt-oss, 4 layers, tied, no attention bias": lambda folder: save_gpt_oss(
        folder, layers=4, heads=8, kv_heads=2, head_dim=8, attention_bias=False, tied=True, seed=6
    ),
}


QWEN, GPT_OSS = "qwen, 5 layers, attention bias", "gpt-oss, 5 layers, window 8"
"""A geometry of each family, for what need not be seen in all."""

SCRIPT = {
    request.index: draw_ids(
        seed=77, request=request.index, count=request.output_tokens, vocab_size=128
    )
    for request in REQUESTS
}
"""Tokens to feed that nobody would choose."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pair:
    """The engine and its oracle on one checkpoint."""

    folder: Path
    model: PreTrainedModel
    oracle: Oracle
    bench: Bench


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Return what gives engine and oracle of a geometry, made once."""

    @cache
    def make(geometry: str) -> Pair:
        folder = tmp_path_factory.mktemp("checkpoint")
        model = GEOMETRIES[geometry](folder)
        return Pair(
            folder=folder,
            model=model,
            oracle=Oracle(model),
            bench=build_bench(folder, REQUESTS),
        )

    return make


def assert_equals_oracle(pair: Pair, served: Served, fed: Mapping[int, Sequence[int]]) -> float:
    """Hold every generated token's logits to the oracle's over `fed`; return the worst."""
    expected = oracle_logits(pair.oracle, pair.bench.ids, fed)
    worst = max(worst_differences(expected, served.witnessed.evidence.logits))
    assert greedy(expected) == served.witnessed.tokens
    assert worst <= BOUND
    return worst


@pytest.mark.parametrize(
    ("geometry", "schedule"),
    [*product(GEOMETRIES, SCHEDULES), *product((QWEN, GPT_OSS), VARIANTS)],
)
def test_logits_equal_transformers_under_preemption(
    pairs: Callable[[str], Pair],
    geometry: str,
    schedule: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Every generated token has transformers' float32 logits and is its greedy choice."""
    pair = pairs(geometry)
    served = pair.bench.serve(schedule, num_kv_pages=TIGHT_POOL)
    assert served.preempted
    assert served.most_in_flight >= 4
    record_property("worst", assert_equals_oracle(pair, served, served.witnessed.tokens))


@pytest.mark.parametrize(
    ("geometry", "schedule"), [*product((QWEN, GPT_OSS), (SCHEDULES[1], VARIANTS[0]))]
)
def test_logits_equal_transformers_with_ample_pages(
    pairs: Callable[[str], Pair], geometry: str, schedule: str
) -> None:
    """Nobody is preempted, as many as arrive are in flight, and the logits are transformers'."""
    pair = pairs(geometry)
    served = pair.bench.serve(schedule, num_kv_pages=AMPLE_POOL)
    assert set() == served.preempted
    assert served.most_in_flight >= 5
    assert_equals_oracle(pair, served, served.witnessed.tokens)


@pytest.mark.parametrize(
    ("geometry", "schedule"), [(QWEN, "layered:tokens_per_group=16"), (GPT_OSS, SCHEDULES[1])]
)
def test_a_script_is_fed_instead_of_the_own_tokens(
    pairs: Callable[[str], Pair], geometry: str, schedule: str
) -> None:
    """Fed other tokens than its own, an arm has the logits of those and still tells its choice."""
    pair = pairs(geometry)
    served = pair.bench.serve(schedule, num_kv_pages=TIGHT_POOL, script=SCRIPT)
    assert served.preempted
    assert served.witnessed.tokens != SCRIPT
    assert_equals_oracle(pair, served, SCRIPT)


@pytest.mark.parametrize(
    ("geometry", "schedule"), [(QWEN, SCHEDULES[1]), (GPT_OSS, "layered:tokens_per_group=16")]
)
def test_bfloat16_errs_no_more_than_transformers_does(
    pairs: Callable[[str], Pair],
    geometry: str,
    schedule: str,
    record_property: Callable[[str, object], None],
) -> None:
    """In bfloat16 our mean error is at most 1.5 times that of transformers' own bfloat16 model.

    The error of a generated token is its largest absolute logit difference to transformers'
    float32 model. Single tokens are not compared: rounding flips experts where the router is
    undecided, in other rows in each of two correct programs, and such a row is off by as much as
    its logits spread. The mean over all tokens sees what a wrong formula or a cast in the wrong
    place would add, while the flips, as frequent in both, cancel.
    """
    pair = pairs(geometry)
    reference = oracle_logits(pair.oracle, pair.bench.ids, SCRIPT)
    rounded = type(pair.model).from_pretrained(pair.folder, dtype=torch.bfloat16)
    theirs = worst_differences(reference, oracle_logits(Oracle(rounded), pair.bench.ids, SCRIPT))
    bench = build_bench(pair.folder, REQUESTS, precision=PRECISIONS["bfloat16"])
    served = bench.serve(schedule, script=SCRIPT)
    ours = worst_differences(reference, served.witnessed.evidence.logits)
    record_property("mean_ours_theirs", (np.mean(ours), np.mean(theirs)))
    record_property("median_ours_theirs", (np.median(ours), np.median(theirs)))
    assert len(ours) >= 100
    assert np.mean(ours) <= 1.5 * np.mean(theirs)
