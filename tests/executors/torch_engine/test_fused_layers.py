"""The engine of fused kernels, in their reference form: transformers' logits, rooms, pages, bits.

What the Triton kernels add to this is in tests/kernels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedModel

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine.graphs import Graphs
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.rooms import Room
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.workload.routing import RoutingDraws
from tests.arms import MANY_PAGES, MANY_ROWS, Bench, build_bench, build_fused_bench, single_thread
from tests.checkpoints import save_gpt_oss, save_qwen3_moe
from tests.graphs import RecordedWork
from tests.oracle import Oracle, greedy, oracle_logits, worst_differences

BOUND = 1e-4
"""Of float32 logits, which are of order 1."""

LAYERS, EXPERTS, TOP_K = 5, 8, 2

SCHEDULES = (
    "whole",
    "chunked:max_num_batched_tokens=37",
    "layered:tokens_per_group=16",
    "hybrid:chunk=50,num_groups=3",
)

# (context, prompt, output, arrival): several in flight, with and without a context.
LENGTHS = (
    (0, 15, 28, 4),
    (33, 2, 11, 4),
    (0, 1, 7, 2),
    (0, 110, 15, 4),
    (40, 17, 6, 2),
    (0, 49, 9, 4),
)
REQUESTS = tuple(
    Request(
        index=index, context_tokens=context, prompt_tokens=prompt, output_tokens=out, arrival=at
    )
    for index, (context, prompt, out, at) in enumerate(LENGTHS)
)
TIGHT_POOL = 9
"""KV pages: the longest request needs 8, all of them 23."""

TIGHT = Limits(num_kv_pages=TIGHT_POOL, max_num_seqs=256)

FAMILIES: dict[str, Callable[[Path], PreTrainedModel]] = {
    "qwen3_moe": lambda folder: save_qwen3_moe(folder, layers=LAYERS, seed=1),
    "gpt_oss": lambda folder: save_gpt_oss(folder, layers=LAYERS, window=24, seed=4),
}


@dataclass(frozen=True, slots=True, repr=False)
class Checkpoint:
    """A folder and its oracle."""

    folder: Path
    oracle: Oracle


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """Return what gives a family's checkpoint, made once."""

    @cache
    def make(family: str) -> Checkpoint:
        folder = tmp_path_factory.mktemp("checkpoint")
        return Checkpoint(folder, Oracle(FAMILIES[family](folder)))

    return make


def build(
    folder: Path,
    *,
    graphs: Graphs | None = None,
    num_kv_pages: int = MANY_PAGES,
    most_rows: int = MANY_ROWS,
    draws: RoutingDraws | None = None,
) -> Bench:
    """Return an engine of reference kernels for the workload."""
    return build_fused_bench(
        folder,
        REQUESTS,
        kernels=ReferenceKernels,
        graphs=graphs,
        num_kv_pages=num_kv_pages,
        most_rows=most_rows,
        draws=draws,
    )


@pytest.mark.parametrize(("family", "schedule"), [*product(FAMILIES, SCHEDULES)])
def test_logits_equal_transformers_under_preemption(
    checkpoints: Callable[[str], Checkpoint], family: str, schedule: str
) -> None:
    """Every generated token has transformers' float32 logits, in rooms of a segment's own."""
    found = checkpoints(family)
    bench = build(found.folder, num_kv_pages=TIGHT_POOL)
    served = bench.serve(schedule, num_kv_pages=TIGHT_POOL)
    assert served.preempted
    assert served.most_in_flight >= 4
    expected = oracle_logits(found.oracle, bench.ids, served.witnessed.tokens)
    assert greedy(expected) == served.witnessed.tokens
    assert max(worst_differences(expected, served.witnessed.evidence.logits)) <= BOUND


@pytest.mark.parametrize(
    ("family", "schedule"),
    [
        ("qwen3_moe", SCHEDULES[1]),
        ("qwen3_moe", SCHEDULES[2]),
        ("gpt_oss", SCHEDULES[0]),
        ("gpt_oss", SCHEDULES[3]),
    ],
)
def test_replayed_pieces_generate_the_same_tokens_and_count_the_same_experts(
    checkpoints: Callable[[str], Checkpoint], family: str, schedule: str
) -> None:
    """In shared rooms, padding and all, each pass does what torch's operators do."""
    folder, graphs = checkpoints(family).folder, RecordedWork()
    bench = build(folder, graphs=graphs, num_kv_pages=TIGHT_POOL)
    captured = graphs.captured
    arms = [one.run(schedule, limits=TIGHT) for one in (build_bench(folder, REQUESTS), bench)]
    assert captured == graphs.captured
    assert graphs.replayed
    assert bench.executor.captured is not None
    assert (captured, None) == (
        bench.executor.captured.pieces,
        bench.executor.captured.device_bytes,
    )
    for theirs, ours in zip(*arms, strict=True):
        assert theirs.plan == ours.plan
        assert theirs.execution.tokens == ours.execution.tokens
        assert np.array_equal(theirs.execution.drawn.touched, ours.execution.drawn.touched)


def test_layers_of_many_rows_are_replayed_one_by_one(
    checkpoints: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And do what their pieces of several would."""
    monkeypatch.setattr(Room, "longest_piece", 1)
    folder, graphs = checkpoints("qwen3_moe").folder, RecordedWork()
    benches = (build_bench(folder, REQUESTS), build(folder, graphs=graphs))
    arms = [one.run("layered:num_groups=2") for one in benches]
    assert sum(LAYERS * bool(one.plan.decodes) for one in arms[1]) <= graphs.replayed
    for theirs, ours in zip(*arms, strict=True):
        assert theirs.execution.tokens == ours.execution.tokens


def test_a_pass_larger_than_all_rooms_is_launched(checkpoints: Callable[[str], Checkpoint]) -> None:
    """A preempted prompt may bring more rows than a pass was said to have."""
    folder = checkpoints("qwen3_moe").folder
    benches = (build_bench(folder, REQUESTS), build(folder, graphs=RecordedWork(), most_rows=32))
    arms = [one.run("whole") for one in benches]
    assert any(step.plan.num_prefill_tokens > 64 for step in arms[0])
    for theirs, ours in zip(*arms, strict=True):
        assert theirs.execution.tokens == ours.execution.tokens


@pytest.mark.parametrize("draws", [None, RoutingDraws("uniform", 3, LAYERS, EXPERTS, TOP_K)])
def test_pinned_rows_touch_the_same_few_experts(
    checkpoints: Callable[[str], Checkpoint], draws: RoutingDraws | None
) -> None:
    """Whatever was captured before; afterwards rows go where they went."""
    graphs = RecordedWork()
    bench = build(checkpoints("qwen3_moe").folder, graphs=graphs, most_rows=64, draws=draws)
    captured = graphs.captured
    free = bench.run("layered:num_groups=2")
    bench.executor.start_arm(None, pinned=True)
    pinned = run_arm(
        parse_schedule("layered:num_groups=2"),
        REQUESTS,
        bench.executor,
        num_layers=LAYERS,
        limits=TIGHT,
    )
    assert not any(step.execution.drawn.touched[..., TOP_K:].any() for step in pinned)
    again = bench.run("layered:num_groups=2")
    for one, other in zip(free, again, strict=True):
        assert np.array_equal(one.execution.drawn.touched, other.execution.drawn.touched)
    assert captured == graphs.captured
