"""From a shape and a choice of weights to an executor that is ready to run.

Owns: the choice between a checkpoint and drawn weights, how the executor's parts go together, and
those of a tuner of its kernels.
Must not know: schedules, records, how much memory there is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lpbench.errors import RunError
from lpbench.executors.torch_engine.checkpoint import load_weights
from lpbench.executors.torch_engine.choice import TRITON, Kernels, pick_kernels
from lpbench.executors.torch_engine.device import (
    DTYPES,
    compute_on,
    errors_of_the_device,
    keep_freed_memory,
)
from lpbench.executors.torch_engine.drawn import DrawnExperts
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.executors.torch_engine.fused_layers import Capacity, FusedLayers
from lpbench.executors.torch_engine.graphs import CudaGraphs, Graphs
from lpbench.executors.torch_engine.kernels.chip import major_of
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles
from lpbench.executors.torch_engine.kernels.fused import FusedKernels
from lpbench.executors.torch_engine.kernels.tile_table import TUNED_ROWS, TileTable
from lpbench.executors.torch_engine.sequences import Sequences
from lpbench.executors.torch_engine.tile_cache import FILE
from lpbench.executors.torch_engine.torch_layers import TorchLayers
from lpbench.executors.torch_engine.tuning import Tuner
from lpbench.executors.torch_engine.weights import ModelWeights, dummy_weights
from lpbench.plan.request import Request
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision
from lpbench.workload.routing import RoutingDraws

if TYPE_CHECKING:
    from lpbench.executors.torch_engine.kernels.launch import TritonKernels


def build_executor(
    shape: ModelShape,
    *,
    folder: Path | None,
    precision: Precision,
    device: torch.device,
    seed: int,
    requests: Sequence[Request],
    ids: Mapping[int, Sequence[int]],
    draws: RoutingDraws | None,
    layers: str = "torch",
    capacity: Capacity | None = None,
    captured: bool = True,
    tiles: TileTable | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TorchExecutor:
    """Load or draw the weights and return the executor of a workload.

    Args:
        shape: the model's geometry.
        folder: the checkpoint; None draws weights from the seed.
        precision: of the weights; what is packed needs Triton's kernels.
        device: where to compute.
        seed: of drawn weights.
        requests: the workload in lengths.
        ids: token ids of each request: context, then prompt.
        draws: the experts to route to; None for the router's choice.
        layers: whose kernels, as `choice.Kernels.layers` has them.
        capacity: what to give passes room for; Triton's kernels take their memory by it.
        captured: whether Triton's kernels are captured; no pass that is listened to replays them.
        tiles: of the experts in Triton's kernels; None for the shipped ones.
        progress: called with (tensors loaded, tensors in all).

    Raises:
        InputError: the checkpoint cannot be loaded.
        UnavailableError: Triton's kernels cannot run here.
        RunError: the device's memory is not enough after all, the device failed, or tuned tiles do
            not run on it.
    """
    dtype, packed = DTYPES[precision.computed_in], precision.is_packed
    keep_freed_memory()
    compute_on(device)
    kernels = pick_kernels(shape, device=device, dtype=dtype, layers=layers)
    with errors_of_the_device(f"{shape.name!r} was loaded"):
        if folder is None:
            weights = dummy_weights(shape, dtype=dtype, device=device, seed=seed, packed=packed)
        else:
            weights = load_weights(
                folder, shape, dtype=dtype, device=device, packed=packed, progress=progress
            )
        if kernels.layers != TRITON:
            return torch_executor(
                shape, weights, kernels=kernels, requests=requests, ids=ids, draws=draws
            )
        assert capacity is not None, "Triton's kernels take their memory ahead"
        if tiles is None:
            tiles = TileTable.of(shape, dtype=dtype, mxfp4=packed, major=major_of(device))
        with triton_kernels(tiles) as fused:
            return fused_executor(
                shape,
                weights,
                kernels=kernels,
                fused=fused(shape, tiles=tiles),
                graphs=CudaGraphs(device) if captured else None,
                requests=requests,
                ids=ids,
                draws=draws,
                capacity=capacity,
            )


@contextmanager
def triton_kernels(tiles: TileTable) -> Iterator["type[TritonKernels]"]:
    """Give Triton's kernels; where they fail on tiles that were tuned, name the tuning cache.

    Raises:
        RunError: the compiler or the device did not take a kernel, and tiles were tuned.
    """
    from lpbench.executors.torch_engine.kernels.launch import (  # noqa: PLC0415 - not everywhere
        REFUSALS,
        TritonKernels,
    )

    try:
        yield TritonKernels
    except (torch.AcceleratorError, torch.OutOfMemoryError):
        raise
    except REFUSALS as error:
        if not tiles.tuned:
            raise
        first = str(error).partition("\n")[0]
        msg = (
            f"the kernels failed on tiles of {FILE} ({first}); without it they run on shipped ones"
        )
        raise RunError(msg) from error


def torch_executor(
    shape: ModelShape,
    weights: ModelWeights,
    *,
    kernels: Kernels,
    requests: Sequence[Request],
    ids: Mapping[int, Sequence[int]],
    draws: RoutingDraws | None = None,
) -> TorchExecutor:
    """Return the executor of torch's own operators; arguments as for `build_executor`."""
    sequences = Sequences(requests, ids)
    drawn = DrawnExperts(shape, sequences, draws, device=weights.embed.device)
    layers = TorchLayers(shape, weights, kernels=kernels, sequences=sequences, drawn=drawn)
    return TorchExecutor(weights, kernels=kernels, layers=layers, sequences=sequences, drawn=drawn)


