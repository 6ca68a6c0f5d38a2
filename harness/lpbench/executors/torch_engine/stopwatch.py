"""How long work on a GPU takes by its own clock, its launches left out.

Owns: the capture of the work, the events around its replay.
Must not know: what the work is, how times are compared.
"""

from collections.abc import Callable
from typing import Protocol

import torch

from lpbench.executors.torch_engine.graphs import CudaGraphs, Work

REPLAYS = 4
"""Of a lap, one behind the other, so that the launch of the next hides behind the one before."""


class Stopwatch(Protocol):
    """Times work again and again."""

    def ready(self, work: Work) -> Callable[[], float]:
        """Do the work at least once, and return what does it again and says the milliseconds.

        What is raised by the work is raised here.
        """


class CudaStopwatch:
    """CUDA's events around replays of a graph.

    Triton's launches take the host longer than small kernels run, which would be timed in their
    stead; the engine replays graphs at these sizes too.
    """

    def __init__(self, device: torch.device) -> None:
        """Time on a device."""
        self._graphs = CudaGraphs(device)
        self._device = device

    def ready(self, work: Work) -> Callable[[], float]:
        """Capture the work and warm up."""
        replay = self._graphs.capture(work)
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in "ab")

        def lap() -> float:
            start.record()
            for _ in range(REPLAYS):
                replay()
            stop.record()
            torch.cuda.synchronize(self._device)
            milliseconds: float = start.elapsed_time(stop)
            return milliseconds / REPLAYS

        lap()
        return lap
