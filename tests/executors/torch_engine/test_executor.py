"""What an arm starts from: contexts that were computed once, and rows that are pinned."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine.forward import Forward
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from tests.arms import Bench, Served, build_bench, single_thread
from tests.checkpoints import save_qwen3_moe

LAYERS, EXPERTS, TOP_K = 4, 16, 3
REQUESTS = (
    Request(index=0, prompt_tokens=40, output_tokens=30, context_tokens=30),
    Request(index=1, prompt_tokens=20, output_tokens=30, context_tokens=9, arrival=1),
    Request(index=2, prompt_tokens=10, output_tokens=3),
)
SCHEDULE = "chunked:max_num_batched_tokens=32"
SCARCE = 10
"""KV pages: the first two requests together need eleven in the end."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return an engine that has run nothing."""
    save_qwen3_moe(tmp_path, layers=LAYERS, experts=EXPERTS, top_k=TOP_K, seed=1)
    return build_bench(tmp_path, REQUESTS)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every pass of the model."""
    seen: list[int] = []
    run = Forward.run

    def counted(self: Forward, *given: object, **named: object) -> object:
        seen.append(1)
        return run(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Forward, "run", counted)
    return seen


def same(one: Served, other: Served) -> bool:
    """Return whether two arms computed the very same logits."""
    mine, others = one.witnessed.evidence.logits, other.witnessed.evidence.logits
    return mine.keys() == others.keys() and all(
        np.array_equal(logits, others[key]) for key, logits in mine.items()
    )


def test_a_context_is_computed_once(bench: Bench, passes: list[int]) -> None:
    """The first arm takes a pass for each of two contexts; later ones none, bit by bit the same."""
    first = bench.serve(SCHEDULE)
    assert len(first.steps) + 2 == len(passes)
    second = bench.serve(SCHEDULE)
    assert len(first.steps) + 2 + len(second.steps) == len(passes)
    assert same(first, second)


def test_a_context_that_was_lost_is_computed_again(bench: Bench, passes: list[int]) -> None:
    """A preempted request took its context with it; the next arm starts from a whole one."""
    ample = bench.serve(SCHEDULE)
    lost = bench.serve(SCHEDULE, num_kv_pages=SCARCE)
    assert lost.preempted
    before = len(passes)
    again = bench.serve(SCHEDULE)
    assert before + len(again.steps) + len(lost.preempted) == len(passes)
    assert same(ample, again)


def test_pinned_rows_touch_the_same_few_experts(bench: Bench) -> None:
    """Every row of every layer goes to experts 0..k, prompts and decodes alike; then no more."""
    bench.executor.start_arm(None, pinned=True)
    for step in run_arm(
        parse_schedule("layered:num_groups=2"),
        REQUESTS,
        bench.executor,
        num_layers=LAYERS,
        limits=Limits(num_kv_pages=1000, max_num_seqs=8),
    ):
        touched = np.logical_or.reduce(step.execution.drawn.touched, axis=1)
        busy = [layer.tolist() for layer in touched if layer.any()]
        assert [[True] * TOP_K + [False] * (EXPERTS - TOP_K)] * len(busy) == busy
        assert busy
    free = bench.serve("layered:num_groups=2")
    assert any(step.execution.drawn.touched[..., TOP_K:].any() for step in free.steps)
