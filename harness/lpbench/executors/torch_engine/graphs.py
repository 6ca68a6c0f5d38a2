"""Work on the device that is recorded once and replayed: CUDA graphs.

Owns: the capture.
Must not know: what the work is.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import torch

Work = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What was captured before a run, and at what cost.

    Attributes:
        pieces: graphs.
        seconds: it took, compiling kernels included.
        device_bytes: of memory that is no longer free, what the work allocates included; None
            where that is the host's.
    """

    pieces: int
    seconds: float
    device_bytes: int | None


class Graphs(Protocol):
    """What records work."""

    def capture(self, work: Work) -> Work:
        """Return what does the same work again, on the same tensors, at little cost for the host.

        The work is done at least once for it.
        """


class CudaGraphs:
    """CUDA's. They share their memory: only one is under way at a time, and none hands on any."""

    def __init__(self, device: torch.device) -> None:
        """Take a stream to capture on, and a pool for what the work allocates."""
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, work: Work) -> Work:
        """Do the work once, so that its kernels are compiled and loaded, then record it."""
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
            # `torch.cuda.graph` would collect garbage and empty caches, tens of milliseconds each
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                with suppress(RuntimeError):  # the first error is the one to tell
                    graph.capture_end()
                raise
            graph.capture_end()
        current.wait_stream(self._stream)
        replay: Work = graph.replay
        return replay
