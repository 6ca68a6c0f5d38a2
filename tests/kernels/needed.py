"""Which kernels an engine needs compiled, before its passes and in them, without a GPU.

    TRITON_INTERPRET=0 python -m tests.kernels.needed

Triton's hook is told of every launch that it has no kernel for, and lets none be compiled or
launched: nothing is computed, and what is read back is whatever lies there. Types, constants and
alignments are those of a GPU's launches, on tensors of the CPU. In a process of its own: in that of
the other tests, kernels are the interpreter's.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine.build import fused_executor
from lpbench.executors.torch_engine.choice import pick_kernels
from lpbench.executors.torch_engine.fused_layers import Capacity
from lpbench.executors.torch_engine.kernels.launch import TritonKernels
from lpbench.executors.torch_engine.kernels.tile_table import TileTable
from lpbench.executors.torch_engine.weights import dummy_weights
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from tests.graphs import RecordedWork

MODELS = {"qwen3-30b-a3b": False, "gpt-oss-20b": True}
"""Models, and whether their experts are packed."""

LAYERS = 2
CPU, DTYPE = torch.device("cpu"), torch.bfloat16
MOST_ROWS, NUM_PAGES = 2048, 1000

SCHEDULES = ("chunked:max_num_batched_tokens=300", "whole")

# (context, prompt, output, arrival): decodes alone and beside prompts of all lengths.
LENGTHS = (
    (0, 300, 3, 0),
    (100, 40, 3, 0),
    (0, 1500, 2, 2),
    (600, 17, 2, 1),
    (0, 1, 6, 0),
    *((0, 33, 3, 1),) * 9,
)
REQUESTS = tuple(
    Request(
        index=index, context_tokens=context, prompt_tokens=prompt, output_tokens=out, arrival=at
    )
    for index, (context, prompt, out, at) in enumerate(LENGTHS)
)


class Hopper:
    """What Triton asks its driver before it compiles."""

    def get_current_device(self) -> int:
        """Return the only one."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Return the default one."""
        del device
        return 0

    def get_current_target(self) -> GPUTarget:
        """Return an H100's."""
        return GPUTarget("cuda", 90, 32)


def narrow(name: str) -> ModelShape:
    """Return a catalogue model with its experts and windows, and few narrow layers."""
    shape, _ = find_shape(name)
    return replace(
        shape,
        num_layers=LAYERS,
        windows=shape.windows[:LAYERS],
        hidden_size=64,
        expert_size=32,
        num_heads=8,
        num_kv_heads=1,
        head_dim=16,
        vocab_size=64,
    )


def needed(name: str, *, packed: bool) -> tuple[list[str], list[str], int]:
    """Return the kernels that are needed to build an engine, those that passes add, the most rows.

    A kernel is named once for every combination that it is compiled for.
    """
    shape, found = narrow(name), dict[tuple[str, str], None]()

    def note(*, fn: Any, key: str, **_: object) -> bool:  # noqa: ANN401 - Triton's
        found[fn.name, key] = None
        return True

    knobs.runtime.jit_cache_hook = note
    executor = fused_executor(
        shape,
        dummy_weights(shape, dtype=DTYPE, device=CPU, seed=0, packed=packed),
        kernels=pick_kernels(shape, device=CPU, dtype=DTYPE),
        fused=TritonKernels(shape, tiles=TileTable.of(shape, dtype=DTYPE, mxfp4=packed)),
        graphs=RecordedWork(),
        requests=REQUESTS,
        ids={one.index: [1] * (one.context_tokens + one.prompt_tokens) for one in REQUESTS},
        capacity=Capacity(num_kv_pages=NUM_PAGES, max_num_seqs=64, most_rows=MOST_ROWS),
    )
    built, rows = [*found], 0
    for schedule in SCHEDULES:
        executor.start_arm(None)
        for step in run_arm(
            parse_schedule(schedule),
            REQUESTS,
            executor,
            num_layers=LAYERS,
            limits=Limits(num_kv_pages=NUM_PAGES, max_num_seqs=64),
        ):
            rows = max(rows, step.plan.num_prefill_tokens + len(step.plan.decodes))
    return [kernel for kernel, _ in built], [kernel for kernel, _ in [*found][len(built) :]], rows


def main() -> None:
    """Print what was found for every model as JSON."""
    driver.set_active(Hopper())
    told = {name: needed(name, packed=packed) for name, packed in MODELS.items()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
