"""Captured pieces: replay is launching, under preemption, beside another engine, with no surprise.

The workload, families and schedules are those of the other tests of the engine.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch

from lpbench.bench.loop import Limits, Step, run_arm
from lpbench.executors.torch_engine.build import build_executor, fused_executor
from lpbench.executors.torch_engine.choice import pick_kernels
from lpbench.executors.torch_engine.device import BESIDE_BYTES, give_back
from lpbench.executors.torch_engine.forward import Forward
from lpbench.executors.torch_engine.fused_layers import Capacity
from lpbench.executors.torch_engine.rooms import MOST_ROWS
from lpbench.executors.torch_engine.touched import Witness
from lpbench.executors.torch_engine.weights import dummy_weights
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.catalogue import find_shape
from lpbench.shape.precision import PRECISIONS
from tests.arms import AMPLE, AMPLE_ROWS, GPU_ROWS, Bench, build_bench
from tests.checkpoints import save_gpt_oss, save_qwen3_moe
from tests.gpu import machine
from tests.gpu.checkpoints import CROWDED, REQUESTS, SCHEDULES, TIGHT_POOL, Checkpoint, requests_of
from tests.graphs import RecordedWork

pytestmark = pytest.mark.gpu

TIGHT = Limits(num_kv_pages=TIGHT_POOL, max_num_seqs=256)

SAVED = {"qwen3_moe": save_qwen3_moe, "gpt_oss": save_gpt_oss}

LARGE_ROWS = 2048
"""More than pieces of several layers are captured for."""

NARROW_LAYERS, NARROW_REQUESTS, NARROW_ROWS = 48, 256, MOST_ROWS
"""As many layers as Qwen3-30B-A3B has; requests for every room of decodes, rows for all others."""

Logits = list[torch.Tensor]
"""Of the tokens of each pass, in order, contexts' passes among them."""


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> Logits:
    """Return where copies of the logits of every pass are put from here on."""
    run, found = Forward.run, Logits()

    def kept(
        self: Forward, plan: IterationPlan, witness: Witness | None
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        due, logits = run(self, plan, witness)
        found.append(logits.clone())
        return due, logits

    monkeypatch.setattr(Forward, "run", kept)
    return found


def arm(bench: Bench, schedule: str) -> Iterator[Step]:
    """Begin an arm and yield its passes."""
    bench.executor.start_arm(None)
    return run_arm(
        parse_schedule(schedule),
        bench.requests,
        bench.executor,
        num_layers=bench.shape.num_layers,
        limits=AMPLE,
    )


def tokens_of(steps: Sequence[Step]) -> dict[int, list[int]]:
    """Return each request's tokens."""
    found: dict[int, list[int]] = {request.index: [] for request in CROWDED}
    for step in steps:
        for request, token in step.execution.tokens.items():
            found[request].append(token)
    return found


def assert_same(expected: Sequence[Step], steps: Sequence[Step]) -> None:
    """Hold passes to others: plans, tokens, bitmaps."""
    assert len(expected) == len(steps)
    for one, other in zip(expected, steps, strict=True):
        assert one.plan == other.plan
        assert one.execution.tokens == other.execution.tokens
        assert one.execution.drawn.prompts == other.execution.drawn.prompts
        assert np.array_equal(one.execution.drawn.touched, other.execution.drawn.touched)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Engines:
    """Of one checkpoint in float32, for the crowded requests."""

    torch: Bench
    launched: Bench
    ample: Bench
    tight: Bench
    graphs: machine.CountedGraphs
    """The tight one's."""


@pytest.fixture(scope="module")
def engines(checkpoint: Checkpoint) -> Engines:
    """Return the engine of torch's layers, and ours: not captured, captured, with few pages."""
    folder, counted = checkpoint.folder, machine.CountedGraphs(machine.graphs())
    theirs = build_bench(folder, CROWDED, device=str(machine.DEVICE))
    return Engines(
        torch=theirs,
        launched=launched_engine(theirs, folder),
        ample=machine.build_engine(folder, CROWDED, graphs=machine.graphs()),
        tight=machine.build_engine(folder, CROWDED, graphs=counted, num_kv_pages=TIGHT_POOL),
        graphs=counted,
    )


def launched_engine(like: Bench, folder: Path) -> Bench:
    """Return the engine that a run without captured pieces has."""
    executor = build_executor(
        like.shape,
        folder=folder,
        precision=PRECISIONS["float32"],
        device=machine.DEVICE,
        seed=0,
        requests=like.requests,
        ids=like.ids,
        draws=None,
        layers="triton",
        capacity=AMPLE_ROWS,
        captured=False,
    )
    return replace(like, executor=executor)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_preempted_requests_generate_the_same_tokens(engines: Engines, schedule: str) -> None:
    """Replayed with few pages, in float32: the tokens of ample ones, of launches, of torch."""
    replayed = engines.graphs.replayed
    steps = engines.tight.run(schedule, limits=TIGHT)
    assert any(step.preempted for step in steps)
    assert engines.graphs.replayed > replayed
    expected = tokens_of(engines.torch.run(schedule))
    assert expected == tokens_of(engines.launched.run(schedule))
    assert expected == tokens_of(engines.ample.run(schedule))
    assert expected == tokens_of(steps)


Pair = tuple[Bench, Bench]


def build_pair(
    folder: Path,
    requests: Sequence[Request],
    dtype: torch.dtype,
    *,
    most_rows: int = GPU_ROWS,
) -> Pair:
    """Return an engine that launches the pieces in the rooms that it captured, and one that does.

    In rooms of a segment's own the vendor's matmul may take another kernel.
    """
    launched, replayed = (
        machine.build_engine(folder, requests, graphs=graphs, dtype=dtype, most_rows=most_rows)
        for graphs in (RecordedWork(), machine.graphs())
    )
    return launched, replayed


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def pair(checkpoint: Checkpoint, request: pytest.FixtureRequest) -> Pair:
    """Return both for the usual workload, in each dtype in turn."""
    return build_pair(checkpoint.folder, REQUESTS, request.param)


def run_both(pair: Pair, schedule: str, sampled: Logits) -> tuple[Step, ...]:
    """Return the passes of an arm that both engines ran, to the same bits."""
    arms, logits = [], []
    for bench in pair:
        sampled.clear()
        arms.append(bench.run(schedule))
        logits.append([*sampled])
    assert_same(*arms)
    assert_equal(*logits)
    return arms[0]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_replay_is_its_launches_bit_by_bit(pair: Pair, schedule: str, sampled: Logits) -> None:
    """The same rooms launched and replayed: equal logits, tokens, experts, in both dtypes."""
    run_both(pair, schedule, sampled)


def test_large_rooms_are_replayed_bit_by_bit(checkpoint: Checkpoint, sampled: Logits) -> None:
    """So are whole prompts together, in pieces of a single layer."""
    requests = requests_of(((0, 30, 9, 0), *((0, 400, 3, 2),) * 4))
    pair = build_pair(checkpoint.folder, requests, torch.bfloat16, most_rows=LARGE_ROWS)
    for schedule in ("whole", "layered:num_groups=2"):
        steps = run_both(pair, schedule, sampled)
        assert max(step.plan.num_prefill_tokens for step in steps) > GPU_ROWS


def assert_equal(expected: Logits, found: Logits) -> None:
    """Hold logits to others, every bit."""
    assert [one.shape for one in expected] == [one.shape for one in found]
    unequal = [
        at
        for at, (one, other) in enumerate(zip(expected, found, strict=True))
        if not torch.equal(one, other)
    ]
    assert [] == unequal  # the passes


Passes = list[tuple[Step, torch.Tensor]]


def listened(steps: Iterator[Step], sampled: Logits) -> Iterator[tuple[Step, torch.Tensor]]:
    """Yield passes with their logits, and give back what memory the allocator has left over."""
    for step in steps:
        yield step, sampled.pop()
        give_back(machine.DEVICE)


def test_engines_in_turn_do_not_disturb_each_other(checkpoint: Checkpoint, sampled: Logits) -> None:
    """Two alive at once, pass by pass: each computes what it did alone, bit by bit."""
    schedules = (SCHEDULES[2], SCHEDULES[1])
    benches: list[Bench] = []
    alone: list[Passes] = []
    for schedule in schedules:  # the second is captured while the first one's pieces are there
        bench = machine.build_engine(checkpoint.folder, graphs=machine.graphs())
        bench.run(schedule)  # contexts are computed once
        benches.append(bench)
        alone.append([*listened(arm(bench, schedule), sampled)])
    arms = [
        listened(arm(bench, schedule), sampled)
        for bench, schedule in zip(benches, schedules, strict=True)
    ]
    together: list[Passes] = [[], []]
    for turns in zip_longest(*arms):
        for at, turn in enumerate(turns):
            together[at] += [turn] if turn else []
    for expected, found in zip(alone, together, strict=True):
        assert_same([step for step, _ in expected], [step for step, _ in found])
        assert_equal([logits for _, logits in expected], [logits for _, logits in found])


@pytest.mark.parametrize("family", SAVED)
def test_passes_capture_and_compile_nothing(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All there is to do is done when the engine is built, of sizes that no other test has."""
    SAVED[family](
        tmp_path, hidden=80, heads=6, kv_heads=3, head_dim=16, experts=24, top_k=3, expert_size=48
    )
    compiled = machine.watch_compilations(monkeypatch)
    counted = machine.CountedGraphs(machine.graphs())
    bench = machine.build_engine(tmp_path, graphs=counted, dtype=torch.bfloat16)
    captured, known = counted.captured, len(compiled)
    assert captured
    assert known
    for schedule in SCHEDULES:
        bench.run(schedule)
    assert counted.replayed
    assert captured == counted.captured
    assert [] == compiled[known:]


def test_capturing_takes_less_than_the_reserve(
    record_property: Callable[[str, object], None],
) -> None:
    """48 narrow layers in all rooms: kernels, graphs and their pool fit beside what is planned."""
    shape, _ = find_shape("qwen3-30b-a3b")
    shape = replace(
        shape,
        num_layers=NARROW_LAYERS,
        windows=(0,) * NARROW_LAYERS,
        hidden_size=128,
        num_heads=8,
        num_kv_heads=2,
        head_dim=32,
        num_experts=16,
        top_k=4,
        expert_size=64,
        vocab_size=128,
    )
    requests = [
        Request(index=index, prompt_tokens=16, output_tokens=16) for index in range(NARROW_REQUESTS)
    ]
    executor = fused_executor(
        shape,
        dummy_weights(shape, dtype=torch.bfloat16, device=machine.DEVICE, seed=0),
        kernels=pick_kernels(shape, device=machine.DEVICE, dtype=torch.bfloat16),
        fused=machine.fused_kernels(shape, dtype=torch.bfloat16),
        graphs=machine.graphs(),
        requests=requests,
        ids={one.index: [1] * one.prompt_tokens for one in requests},
        capacity=Capacity(
            num_kv_pages=2 * NARROW_REQUESTS, max_num_seqs=NARROW_REQUESTS, most_rows=NARROW_ROWS
        ),
    )
    found = executor.captured
    assert found is not None
    sys.stdout.write(f"\n{found}\n")
    record_property("captured", str(found))
    assert found.device_bytes is not None
    assert found.device_bytes < BESIDE_BYTES
