"""The CUDA path without a GPU: fake tensors on a fake device, through whole arms.

torch's FakeTensorMode carries shapes, dtypes and devices and no values: a tensor on another device,
and a read of a value on the host (`.item()`, `.tolist()`, `nonzero`, `bincount`), raise.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lpbench.bench.loop import Limits, Step, run_arm
from lpbench.bench.prediction import predicting
from lpbench.executors.torch_engine import executor as executor_module
from lpbench.executors.torch_engine import fused_layers
from lpbench.executors.torch_engine.build import fused_executor, torch_executor
from lpbench.executors.torch_engine.choice import pick_kernels
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.executors.torch_engine.fused_layers import Capacity
from lpbench.executors.torch_engine.graphs import Graphs
from lpbench.executors.torch_engine.grouped import BLOCKS, TORCH
from lpbench.executors.torch_engine.timer import PassTimer
from lpbench.executors.torch_engine.weights import (
    LayerWeights,
    ModelWeights,
    layer_dims,
    model_dims,
)
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.workload.routing import RoutingDraws
from tests.graphs import RecordedWork
from tests.no_kernels import NoKernels
from tests.predicted import Linear

CUDA = torch.device("cuda", 0)
CUDA_TYPE, META_TYPE = 1, 14
"""Their numbers in c10/core/DeviceType.h."""

MODELS = ("qwen3-30b-a3b", "gpt-oss-20b")
SCHEDULES = (
    "whole",
    "chunked:max_num_batched_tokens=100",
    "layered:num_groups=2",
    "hybrid:chunk=100,num_groups=2",
)
ADAPTIVE = "adaptive:tbt_budget_ms=6"
"""The one that plans by predictions; here two prompts climb together, a layer a pass."""

DTYPES = (torch.bfloat16, torch.float32)
SENDERS = ("drawn", "forward", "fused_layers", "page_pool", "torch_layers", "touched")
"""Modules that send arrays to the device."""

LAYERS = 2
"""GPT-OSS's have a window and none."""

REQUESTS = (
    Request(index=0, prompt_tokens=9, output_tokens=3),
    Request(index=1, prompt_tokens=140, output_tokens=1, arrival=1),
    Request(index=2, prompt_tokens=20, output_tokens=1, context_tokens=150, arrival=1),
)
"""Decodes beside prompts, a prompt cut into slices, one behind a context."""

IDS = {one.index: [1] * (one.context_tokens + one.prompt_tokens) for one in REQUESTS}


class Reads:
    """Stands in for what reads tensors back: zeros in their place."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, *tensors: torch.Tensor) -> tuple[NDArray[Any], ...]:
        """Take note of the first one's size; all must be on the GPU."""
        assert {CUDA} == {tensor.device for tensor in tensors}
        self.sizes.append(tuple(tensors[0].shape))
        return tuple(np.zeros(one.shape, str(one.dtype).removeprefix("torch.")) for one in tensors)


