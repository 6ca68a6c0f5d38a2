"""The audit: it finds that schedules compute the same, and it finds it where one does not."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lpbench.bench.audit import SAMPLED_TOKENS, Witnessed, audit, sampled_tokens
from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import run_traffic
from lpbench.executors.executor import Evidence
from lpbench.plan.request import Request
from lpbench.record.schema import Audit, Record
from lpbench.record.store import RunStore
from tests.arms import build_bench, single_thread
from tests.checkpoints import save_gpt_oss, save_qwen3_moe

SCHEDULES = ("chunked:max_num_batched_tokens=37", "layered:tokens_per_group=16", "whole")
REQUESTS = (
    {"prompt_tokens": 40, "output_tokens": 20},
    {"prompt_tokens": 70, "output_tokens": 12, "arrival_iteration": 1},
    {"prompt_tokens": 5, "output_tokens": 25, "context_tokens": 20, "arrival_iteration": 2},
    {"prompt_tokens": 1, "output_tokens": 30, "arrival_iteration": 3},
)
POOL = 11
"""KV pages: less than all need at once, so that arms preempt, each where it must."""


class Silent:
    """A listener that says nothing."""

    def stage(self, name: str, total: float) -> None:
        """Do nothing."""

    def advance(self, amount: float) -> None:
        """Do nothing."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


