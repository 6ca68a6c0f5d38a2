"""Which device a run computes on, what it has, what it is.

Owns: the device's choice, torch's settings for it, its free memory and its facts for the record.
Must not know: what will run on it.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from lpbench.errors import InputError, RunError, UnavailableError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def pick_device(name: str | None) -> torch.device:
    """Return the device called `name`; cuda where present, else cpu, when None.

    Raises:
        InputError: the name is no device.
        UnavailableError: the device is not there.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (colon and (kind == "cpu" or not index.isdecimal())):
        msg = f"unknown device {name!r}; known: cpu, cuda, cuda:N"
        raise InputError(msg)
    if kind == "cuda" and not torch.cuda.is_available():
        msg = f"device {name!r} is not there: torch {torch.__version__} sees no CUDA device"
        raise UnavailableError(msg)
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        msg = f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA device(s)"
        raise UnavailableError(msg)
    return torch.device("cuda", int(index or 0)) if kind == "cuda" else torch.device("cpu")


def compute_on(device: torch.device) -> None:
    """Make a GPU the current one, and keep torch from what would spoil a measurement there.

    The environment can make TF32 torch's default (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE): ten bits that
    would pass for float32. cuDNN's attention makes a plan for every new pair of lengths and
    strides (aten/src/ATen/native/cudnn/MHA.cpp), tens of milliseconds each, in the midst of a
    pass: decodes grow by one, so nearly every pass would pay, and the arm that meets the lengths
    first would pay for all. Without it torch takes its flash and memory-efficient kernels.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.enable_cudnn_sdp(False)  # noqa: FBT003 - as torch has it
    if device.type == "cuda":
        torch.cuda.set_device(device)


@contextmanager
def errors_of_the_device(meanwhile: str) -> Iterator[None]:
    """Tell in one line what goes wrong with the device, `meanwhile` being what was done.

    Raises:
        RunError: its memory is not enough, or it failed.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        raise RunError(f"the device failed: {str(error).partition(chr(10))[0]}") from error
    except torch.OutOfMemoryError:
        msg = f"the device ran out of memory while {meanwhile}; does another process use it?"
        raise RunError(msg) from None


def keep_freed_memory() -> None:
    """Have the C library keep what tensors free, instead of giving it back to the system.

    A layer frees and takes tens of MB; each time the system would hand out zeroed pages, one fault
    for 4 KiB, which slows prefill down (tests/benchmarks/allocator.py). Does nothing where the C
    library is not glibc; an old glibc accepts the smaller threshold only.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        if any(library.mallopt(m_mmap_threshold, size) for size in (1 << 30, 1 << 25)):
            library.mallopt(m_trim_threshold, (1 << 31) - 1)


def available_bytes(device: torch.device) -> int:
    """Return the memory that is free for a run."""
    give_back(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def free_bytes(device: torch.device) -> int | None:
    """Return the memory of a GPU that nobody has taken; None for a CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def give_back(device: torch.device) -> None:
    """Give a GPU's memory back that tensors held which are no longer there."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


BESIDE_BYTES = 2 << 30
"""What a GPU takes beside tensors that are planned: context, modules, workspaces, fragments."""


def reserved_bytes(device: torch.device, *, gpu_memory_utilization: float) -> int | None:
    """Return how much of a GPU's memory a run leaves alone; None where that is not set.

    `BESIDE_BYTES` at least.

    Args:
        device: where the run computes.
        gpu_memory_utilization: share of all its memory, that of other processes included, which
            may be in use.
    """
    if device.type != "cuda":
        return None
    unused = int(torch.cuda.mem_get_info(device)[1] * (1 - gpu_memory_utilization))
    return max(unused, BESIDE_BYTES)


def cache_bytes(device: torch.device) -> int | None:
    """Return the size of the last-level cache, or None where it cannot be known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with suppress(OSError, ValueError):
            text = path.read_text(encoding="ascii").strip()
            sizes.append(int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1:], 0))
    return max(sizes, default=None)


RESERVED_SHARED_BYTES = 1024
"""Of an SM's shared memory, what CUDA keeps of each program's (CUDA C++ Programming Guide, compute
capabilities 8.0 to 12.0)."""


def shared_bytes(device: torch.device) -> int:
    """Return the shared memory that a program on a GPU can have: an SM's, where it is alone."""
    properties = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_multiprocessor) - RESERVED_SHARED_BYTES


def device_facts(device: torch.device) -> dict[str, str | int | None]:
    """Return what a record says about the device."""
    facts: dict[str, str | int | None] = {
        "device": device.type,
        "torch_threads": torch.get_num_threads(),
        "last_level_cache_bytes": cache_bytes(device),
    }
    if device.type == "cuda":
        facts["device_name"] = torch.cuda.get_device_name(device)
        facts["cuda"] = str(torch.version.cuda)
    return facts
