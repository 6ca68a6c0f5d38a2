"""One arm after another through the engine's own parts, without files and without a command line.

Policy, queues, loop and executor are the product's; only the way in is shorter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lpbench.bench.audit import Witnessed
from lpbench.bench.loop import Limits, Step, run_arm
from lpbench.executors.torch_engine.build import build_executor, fused_executor
from lpbench.executors.torch_engine.checkpoint import load_weights
from lpbench.executors.torch_engine.choice import pick_kernels
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.executors.torch_engine.fused_layers import Capacity
from lpbench.executors.torch_engine.graphs import Graphs
from lpbench.executors.torch_engine.kernels.fused import FusedKernels
from lpbench.executors.torch_engine.probe import Probe
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.model import ModelShape, read_config
from lpbench.shape.precision import PRECISIONS, Precision
from lpbench.workload.routing import RoutingDraws
from lpbench.workload.tokens import draw_ids

CPU = torch.device("cpu")
MANY_PAGES = 10_000
MANY_ROWS = 256
GPU_ROWS = 1024
AMPLE_ROWS = Capacity(num_kv_pages=MANY_PAGES, max_num_seqs=256, most_rows=GPU_ROWS)
AMPLE = Limits(num_kv_pages=MANY_PAGES, max_num_seqs=256)


@contextmanager
def single_thread() -> Iterator[None]:
    """Compute on one thread for a while.

    Tensors this small gain nothing from a second one, and on a busy machine every parallel region
    waits for it: fifty times slower was seen.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Served:
    """One arm of an audit pass, with its iterations."""

    witnessed: Witnessed
    steps: tuple[Step, ...]

    @property
    def preempted(self) -> set[int]:
        """The requests that lost their pages at least once."""
        return {request for step in self.steps for request in step.preempted}

    @property
    def most_in_flight(self) -> int:
        """The most requests that had rows in one iteration."""
        return max(len(step.plan.decodes) + len(step.plan.prefill) for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Bench:
    """A checkpoint, a workload, and the executor of both."""

    shape: ModelShape
    requests: tuple[Request, ...]
    ids: Mapping[int, Sequence[int]]
    executor: TorchExecutor

    def serve(
        self,
        schedule: str,
        *,
        num_kv_pages: int = MANY_PAGES,
        max_num_seqs: int = 256,
        script: Mapping[int, Sequence[int]] | None = None,
    ) -> Served:
        """Run one arm with every generated token's logits and every row's routing witnessed."""
        probe = Probe(
            self.shape,
            positions={request.index: request.kv_tokens for request in self.requests},
            sampled=[
                (request.index, nth)
                for request in self.requests
                for nth in range(request.output_tokens)
            ],
        )
        limits = Limits(num_kv_pages=num_kv_pages, max_num_seqs=max_num_seqs)
        steps = self.run(schedule, limits=limits, script=script, probe=probe)
        tokens: dict[int, list[int]] = {request.index: [] for request in self.requests}
        for step in steps:
            for request, token in step.execution.tokens.items():
                tokens[request].append(token)
        return Served(
            witnessed=Witnessed(label=schedule, tokens=tokens, evidence=probe.evidence()),
            steps=steps,
        )

    def run(
        self,
        schedule: str,
        *,
        limits: Limits = AMPLE,
        script: Mapping[int, Sequence[int]] | None = None,
        probe: Probe | None = None,
    ) -> tuple[Step, ...]:
        """Run one arm; a probe, where there is one, makes it an audit pass."""
        self.executor.start_arm(script, probe)
        return tuple(
            run_arm(
                parse_schedule(schedule),
                self.requests,
                self.executor,
                num_layers=self.shape.num_layers,
                limits=limits,
            )
        )


def build_bench(
    folder: Path,
    requests: Sequence[Request],
    *,
    precision: Precision = PRECISIONS["float32"],
    device: str = "cpu",
    draws: RoutingDraws | None = None,
    layers: str = "torch",
    seed: int = 0,
) -> Bench:
    """Load a checkpoint folder for a workload of random token ids."""
    shape = ModelShape.from_config(read_config(folder), name="tiny")
    ids = random_ids(requests, shape, seed=seed)
    executor = build_executor(
        shape,
        folder=folder,
        precision=precision,
        device=torch.device(device),
        seed=seed,
        requests=requests,
        ids=ids,
        draws=draws,
        layers=layers,
        capacity=AMPLE_ROWS,
    )
    return Bench(shape=shape, requests=tuple(requests), ids=ids, executor=executor)


def build_fused_bench(
    folder: Path,
    requests: Sequence[Request],
    *,
    kernels: Callable[[ModelShape], FusedKernels],
    graphs: Graphs | None,
    num_kv_pages: int = MANY_PAGES,
    most_rows: int = MANY_ROWS,
    draws: RoutingDraws | None = None,
    seed: int = 0,
    packed: bool = False,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> Bench:
    """Load a checkpoint folder into the engine of fused kernels.

    With `packed` the experts' matrices stay in the checkpoint's mxfp4.
    """
    shape = ModelShape.from_config(read_config(folder), name="tiny")
    weights = load_weights(folder, shape, dtype=dtype, device=device, packed=packed)
    ids = random_ids(requests, shape, seed=seed)
    executor = fused_executor(
        shape,
        weights,
        kernels=pick_kernels(shape, device=device, dtype=dtype),
        fused=kernels(shape),
        graphs=graphs,
        requests=requests,
        ids=ids,
        draws=draws,
        capacity=Capacity(num_kv_pages=num_kv_pages, max_num_seqs=256, most_rows=most_rows),
    )
    return Bench(shape=shape, requests=tuple(requests), ids=ids, executor=executor)


def random_ids(
    requests: Sequence[Request], shape: ModelShape, *, seed: int
) -> Mapping[int, Sequence[int]]:
    """Return token ids of each request: context, then prompt."""
    return {
        request.index: draw_ids(
            seed=seed,
            request=request.index,
            count=request.context_tokens + request.prompt_tokens,
            vocab_size=shape.vocab_size,
        )
        for request in requests
    }
