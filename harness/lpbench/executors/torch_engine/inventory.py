"""Which CUDA devices torch sees, or what keeps it from seeing one.

Owns: the list of devices with their memory, and torch's own CUDA version.
Must not know: what will run on them.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDevice:
    """A device as torch numbers it: its name, its memory and what of it is free, in bytes."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What torch sees.

    Attributes:
        cuda: the CUDA version torch was built for; None for a build without CUDA.
        devices: all that can be used.
        problem: why there is none, as one line; None where there is one.
    """

    cuda: str | None
    devices: tuple[CudaDevice, ...] = ()
    problem: str | None = None


def take_inventory() -> Inventory:
    """Return the CUDA devices; asking for free memory opens a context on each."""
    cuda = torch.version.cuda
    if cuda is None:
        return Inventory(cuda=None, problem=f"torch {torch.__version__} is built without CUDA")
    if not torch.cuda.is_available():
        return Inventory(cuda=cuda, problem=f"torch {torch.__version__} sees no CUDA device")
    try:
        devices = tuple(_device(index) for index in range(torch.cuda.device_count()))
    except RuntimeError as error:  # the driver's own: a device lost, taken or out of memory
        return Inventory(cuda=cuda, problem=f"torch cannot use a device: {_first_line(error)}")
    return Inventory(cuda=cuda, devices=devices)


def _device(index: int) -> CudaDevice:
    free, total = torch.cuda.mem_get_info(index)
    name = torch.cuda.get_device_name(index)
    return CudaDevice(index=index, name=name, total_bytes=total, free_bytes=free)


def _first_line(error: RuntimeError) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
