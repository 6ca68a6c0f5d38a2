"""The whole engine on the Triton kernels: transformers' logits under every schedule."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from lpbench.bench.loop import Limits
from lpbench.executors.torch_engine.kernels.launch import TritonKernels
from lpbench.executors.torch_engine.kernels.tile_table import TileTable
from lpbench.plan.request import Request
from lpbench.shape.model import ModelShape
from tests.arms import build_bench, build_fused_bench, single_thread
from tests.checkpoints import save_gpt_oss, save_gpt_oss_mxfp4, save_qwen3_moe
from tests.graphs import RecordedWork
from tests.oracle import Oracle, greedy, oracle_logits, worst_differences

BOUND = 1e-4
"""Of float32 logits, which are of order 1."""

SCHEDULES = (
    "chunked:max_num_batched_tokens=20",
    "layered:num_groups=2",
    "hybrid:chunk=20,num_groups=2",
)

# (context, prompt, output, arrival): several prompts in one pass, decodes beside them.
LENGTHS = ((0, 14, 5, 1), (9, 3, 2, 3), (0, 31, 2, 3), (0, 9, 4, 1))
REQUESTS = tuple(
    Request(
        index=index, context_tokens=context, prompt_tokens=prompt, output_tokens=out, arrival=at
    )
    for index, (context, prompt, out, at) in enumerate(LENGTHS)
)
TIGHT_POOL = 5
"""KV pages: the four need 6."""

FAMILIES: dict[str, Callable[[Path, int], PreTrainedModel]] = {
    "qwen3_moe": lambda folder, layers: save_qwen3_moe(
        folder, layers=layers, hidden=48, heads=6, kv_heads=1, head_dim=16, expert_size=40, seed=1
    ),
    "gpt_oss": lambda folder, layers: save_gpt_oss(
        folder, layers=layers, hidden=48, head_dim=16, expert_size=40, window=12, seed=4
    ),
}


def kernels(shape: ModelShape) -> TritonKernels:
    """Return what computes."""
    return TritonKernels(shape, tiles=TileTable.of(shape, dtype=torch.float32))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


@pytest.mark.parametrize(("family", "schedule"), [*product(FAMILIES, SCHEDULES)])
def test_logits_equal_transformers_under_preemption(
    tmp_path: Path,
    family: str,
    schedule: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Every generated token has transformers' float32 logits and is its greedy choice."""
    oracle = Oracle(FAMILIES[family](tmp_path, 4))
    bench = build_fused_bench(
        tmp_path, REQUESTS, kernels=kernels, graphs=None, num_kv_pages=TIGHT_POOL
    )
    served = bench.serve(schedule, num_kv_pages=TIGHT_POOL)
    assert served.preempted
    assert any(len(step.plan.prefill) > 1 for step in served.steps)
    expected = oracle_logits(oracle, bench.ids, served.witnessed.tokens)
    worst = max(worst_differences(expected, served.witnessed.evidence.logits))
    record_property("worst", worst)
    assert greedy(expected) == served.witnessed.tokens
    assert worst <= BOUND


def test_packed_experts_give_transformers_logits(tmp_path: Path) -> None:
    """A released checkpoint, its experts unpacked by the kernels alone."""
    oracle = Oracle(
        save_gpt_oss_mxfp4(
            tmp_path, layers=2, heads=2, kv_heads=1, head_dim=16, expert_size=32, window=12, seed=4
        )
    )
    bench = build_fused_bench(
        tmp_path,
        REQUESTS,
        kernels=lambda shape: TritonKernels(
            shape, tiles=TileTable.of(shape, dtype=torch.float32, mxfp4=True)
        ),
        graphs=None,
        packed=True,
    )
    served = bench.serve("layered:num_groups=2")
    expected = oracle_logits(oracle, bench.ids, served.witnessed.tokens)
    assert greedy(expected) == served.witnessed.tokens
    assert max(worst_differences(expected, served.witnessed.evidence.logits)) <= BOUND


# Rows of padding compute on whatever lies there; nothing reads them.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_replayed_pieces_do_what_torchs_operators_do(tmp_path: Path) -> None:
    """In shared rooms, padding and all, tokens and touched experts are the other engine's."""
    FAMILIES["gpt_oss"](tmp_path, 2)
    limits = Limits(num_kv_pages=TIGHT_POOL, max_num_seqs=256)
    fused = build_fused_bench(
        tmp_path,
        REQUESTS,
        kernels=kernels,
        graphs=RecordedWork(),
        num_kv_pages=TIGHT_POOL,
        most_rows=64,
    )
    arms = [
        one.run("layered:num_groups=2", limits=limits)
        for one in (build_bench(tmp_path, REQUESTS), fused)
    ]
    for theirs, ours in zip(*arms, strict=True):
        assert theirs.execution.tokens == ours.execution.tokens
        assert np.array_equal(theirs.execution.drawn.touched, ours.execution.drawn.touched)
