"""What keeping freed memory saves in prefill: two processes, with and without, taking turns.

The built-in model, 4096 rows in one pass; the best pass of each process, medians over processes.
"""

import statistics
import subprocess
import sys
import time

import torch

from lpbench.executors.torch_engine import build
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.request import Request
from lpbench.shape.catalogue import find_shape
from lpbench.shape.precision import PRECISIONS

REPEATS, PASSES, PROMPTS, PROMPT = 5, 5, 8, 512
KEPT, GIVEN_BACK = "kept", "given back"


def main() -> None:
    """Print both medians and their ratio."""
    times: dict[str, list[float]] = {KEPT: [], GIVEN_BACK: []}
    for _ in range(REPEATS):
        for name, found in times.items():
            out = subprocess.run(
                [sys.executable, __file__, name], capture_output=True, text=True, check=True
            )
            found.append(float(out.stdout))
    kept, back = (statistics.median(found) for found in times.values())
    sys.stdout.write(
        f"prefill of {PROMPTS * PROMPT} rows: {kept:.0f} ms with freed memory kept, {back:.0f} ms "
        f"with it given back: {back / kept:.2f}x\n"
    )


def measure(name: str) -> None:
    """Print the milliseconds of the best pass but for the first."""
    if name == GIVEN_BACK:
        vars(build)["keep_freed_memory"] = lambda: None
    shape, _ = find_shape("builtin-moe")
    requests = [Request(index=at, prompt_tokens=PROMPT, output_tokens=1) for at in range(PROMPTS)]
    executor = build.build_executor(
        shape,
        folder=None,
        precision=PRECISIONS["float32"],
        device=torch.device("cpu"),
        seed=0,
        requests=requests,
        ids={at: list(range(PROMPT)) for at in range(PROMPTS)},
        draws=None,
    )
    tile = Tile(Span(0, PROMPT), Span(0, shape.num_layers))
    plan = IterationPlan(decodes=(), prefill=tuple(PromptTile(at, tile) for at in range(PROMPTS)))
    spent = []
    for _ in range(PASSES):
        executor.start_arm(None)
        start = time.perf_counter()
        executor.execute(plan)
        spent.append(time.perf_counter() - start)
    sys.stdout.write(str(min(spent[1:]) * 1e3))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()