@pytest.fixture(scope="module", params=["qwen3_moe", "gpt_oss"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of each family."""
    path = tmp_path_factory.mktemp("checkpoint")
    {"qwen3_moe": save_qwen3_moe, "gpt_oss": save_gpt_oss}[request.param](path, seed=1)
    return path


def traffic(folder: Path, *, dtype: str = "float32", routing: str = "model") -> Record:
    """Run the main job on a checkpoint."""
    requests = folder / "requests.jsonl"
    requests.write_text("".join(json.dumps(one) + "\n" for one in REQUESTS))
    spec = RunSpec(
        model=str(folder),
        requests=requests,
        schedules=SCHEDULES,
        routing=routing,
        device="cpu",
        dtype=dtype,
        num_kv_pages=POOL,
    )
    return run_traffic(spec, lambda: RunStore(output=None, json=None), Silent())


def found(record: Record) -> Audit:
    """Return a run's audit."""
    assert record.audit is not None
    return record.audit


@pytest.mark.parametrize("routing", ["model", "calibrated"])
def test_all_schedules_compute_the_same(folder: Path, routing: str) -> None:
    """A run's arms agree in tokens, logits and experts, preempted or not, in float32."""
    record = traffic(folder, routing=routing)
    audited = found(record)
    preemptions = [arm.metrics["preemptions"].value for arm in record.arms]
    assert all(preemptions)
    assert (True, 1.0, 0, 0) == (
        audited.tokens_equal,
        audited.routing_agreement,
        audited.near_ties,
        audited.far_disagreements,
    )
    assert 0 < audited.max_abs_logit_diff < 1e-4
    assert ("float32", SAMPLED_TOKENS) == (audited.dtype, audited.sampled_tokens)
    assert list(SCHEDULES) == [arm.label for arm in audited.arms]
    assert audited.is_sound


def test_a_bfloat16_run_is_audited_in_float32(folder: Path) -> None:
    """The audit takes float32 where it fits, so that rounding does not blur what it finds."""
    audited = found(traffic(folder, dtype="bfloat16"))
    assert ("float32", True, 1.0) == (
        audited.dtype,
        audited.tokens_equal,
        audited.routing_agreement,
    )
    assert audited.max_abs_logit_diff < 1e-4
    assert audited.is_sound


@pytest.fixture(scope="module")
def arms(folder: Path) -> tuple[Witnessed, Witnessed]:
    """Return what two arms of one checkpoint witnessed."""
    requests = [
        Request(index=0, prompt_tokens=40, output_tokens=10),
        Request(index=1, prompt_tokens=20, output_tokens=6, context_tokens=9, arrival=1),
    ]
    bench = build_bench(folder, requests)
    first, second = (bench.serve(schedule).witnessed for schedule in SCHEDULES[:2])
    return first, second


def copied(arm: Witnessed) -> Witnessed:
    """Return an arm whose evidence may be changed."""
    evidence = arm.evidence
    return replace(
        arm,
        tokens={request: list(tokens) for request, tokens in arm.tokens.items()},
        evidence=Evidence(
            experts={request: one.copy() for request, one in evidence.experts.items()},
            margins={request: one.copy() for request, one in evidence.margins.items()},
            logits={token: one.copy() for token, one in evidence.logits.items()},
        ),
    )


def flip_experts(arm: Witnessed, *, margin: float) -> None:
    """Exchange the experts of one (row, layer) pair for others, chosen by so much."""
    arm.evidence.experts[0][7, 1] = [0, 1] if arm.evidence.experts[0][7, 1, 0] else [2, 3]
    arm.evidence.margins[0][7, 1] = margin


def widen_margins(*arms: Witnessed) -> None:
    """Put every choice of experts far from a tie."""
    for arm in arms:
        for margins in arm.evidence.margins.values():
            margins[:] = 1.0


PAIRS = 3 * ((40 + 9) + (20 + 5))
"""(row, layer) pairs of the two requests; the context is no row of the run."""


def test_an_arm_agrees_with_itself(arms: tuple[Witnessed, Witnessed]) -> None:
    """Against itself nothing differs, and the figures say so."""
    audited = audit([arms[0], arms[0]], dtype="float32")
    assert (True, 0.0, 1.0) == (
        audited.tokens_equal,
        audited.max_abs_logit_diff,
        audited.routing_agreement,
    )
    assert audited.is_sound


def test_a_changed_token_is_found(arms: tuple[Witnessed, Witnessed]) -> None:
    """One other token is enough: float32 arms must agree in all, bfloat16 ones need not."""
    first, second = arms[0], copied(arms[1])
    second.tokens[1][3] += 1  # type: ignore[index]
    audited = audit([first, second], dtype="float32")
    assert (False, False) == (audited.tokens_equal, audited.is_sound)
    assert [True, False] == [arm.tokens_equal for arm in audited.arms]
    assert audit([first, second], dtype="bfloat16").is_sound


def test_other_experts_by_a_clear_choice_are_an_error(arms: tuple[Witnessed, Witnessed]) -> None:
    """A disagreement where the router was sure means that something else was computed."""
    first, second = copied(arms[0]), copied(arms[1])
    widen_margins(first, second)
    flip_experts(second, margin=1.0)
    audited = audit([first, second], dtype="float32")
    assert (0, 1) == (audited.near_ties, audited.far_disagreements)
    assert pytest.approx(1 - 1 / PAIRS) == audited.routing_agreement
    assert [True, False] == [not arm.far_disagreements for arm in audited.arms]
    assert not audited.is_sound
    assert not audit([first, second], dtype="bfloat16").is_sound


@pytest.mark.parametrize("in_first", [True, False], ids=["first arm", "other arm"])
@pytest.mark.parametrize(("margin", "near"), [(0.0, 1), (0.9e-3, 1), (1e-3, 0), (1.1e-3, 0)])
def test_other_experts_by_a_near_tie_are_no_error(
    arms: tuple[Witnessed, Witnessed], margin: float, *, near: int, in_first: bool
) -> None:
    """Below a margin of 1e-3 in either arm a disagreement is a near tie, from there on an error."""
    first, second = copied(arms[0]), copied(arms[1])
    widen_margins(first, second)
    flip_experts(first if in_first else second, margin=margin)
    audited = audit([first, second], dtype="float32")
    assert (near, 1 - near) == (audited.near_ties, audited.far_disagreements)
    assert pytest.approx(1 - 1 / PAIRS) == audited.routing_agreement
    assert bool(near) == audited.is_sound


def test_rows_of_one_arm_alone_are_not_compared(arms: tuple[Witnessed, Witnessed]) -> None:
    """Context that a preemption had computed again in one arm is no disagreement."""
    first, second = copied(arms[0]), copied(arms[1])
    assert (first.evidence.experts[1][:9] == -1).all()
    second.evidence.experts[1][:9] = [0, 1]
    audited = audit([first, second], dtype="float32")
    assert (1.0, 0) == (audited.routing_agreement, audited.far_disagreements)


@pytest.mark.parametrize("place", [np.argmax, np.argmin], ids=["most likely", "least likely"])
def test_a_changed_logit_is_found(
    arms: tuple[Witnessed, Witnessed], place: Callable[[object], int]
) -> None:
    """A top logit is compared itself; one outside the top 64 shows in the log-sum-exp."""
    first, second = arms[0], copied(arms[1])
    row = second.evidence.logits[1, 2]
    changed = row.astype(np.float64)
    changed[place(row)] += 30.0
    row[:] = changed
    before = arms[1].evidence.logits[1, 2].astype(np.float64)
    grown = np.log(np.exp(changed).sum()) - np.log(np.exp(before).sum())
    expected = 30.0 if place is np.argmax else grown
    audited = audit([first, second], dtype="float32")
    assert pytest.approx(expected, abs=1e-3) == audited.max_abs_logit_diff
    assert [True, False] == [arm.max_abs_logit_diff < 1e-4 for arm in audited.arms]


def test_the_worst_arm_decides(arms: tuple[Witnessed, Witnessed]) -> None:
    """With several arms the figures are those of the worst, and counts add up."""
    first = copied(arms[0])
    others = [copied(arms[1]) for _ in range(3)]
    widen_margins(first, *others)
    flip_experts(others[0], margin=1.0)
    flip_experts(others[2], margin=1e-4)
    audited = audit([first, *others], dtype="float32")
    assert (1, 1) == (audited.near_ties, audited.far_disagreements)
    assert [0, 1, 0, 0] == [arm.far_disagreements for arm in audited.arms]
    assert [0, 0, 0, 1] == [arm.near_ties for arm in audited.arms]


def test_sampled_tokens_are_spread_over_the_workload() -> None:
    """All tokens of a small workload are sampled, 64 of a large one, every request seen."""
    small = [Request(index=index, prompt_tokens=1, output_tokens=3) for index in range(4)]
    large = [Request(index=index, prompt_tokens=1, output_tokens=50) for index in range(32)]
    assert [(index, nth) for index in range(4) for nth in range(3)] == list(sampled_tokens(small))
    sampled = sampled_tokens(large)
    assert (SAMPLED_TOKENS, set(range(32))) == (len(set(sampled)), {one for one, _ in sampled})