def fused_executor(
    shape: ModelShape,
    weights: ModelWeights,
    *,
    kernels: Kernels,
    fused: FusedKernels,
    graphs: Graphs | None,
    requests: Sequence[Request],
    ids: Mapping[int, Sequence[int]],
    draws: RoutingDraws | None = None,
    capacity: Capacity,
) -> TorchExecutor:
    """Return the executor of fused kernels, every piece of the model captured.

    Args:
        shape: the model's geometry.
        weights: its tensors.
        kernels: what the record says about the kernels.
        fused: what computes.
        graphs: what captures; None for nothing.
        requests: the workload in lengths.
        ids: token ids of each request: context, then prompt.
        draws: the experts to route to; None for the router's choice.
        capacity: what to give passes room for.
    """
    sequences = Sequences(requests, ids)
    drawn = DrawnExperts(shape, sequences, draws, device=weights.embed.device)
    layers = FusedLayers(
        shape,
        weights,
        kernels=fused,
        graphs=graphs,
        sequences=sequences,
        drawn=drawn,
        capacity=capacity,
    )
    with torch.inference_mode():
        captured = layers.prepare()
    return TorchExecutor(
        weights,
        kernels=kernels,
        layers=layers,
        sequences=sequences,
        drawn=drawn,
        captured=captured,
    )


def build_tuner(shape: ModelShape, precision: Precision, *, device: str, cache_bytes: int) -> Tuner:
    """Return a tuner of Triton's kernels, its weights drawn; arguments as `Tuner` has them."""
    from lpbench.executors.torch_engine.kernels.launch import (  # noqa: PLC0415 - not everywhere
        REFUSALS,
        TritonKernels,
    )

    dtype, packed = DTYPES[precision.computed_in], precision.is_packed

    def kernels(tiles: ExpertTiles) -> TritonKernels:
        tuned = dict.fromkeys(TUNED_ROWS, tiles)
        return TritonKernels(
            shape, tiles=TileTable.of(shape, dtype=dtype, mxfp4=packed, tuned=tuned)
        )

    return Tuner(
        shape,
        precision,
        device=torch.device(device),
        cache_bytes=cache_bytes,
        kernels=kernels,
        refusals=REFUSALS,
    )
