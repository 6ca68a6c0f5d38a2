"""What a device reaches at most: bytes to and from memory, products of matrices.

Owns: the measurement of both, with the threads and the settings that a run has.
Must not know: what is made of them, what vendors state.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from lpbench.executors.torch_engine.device import DTYPES, cache_bytes, compute_on, give_back

SECONDS = 1.0
"""How long each rate is measured, about."""

BUFFER_BYTES = 1 << 28
"""Bytes of a buffer at least."""

CACHES = 8
"""A buffer is so many times as large as the last-level cache, where that is known."""

MEMORY_SHARE = 8
"""A buffer takes one part in so many of the free memory at most."""

SIZES = (512, 1024, 2048, 4096)
"""Rows of the square matrices that are multiplied."""

LONG = 0.2
"""Seconds of a product after which no larger one is tried."""

GPU_BUFFER_BYTES, GPU_ROWS, GPU_CALLS = 1 << 30, 8192, 20
"""On a GPU: bytes of each buffer at least, rows of the square matrices, calls of which the quickest
counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """What was measured, the best of several each.

    Attributes:
        threads: that torch computes with.
        buffer_bytes: bytes of each of the two buffers.
        cache_bytes: last-level cache; None where it is not known.
        read: B/s of summing one buffer.
        update: B/s of adding one buffer to the other: two reads and a write.
        flops: FLOP/s of a product of square matrices, by dtype.
    """

    threads: int
    buffer_bytes: int
    cache_bytes: int | None
    read: float
    update: float
    flops: dict[str, float]


def measure_peaks(*, seconds: float = SECONDS, most_bytes: int | None = None) -> Peaks:
    """Measure the CPU; takes some seconds.

    Args:
        seconds: how long each rate is measured, about.
        most_bytes: of a buffer; None for what the memory allows.
    """
    device = torch.device("cpu")
    compute_on(device)
    cache = cache_bytes(device)
    most = psutil.virtual_memory().available // MEMORY_SHARE if most_bytes is None else most_bytes
    size = min(max(BUFFER_BYTES, CACHES * (cache or 0)), most)
    one, other = (torch.ones(size // 4) for _ in "ab")
    reading = _quickest(one.sum, seconds=seconds)
    updating = _quickest(lambda: one.add_(other), seconds=seconds)
    moved = 4 * len(one)
    return Peaks(
        threads=torch.get_num_threads(),
        buffer_bytes=moved,
        cache_bytes=cache,
        read=moved / reading,
        update=3 * moved / updating,
        flops={name: _product_rate(dtype, seconds=seconds) for name, dtype in DTYPES.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPeaks:
    """What was measured of a GPU, the best of several calls each.

    Attributes:
        memory_bytes: all of its memory.
        buffer_bytes: bytes of each of the two buffers.
        copy: B/s of copying one buffer to the other: a read and a write.
        flops: FLOP/s of a product of square matrices, by dtype.
    """

    memory_bytes: int
    buffer_bytes: int
    copy: float
    flops: dict[str, float]


def measure_gpu_peaks(name: str) -> GpuPeaks:
    """Measure a GPU, such as "cuda:0", by its own clock; takes about a second and 2 GiB."""
    device = torch.device(name)
    compute_on(device)
    size = max(GPU_BUFFER_BYTES, CACHES * (cache_bytes(device) or 0))
    rate = _gpu_copy_rate(size, device)
    rates = {key: _gpu_product_rate(dtype, device) for key, dtype in DTYPES.items()}
    give_back(device)
    return GpuPeaks(
        memory_bytes=torch.cuda.get_device_properties(device).total_memory,
        buffer_bytes=size,
        copy=rate,
        flops=rates,
    )


def _gpu_copy_rate(size: int, device: torch.device) -> float:
    one, other = (torch.zeros(size // 4, device=device) for _ in "ab")
    return 2 * size / _quickest_on_gpu(lambda: other.copy_(one))


def _gpu_product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the rate of a product of random values: equal ones would cost less power."""
    random = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(GPU_ROWS, GPU_ROWS, dtype=dtype, device=device, generator=random) for _ in "ab"
    )
    out = torch.empty_like(left)
    return 2 * GPU_ROWS**3 / _quickest_on_gpu(lambda: torch.mm(left, right, out=out))


def _quickest_on_gpu(work: Callable[[], object]) -> float:
    """Return the seconds of the quickest of some calls, between CUDA events."""
    work()
    pairs = []
    for _ in range(GPU_CALLS):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in "ab")
        start.record()
        work()
        stop.record()
        pairs.append((start, stop))
    torch.cuda.synchronize()
    least: float = min(start.elapsed_time(stop) for start, stop in pairs)
    return least / 1e3


def _product_rate(dtype: torch.dtype, *, seconds: float) -> float:
    """Return the best rate over the sizes."""
    best = 0.0
    for rows in SIZES:
        left, right = (torch.full((rows, rows), 0.5, dtype=dtype) for _ in "ab")
        out = torch.empty_like(left)
        took = _quickest(lambda: torch.mm(left, right, out=out), seconds=seconds / len(SIZES))  # noqa: B023 - called at once
        best = max(best, 2 * rows**3 / took)
        if took > LONG:
            break
    return best


def _quickest(work: Callable[[], object], *, seconds: float) -> float:
    """Return the seconds of the quickest of some calls, two at least after one that warms up."""
    work()
    best, spent, calls = float("inf"), 0.0, 0
    while spent < seconds or calls < 2:  # noqa: PLR2004 - the best of one is none
        start = time.perf_counter()
        work()
        took = max(time.perf_counter() - start, 1e-9)
        best, spent, calls = min(best, took), spent + took, calls + 1
    return best
