"""The engine's grouped matmul against torch's, in float32: ratios by rows of a pass.

64 experts of 512 x 512, top-8, rows routed at random, weights cold: eight layers take turns.
"""

import statistics
import sys
import time

import torch

from lpbench.executors.torch_engine.device import keep_freed_memory
from lpbench.executors.torch_engine.grouped import GROUPED_MM, MKL, TORCH

LAYERS, EXPERTS, TOP_K, SIZE, REPEATS = 8, 64, 8, 512, 9


def main() -> None:
    """Print medians of both and their ratio."""
    keep_freed_memory()
    weights = torch.randn(LAYERS, EXPERTS, SIZE, SIZE)
    for count in (8, 64, 256, 512, 1024, 4096):
        rows = torch.randn(count * TOP_K, SIZE)
        chosen = torch.rand(LAYERS, count, EXPERTS).topk(TOP_K).indices
        ends = [
            torch.bincount(layer.flatten(), minlength=EXPERTS).cumsum(0, dtype=torch.int32)
            for layer in chosen
        ]
        times: dict[str, list[float]] = {MKL: [], TORCH: []}
        for _ in range(REPEATS):
            for name, found in times.items():
                start = time.perf_counter()
                for layer in range(LAYERS):
                    GROUPED_MM[name](rows, weights[layer], ends[layer])
                found.append((time.perf_counter() - start) / LAYERS)
        ours, theirs = (statistics.median(found) for found in times.values())
        sys.stdout.write(
            f"{count:5} rows: {ours * 1e3:6.2f} ms, torch {theirs * 1e3:6.2f} ms: "
            f"{theirs / ours:.2f}x\n"
        )


if __name__ == "__main__":
    main()
