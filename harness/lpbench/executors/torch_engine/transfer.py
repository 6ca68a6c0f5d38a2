"""Values between host and device: sent without waiting, and read back with one wait.

Owns: pinned memory and the one synchronisation of an iteration.
Must not know: what the values mean.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return the values on the device, which the host does not wait for.

    On CUDA they leave from pinned memory, which torch's allocator keeps until the copy is done.
    """
    return _pinned(values, device).to(device, non_blocking=True)


def put(values: NDArray[Any], place: torch.Tensor) -> None:
    """Send the values to where others of their size lie on a device, as `to_device` does."""
    place.copy_(_pinned(values, place.device), non_blocking=True)


def to_host(*tensors: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Return the tensors of one device as arrays: all copies are under way before the one wait.

    They are copied once more: whoever keeps one must not keep pinned memory, nor find in it what
    the next pass writes.
    """
    device = tensors[0].device
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return tuple(copy.numpy().copy() for copy in copies)


def _pinned(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    host = torch.from_numpy(values)
    return host.pin_memory() if device.type == "cuda" else host