def sent(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Stand in for what sends an array: without a GPU there is no pinned memory."""
    return torch.empty(values.shape, dtype=getattr(torch, values.dtype.name), device=device)


@pytest.fixture(scope="module")
def device_guard() -> Iterator[None]:
    """Give torch a guard for CUDA devices that needs none: the meta device's, which does nothing.

    Indexing and `.to` ask for one before any mode is asked; FakeTensorMode does the rest.
    """
    if torch.cuda.is_available():
        yield
        return
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    name = "_ZN3c104impl26device_guard_impl_registryE"
    guards = (ctypes.c_void_p * (META_TYPE + 1)).in_dll(library, name)
    own = guards[CUDA_TYPE]
    guards[CUDA_TYPE] = guards[META_TYPE]
    yield
    guards[CUDA_TYPE] = own


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, device_guard: None) -> Iterator[Reads]:
    """Compute with fake tensors, as if on a Hopper GPU, and return what was read back."""
    del device_guard
    seen = Reads()
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(executor_module, "to_host", seen)
    monkeypatch.setattr(executor_module, "PassTimer", lambda _: PassTimer(torch.device("cpu")))
    monkeypatch.setattr(fused_layers, "free_bytes", lambda _: 1 << 30)
    monkeypatch.setattr(fused_layers, "put", lambda values, place: place.copy_(sent(values, CUDA)))
    for module in SENDERS:
        monkeypatch.setattr(f"lpbench.executors.torch_engine.{module}.to_device", sent)
    with FakeTensorMode():
        yield seen


def small(name: str) -> ModelShape:
    """Return a catalogue model with few and narrow layers."""
    shape, _ = find_shape(name)
    return replace(
        shape,
        num_layers=LAYERS,
        windows=shape.windows[:LAYERS],
        hidden_size=64,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        num_experts=8,
        top_k=2,
        expert_size=32,
        vocab_size=50,
    )


def build(
    shape: ModelShape, dtype: torch.dtype, *, draws: RoutingDraws | None = None
) -> TorchExecutor:
    """Return the executor of a model on the fake GPU."""
    kernels = pick_kernels(shape, device=CUDA, dtype=dtype)
    return torch_executor(
        shape,
        weights_of(shape, dtype),
        kernels=kernels,
        requests=REQUESTS,
        ids=IDS,
        draws=draws,
    )


def weights_of(shape: ModelShape, dtype: torch.dtype) -> ModelWeights:
    """Return a model's weights on the fake GPU."""

    def fields(dims: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
        return {name: torch.empty(size, dtype=dtype, device=CUDA) for name, size in dims.items()}

    return ModelWeights(
        layers=tuple(LayerWeights(**fields(layer_dims(shape))) for _ in range(LAYERS)),
        **fields(model_dims(shape)),
    )


def build_fused(
    shape: ModelShape, dtype: torch.dtype, *, graphs: Graphs | None, draws: RoutingDraws | None
) -> TorchExecutor:
    """Return the executor of fused kernels, which compute nothing, on the fake GPU."""
    return fused_executor(
        shape,
        weights_of(shape, dtype),
        kernels=pick_kernels(shape, device=CUDA, dtype=dtype),
        fused=NoKernels(shape),
        graphs=graphs,
        requests=REQUESTS,
        ids=IDS,
        draws=draws,
        capacity=Capacity(num_kv_pages=100, max_num_seqs=8, most_rows=200),
    )


def serve(executor: TorchExecutor, schedule: str, *, pinned: bool = False) -> list[Step]:
    """Run an arm to its end."""
    executor.start_arm(None, pinned=pinned)
    policy = predicting(parse_schedule(schedule), Linear(kinds=(0,) * LAYERS))
    limits = Limits(num_kv_pages=100, max_num_seqs=8)
    return list(run_arm(policy, REQUESTS, executor, num_layers=LAYERS, limits=limits))


@pytest.mark.parametrize(("model", "dtype", "schedule"), [*product(MODELS, DTYPES, SCHEDULES)])
def test_no_schedule_mixes_devices_or_reads_on_the_host(
    reads: Reads, model: str, dtype: torch.dtype, schedule: str
) -> None:
    """Whole arms run on a device without values, and each pass is read back once, at its end."""
    executor = build(small(model), dtype)
    assert (TORCH if dtype == torch.bfloat16 else BLOCKS) == executor.kernels.experts
    steps = serve(executor, schedule)
    assert any(step.plan.decodes and step.plan.prefill for step in steps)
    context = (0,)
    assert [context, *((len(step.execution.tokens),) for step in steps)] == reads.sizes


@pytest.mark.parametrize(
    ("model", "schedule", "captured"),
    [
        *product(MODELS, (*SCHEDULES, ADAPTIVE), (True,)),
        *product(MODELS, SCHEDULES[2:3], (False,)),
    ],
)
def test_fused_kernels_read_nothing_on_the_host(
    reads: Reads, model: str, schedule: str, *, captured: bool
) -> None:
    """Around kernels that compute nothing, launched one by one or replayed."""
    draws = RoutingDraws("calibrated", 3, LAYERS, 8, 2)
    graphs = RecordedWork() if captured else None
    steps = serve(build_fused(small(model), torch.bfloat16, graphs=graphs, draws=draws), schedule)
    assert any(step.plan.decodes and step.plan.prefill for step in steps)
    assert [(0,), *((len(step.execution.tokens),) for step in steps)] == reads.sizes
    assert graphs is None or graphs.replayed


def test_the_host_does_other_things_before_it_reads_back(reads: Reads) -> None:
    """What it is given for the meantime is done once the pass is launched, and once."""
    executor = build(small(MODELS[0]), torch.bfloat16)
    executor.start_arm(None)
    before, seen = len(reads.sizes), []
    tile = Tile(Span(0, 9), Span(0, LAYERS))
    plan = IterationPlan(decodes=(), prefill=(PromptTile(0, tile),))
    executor.execute(plan, lambda: seen.append(len(reads.sizes)))
    assert ([before], before + 1) == (seen, len(reads.sizes))


@pytest.mark.parametrize("model", MODELS)
def test_drawn_routing_stays_on_the_device(reads: Reads, model: str) -> None:
    """The draws are sent ahead; passes take their slices of them there."""
    draws = RoutingDraws("calibrated", 3, LAYERS, 8, 2)
    steps = serve(build(small(model), torch.bfloat16, draws=draws), SCHEDULES[2])
    assert 1 + len(steps) == len(reads.sizes)


@pytest.mark.parametrize(("model", "dtype", "draws"), [*product(MODELS, DTYPES, (True, False))])
def test_the_control_of_the_counter_pass_stays_on_the_device(
    reads: Reads, model: str, dtype: torch.dtype, *, draws: bool
) -> None:
    """Rows that are all sent to the same experts are read back no more often."""
    drawn = RoutingDraws("calibrated", 3, LAYERS, 8, 2) if draws else None
    steps = serve(build(small(model), dtype, draws=drawn), SCHEDULES[1], pinned=True)
    assert 1 + len(steps) == len(reads.sizes)


@pytest.mark.parametrize("operator", [torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.nonzero])
def test_the_fake_device_notices_a_read(operator: Callable[[torch.Tensor], object]) -> None:
    """What the tests above rely on: a value asked for on the host raises."""
    with FakeTensorMode():
        value = torch.zeros(1, dtype=torch.int64, device=CUDA)
        with pytest.raises((DataDependentOutputException, RuntimeError)):
            operator(value)
