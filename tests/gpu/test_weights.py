"""Drawn weights on a GPU: in place, without a second copy of the model, and fast."""

import sys
import time
from dataclasses import replace

import pytest
import torch

from lpbench.executors.torch_engine.weights import dummy_weights
from lpbench.shape.catalogue import find_shape
from lpbench.shape.precision import PRECISIONS, weight_bytes

pytestmark = pytest.mark.gpu

LAYERS = 4
"""Of Qwen3-30B-A3B's 48; 6 GB in bfloat16."""


def test_dummy_weights_are_drawn_in_place() -> None:
    """Less than 256 MiB stands beside the weights, and 61 GB would be drawn in a minute."""
    shape, _ = find_shape("qwen3-30b-a3b")
    shape = replace(shape, num_layers=LAYERS, windows=shape.windows[:LAYERS])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    weights = dummy_weights(shape, dtype=torch.bfloat16, device="cuda:0", seed=0)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    size = weight_bytes(shape, PRECISIONS["bfloat16"])
    sys.stdout.write(f"\ndummy weights: {size / seconds / 1e9:.1f} GB/s\n")
    assert weights.embed.device.type == "cuda"
    assert torch.cuda.max_memory_allocated() - before - size < 1 << 28
    assert size / seconds > 61e9 / 60
