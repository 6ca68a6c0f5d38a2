"""What the host does for a pass of the fused engine, with nothing behind it that computes.

    python -m tests.benchmarks.host_time [--model NAME] [--decodes N] [--prompt N]

Kernels do nothing, a captured piece is replayed for free, and rows are so narrow that what copies
them takes no time; layers, experts, requests and pages are the model's. What is left runs on any
machine: planning, queues, rows' arrays, torch's dispatch of the few operators beside the kernels,
tokens, counts and the arm's log. "The device waits", from where a pass's tokens are read back to
the first replay of the next one, is what no device can hide: the rest lies beside its work. Not in
it: a graph's launch (2 to 10 us each), and the copies of the tokens.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from pydantic_core import to_json

from lpbench.bench.arm import ArmLog
from lpbench.bench.experiment import ArmSpec
from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine import executor as executor_module
from lpbench.executors.torch_engine.build import fused_executor
from lpbench.executors.torch_engine.choice import Kernels
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.executors.torch_engine.fused_layers import Capacity
from lpbench.executors.torch_engine.graphs import Work
from lpbench.executors.torch_engine.transfer import to_host
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
from lpbench.shape.precision import PRECISIONS
from tests.no_kernels import NoKernels

CONTEXT, OUTPUT, PROMPTS = 2047, 400, 20
SCHEDULES = ("chunked:max_num_batched_tokens={}", "layered:num_groups=16")
KERNELS = Kernels(
    layers="triton", experts="none", attention="none", tf32=False, cudnn_attention=False
)


class NoGraphs:
    """A capture that keeps nothing, and a device that is done once it is asked.

    Attributes:
        captured: pieces.
        first_ns: when the first piece of a pass was replayed; None where none was.
        read_ns: when the tokens of a pass were asked for.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.captured = 0
        self.first_ns: int | None = None
        self.read_ns = 0

    def begin(self) -> int:
        """Begin a pass, and return when the tokens of the one before were asked for."""
        self.first_ns = None
        return self.read_ns

    def capture(self, work: Work) -> Work:
        """Do the work once."""
        work()
        self.captured += 1

        def replay() -> None:
            if self.first_ns is None:
                self.first_ns = time.perf_counter_ns()

        return replay

    def read(self, *tensors: torch.Tensor) -> tuple[np.ndarray, ...]:
        """Read tensors back."""
        self.read_ns = time.perf_counter_ns()
        return to_host(*tensors)


def build(
    shape: ModelShape, requests: list[Request], graphs: NoGraphs, *, most_rows: int
) -> TorchExecutor:
    """Return the engine, nothing behind it."""

    def fields(dims: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
        return {name: torch.zeros(size, dtype=torch.bfloat16) for name, size in dims.items()}

    layers = tuple(LayerWeights(**fields(layer_dims(shape))) for _ in range(shape.num_layers))
    executor = fused_executor(
        shape,
        ModelWeights(layers=layers, **fields(model_dims(shape))),
        kernels=KERNELS,
        fused=NoKernels(shape),
        graphs=graphs,
        requests=requests,
        ids={one.index: [1] * (one.context_tokens + one.prompt_tokens) for one in requests},
        capacity=Capacity(num_kv_pages=200_000, max_num_seqs=512, most_rows=most_rows),
    )
    executor_module.to_host = graphs.read  # type: ignore[attr-defined]
    executor._device = torch.device("cuda")
    return executor


def measure(
    executor: TorchExecutor,
    graphs: NoGraphs,
    requests: list[Request],
    schedule: str,
    shape: ModelShape,
) -> None:
    """Print the host's time of the passes with prompt rows, and its part without the device."""
    arm = ArmSpec(typed=schedule, label=schedule, policy=parse_schedule(schedule))
    log = ArmLog(arm, requests, shape, precision=PRECISIONS["bfloat16"])
    lines: list[bytes] = []
    executor.start_arm(None)
    steps = run_arm(
        arm.policy,
        requests,
        executor,
        num_layers=shape.num_layers,
        limits=Limits(num_kv_pages=200_000, max_num_seqs=512),
        log=lambda step: lines.append(to_json(log.observe(step))),
    )
    took, waits = [], []
    ended, read = time.perf_counter_ns(), graphs.begin()
    for step in steps:
        began, ended = ended, time.perf_counter_ns()
        if step.plan.prefill and len(step.plan.decodes) >= len(requests) - PROMPTS:
            took.append((ended - began) / 1e6)
            assert graphs.first_ns is not None, "each of its segments has a room"
            waits.append((graphs.first_ns - read) / 1e6)
        read = graphs.begin()
    print(  # noqa: T201 - what this program is for
        f"{schedule:36} passes {len(took):4}  host {_spread(took)}  the device waits "
        f"{_spread(waits)}"
    )


def _spread(times: list[float]) -> str:
    """Return median and 99th percentile of milliseconds."""
    p99 = sorted(times)[int(0.99 * len(times))]
    return f"median {statistics.median(times):.3f} ms, p99 {p99:.3f} ms"


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
    print(f"{graphs.captured} pieces captured")  # noqa: T201 - as above
    for _ in range(3):
        for schedule in SCHEDULES:
            measure(executor, graphs, requests, schedule.format(chosen.decodes + 512), shape)


if __name__ == "__main__":
    main()
