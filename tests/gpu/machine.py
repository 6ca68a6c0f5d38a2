"""The GPU that tests run on: what computes there, what captures, what Triton compiles.

Named here alone, so that the tests' own code can be tried where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from lpbench.executors.torch_engine.device import compute_on
from lpbench.executors.torch_engine.graphs import CudaGraphs, Graphs, Work
from lpbench.executors.torch_engine.kernels.chip import major_of
from lpbench.executors.torch_engine.kernels.fused import FusedKernels
from lpbench.executors.torch_engine.kernels.tile_table import TileTable
from lpbench.plan.request import Request
from lpbench.shape.model import ModelShape
from tests.arms import GPU_ROWS, MANY_PAGES, Bench, build_fused_bench
from tests.gpu.checkpoints import REQUESTS

DEVICE = torch.device("cuda", 0)


def fused_kernels(shape: ModelShape, *, dtype: torch.dtype, mxfp4: bool = False) -> FusedKernels:
    """Return our kernels."""
    from lpbench.executors.torch_engine.kernels.launch import TritonKernels

    major = major_of(DEVICE)
    return TritonKernels(shape, tiles=TileTable.of(shape, dtype=dtype, mxfp4=mxfp4, major=major))


def graphs() -> Graphs:
    """Return what captures."""
    return CudaGraphs(DEVICE)


@dataclass
class CountedGraphs:
    """Captures, and counts.

    Attributes:
        graphs: what captures.
        captured: how much was captured.
        replayed: how often any of it was replayed.
    """

    graphs: Graphs
    captured: int = 0
    replayed: int = 0

    def capture(self, work: Work) -> Work:
        """Have the work captured."""
        replay_it = self.graphs.capture(work)
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            replay_it()

        return replay


def build_engine(
    folder: Path,
    requests: Sequence[Request] = REQUESTS,
    *,
    graphs: Graphs | None,
    dtype: torch.dtype = torch.float32,
    num_kv_pages: int = MANY_PAGES,
    most_rows: int = GPU_ROWS,
) -> Bench:
    """Return the engine of our kernels for a checkpoint and a workload."""
    compute_on(DEVICE)
    return build_fused_bench(
        folder,
        requests,
        kernels=partial(fused_kernels, dtype=dtype),
        graphs=graphs,
        num_kv_pages=num_kv_pages,
        most_rows=most_rows,
        device=DEVICE,
        dtype=dtype,
    )


def watch_compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the kernels that Triton compiles, or fetches from its folder, from here on.

    Its hook is called for every combination of types, constants and alignments that a process has
    not had yet.
    """
    from triton import knobs

    found: list[str] = []

    def note(*, repr: str, **_: object) -> None:  # noqa: A002 - Triton's name
        found.append(repr)

    monkeypatch.setattr(knobs.runtime, "jit_cache_hook", note)
    return found
