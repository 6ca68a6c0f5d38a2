"""What counting experts adds to an iteration: the counting alone, as a share of the iteration.

The built-in model; 8 decodes alone, and 8 decodes beside a 512-token slice; medians.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from lpbench.executors.torch_engine.build import build_executor
from lpbench.executors.torch_engine.layer import Block
from lpbench.executors.torch_engine.touched import Touched
from lpbench.executors.torch_engine.transfer import to_host
from lpbench.meters.experts import ExpertMeter
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.request import Request
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.tokens import draw_ids

DECODES, SLICE, REPEATS = 8, 512, 15


def main() -> None:
    """Print the share of an iteration that counting takes."""
    shape, _ = find_shape("builtin-moe")
    for name, rows in (("decodes alone", 0), ("decodes + slice", SLICE)):
        whole, counting = times(shape, rows)
        sys.stdout.write(
            f"{name:16} iteration {whole:7.2f} ms, of which counting {counting:5.2f} ms: "
            f"{counting / whole:.2%}\n"
        )


def times(shape: ModelShape, rows: int) -> tuple[float, float]:
    """Return the milliseconds of an iteration, counting included, and of the counting alone."""
    prompt = max(rows, 1) * (REPEATS + 1)
    requests = [
        Request(index=at, prompt_tokens=1, output_tokens=2 * REPEATS) for at in range(DECODES)
    ]
    requests.append(Request(index=DECODES, prompt_tokens=prompt, output_tokens=1))
    ids = {
        one.index: draw_ids(
            seed=0, request=one.index, count=one.prompt_tokens, vocab_size=shape.vocab_size
        )
        for one in requests
    }
    executor = build_executor(
        shape,
        folder=None,
        precision=PRECISIONS["float32"],
        device=torch.device("cpu"),
        seed=0,
        requests=requests,
        ids=ids,
        draws=None,
    )
    layers = Span(0, shape.num_layers)
    executor.start_arm(None)
    first = tuple(PromptTile(at, Tile(Span(0, 1), layers)) for at in range(DECODES))
    executor.execute(IterationPlan(decodes=(), prefill=first))
    plans = [plan(at * rows, rows, layers) for at in range(REPEATS)]
    whole = statistics.median([timed(partial(executor.execute, one)) for one in plans])
    alone = statistics.median([timed(partial(count, one, shape)) for one in plans])
    return whole, alone


def plan(start: int, rows: int, layers: Span) -> IterationPlan:
    """Return all decodes beside a slice of the prompt."""
    tile = Tile(Span(start, start + rows), layers) if rows else None
    return IterationPlan(
        decodes=tuple(range(DECODES)), prefill=(PromptTile(DECODES, tile),) if tile else ()
    )


def count(one: IterationPlan, shape: ModelShape) -> None:
    """Do what counting does in an iteration: bits in every layer, one read-back, the meter."""
    meter = ExpertMeter(num_experts=shape.num_experts, top_k=shape.top_k, expert_bytes=1)
    touched = Touched(one, shape, device=torch.device("cpu"))
    (segment,) = one.segments(shape.num_layers)
    blocks = [Block(request=at, start=0, count=1) for at in one.decodes]
    blocks += [Block(request=r.request, start=0, count=len(r.tokens)) for r in segment.prompts]
    ids = torch.randint(0, shape.num_experts, (segment.num_rows, shape.top_k))
    touched.enter(segment, tuple(blocks))
    for layer in range(shape.num_layers):
        touched.route(layer, ids, ids)
    routed = touched.routed(*to_host(touched.bits))
    meter.observe(
        touched=routed.touched,
        prompts=routed.prompts,
        rows=[segment.num_rows] * shape.num_layers,
    )


def timed(work: Callable[[], object]) -> float:
    """Return the milliseconds `work` takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
