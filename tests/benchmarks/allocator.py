"""What keeping freed memory saves in prefill: two processes, with and without, interleaved.

The built-in model, one 2048-token prompt in one pass; medians.
"""

import statistics
import subprocess
import sys
import time

REPEATS = 3


def main() -> None:
    """Print both medians and their ratio."""
    times: dict[str, list[float]] = {"kept": [], "given back": []}
    for _ in range(REPEATS):
        for name, found in times.items():
            out = subprocess.run(
                [sys.executable, __file__, name], capture_output=True, text=True, check=True
            )
            found.append(float(out.stdout))
    kept, back = (statistics.median(found) for found in times.values())
    sys.stdout.write(
        f"2048-token prefill: {kept:.0f} ms with freed memory kept, {back:.0f} ms with it given "
        f"back: {back / kept:.2f}x\n"
    )


def measure(name: str) -> None:
    """Print the milliseconds of one prefill, after a first one."""
    import torch

    from lpbench.executors.torch_engine import build
    from lpbench.plan.grid import Span, Tile
    from lpbench.plan.iteration import IterationPlan, PromptTile
    from lpbench.plan.request import Request
    from lpbench.shape.catalogue import find_shape

    if name == "given back":
        vars(build)["keep_freed_memory"] = lambda: None
    shape, _ = find_shape("builtin-moe")
    requests = [Request(index=at, prompt_tokens=2048, output_tokens=1) for at in range(4)]
    executor = build.build_executor(
        shape,
        folder=None,
        dtype="float32",
        device=torch.device("cpu"),
        seed=0,
        requests=requests,
        ids={at: list(range(2048)) for at in range(4)},
        draws=None,
    )
    executor.start_arm(None)
    tile = Tile(Span(0, 2048), Span(0, shape.num_layers))
    spent = []
    for at in range(4):
        start = time.perf_counter()
        executor.execute(IterationPlan(decodes=(), prefill=(PromptTile(at, tile),)))
        spent.append(time.perf_counter() - start)
    sys.stdout.write(str(min(spent[1:]) * 1e3))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()
