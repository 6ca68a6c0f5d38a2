"""From a shape and a choice of weights to an executor that is ready to run.

Owns: the choice between a checkpoint and drawn weights.
Must not know: schedules, records, how much memory there is.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from lpbench.errors import RunError
from lpbench.executors.torch_engine.checkpoint import load_weights
from lpbench.executors.torch_engine.device import DTYPES, compute_on, keep_freed_memory
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.executors.torch_engine.weights import dummy_weights
from lpbench.plan.request import Request
from lpbench.shape.model import ModelShape
from lpbench.workload.routing import RoutingDraws


def build_executor(
    shape: ModelShape,
    *,
    folder: Path | None,
    dtype: str,
    device: torch.device,
    seed: int,
    requests: Sequence[Request],
    ids: Mapping[int, Sequence[int]],
    draws: RoutingDraws | None,
    progress: Callable[[int, int], None] | None = None,
) -> TorchExecutor:
    """Load or draw the weights and return the executor of a workload.

    Args:
        shape: the model's geometry.
        folder: the checkpoint; None draws weights from the seed.
        dtype: float32 or bfloat16.
        device: where to compute.
        seed: of drawn weights.
        requests: the workload in lengths.
        ids: token ids of each request: context, then prompt.
        draws: the experts to route to; None for the router's choice.
        progress: called with (tensors loaded, tensors in all).

    Raises:
        InputError: the checkpoint cannot be loaded.
        RunError: the device's memory is not enough after all.
    """
    torch_dtype = DTYPES[dtype]
    keep_freed_memory()
    compute_on(device)
    try:
        if folder is None:
            weights = dummy_weights(shape, dtype=torch_dtype, device=device, seed=seed)
        else:
            weights = load_weights(
                folder, shape, dtype=torch_dtype, device=device, progress=progress
            )
        return TorchExecutor(shape, weights, requests=requests, ids=ids, draws=draws)
    except torch.OutOfMemoryError:
        raise RunError(
            f"the device ran out of memory while {shape.name!r} was loaded; does another process "
            "use it?"
        ) from None
