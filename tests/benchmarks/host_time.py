"""What the host does for a pass of the fused engine, with nothing behind it that computes.

    python -m tests.benchmarks.host_time [--model NAME] [--decodes N] [--prompt N]

Kernels do nothing, a captured piece is replayed for free, and rows are so narrow that what copies
them takes no time; layers, experts, requests and pages are the model's. What is left runs on any
machine: planning, queues, rows' arrays, torch's dispatch of the few operators beside the kernels,
tokens and counts. "Until the first replay" is what the device waits for: the rest of the host's
work lies beside the device's. Not in it: a graph's launch (2 to 10 us each), and Triton's launches
where nothing is captured.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace

import torch

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine.build import fused_executor
from lpbench.executors.torch_engine.choice import Kernels
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.executors.torch_engine.fused_layers import Capacity
from lpbench.executors.torch_engine.graphs import Work
from lpbench.executors.torch_engine.weights import (
    LayerWeights,
    ModelWeights,
    layer_dims,
    model_dims,
)
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from tests.no_kernels import NoKernels

CONTEXT, OUTPUT, PROMPTS = 2047, 400, 6
SCHEDULES = ("chunked:max_num_batched_tokens={}", "layered:num_groups=16")
KERNELS = Kernels(
    layers="triton", experts="none", attention="none", tf32=False, cudnn_attention=False
)


class NoGraphs:
    """A capture that keeps nothing.

    Attributes:
        first_ns: when the first piece of a pass was replayed; None where none was.
    """

    first_ns: int | None = None

    def begin(self) -> None:
        """Begin a pass."""
        self.first_ns = None

    def capture(self, work: Work) -> Work:
        """Do the work once."""
        work()

        def replay() -> None:
            if self.first_ns is None:
                self.first_ns = time.perf_counter_ns()

        return replay


def build(
    shape: ModelShape, requests: list[Request], graphs: NoGraphs, *, most_rows: int
) -> TorchExecutor:
    """Return the engine, nothing behind it."""

    def fields(dims: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
        return {name: torch.zeros(size, dtype=torch.bfloat16) for name, size in dims.items()}

    layers = tuple(LayerWeights(**fields(layer_dims(shape))) for _ in range(shape.num_layers))
    return fused_executor(
        shape,
        ModelWeights(layers=layers, **fields(model_dims(shape))),
        kernels=KERNELS,
        fused=NoKernels(shape),
        graphs=graphs,
        requests=requests,
        ids={one.index: [1] * (one.context_tokens + one.prompt_tokens) for one in requests},
        capacity=Capacity(num_kv_pages=200_000, max_num_seqs=512, most_rows=most_rows),
    )


def measure(
    executor: TorchExecutor, graphs: NoGraphs, requests: list[Request], schedule: str, layers: int
) -> None:
    """Print the host's time of the passes with prompt rows, and its part without the device."""
    executor.start_arm(None)
    limits = Limits(num_kv_pages=200_000, max_num_seqs=512)
    took, idle = [], []
    ended = time.perf_counter_ns()
    graphs.begin()
    for step in run_arm(
        parse_schedule(schedule), requests, executor, num_layers=layers, limits=limits
    ):
        began, ended = ended, time.perf_counter_ns()
        if step.plan.prefill and len(step.plan.decodes) >= len(requests) - PROMPTS:
            took.append((ended - began) / 1e6)
            if graphs.first_ns is not None:
                idle.append((graphs.first_ns - began) / 1e6)
        graphs.begin()
    ordered = sorted(took)
    print(  # noqa: T201 - what this program is for
        f"{schedule:36} passes {len(took):4}  median {statistics.median(took):.3f} ms  "
        f"p99 {ordered[int(0.99 * len(ordered))]:.3f} ms  "
        f"until the first replay {statistics.median(idle):.3f} ms ({len(idle)} passes)"
    )


def main() -> None:
    """Measure both schedules in one process, three times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen3-30b-a3b")
    parser.add_argument("--decodes", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=8192)
    chosen = parser.parse_args()
    shape, _ = find_shape(chosen.model)
    shape = replace(shape, hidden_size=8, head_dim=2, expert_size=8, vocab_size=64)
    requests = [
        Request(index=at, context_tokens=CONTEXT, prompt_tokens=1, output_tokens=OUTPUT)
        for at in range(chosen.decodes)
    ]
    requests += [
        Request(
            index=chosen.decodes + at, prompt_tokens=chosen.prompt, output_tokens=1, arrival=5 + at
        )
        for at in range(PROMPTS)
    ]
    graphs = NoGraphs()
    executor = build(shape, requests, graphs, most_rows=chosen.prompt + chosen.decodes)
    for _ in range(3):
        for schedule in SCHEDULES:
            measure(
                executor, graphs, requests, schedule.format(chosen.decodes + 512), shape.num_layers
            )


if __name__ == "__main__":
    main()
