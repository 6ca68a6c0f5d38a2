"""Operators that tell a profiler which kernels are the experts'.

Owns: the NVTX range around them.
Must not know: the profiler, plans.
"""

import torch

from lpbench.executors.executor import EXPERTS_RANGE
from lpbench.executors.torch_engine.operators import TorchOperators
from lpbench.executors.torch_engine.weights import LayerWeights


class MarkedOperators(TorchOperators):
    """The same operators, the experts in a range of their own; torch built for CUDA only."""

    def experts(
        self,
        rows: torch.Tensor,
        ids: torch.Tensor,
        share: torch.Tensor,
        weights: LayerWeights,
    ) -> torch.Tensor:
        """Return what `TorchOperators.experts` does."""
        with torch.cuda.nvtx.range(EXPERTS_RANGE):
            return super().experts(rows, ids, share, weights)
