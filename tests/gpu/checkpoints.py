"""What GPU tests run: a tiny checkpoint of each family, a workload of all kinds of rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from lpbench.plan.request import Request
from lpbench.workload.tokens import draw_ids
from tests.checkpoints import save_gpt_oss, save_qwen3_moe

LAYERS, EXPERTS, TOP_K = 5, 16, 4

SCHEDULES = (
    "whole",
    "chunked:max_num_batched_tokens=37",
    "layered:tokens_per_group=16",
    "hybrid:chunk=50,num_groups=3",
)

# (context, prompt, output, arrival): several in flight, with and without a context.
LENGTHS = (
    (0, 15, 24, 0),
    (33, 2, 30, 0),
    (0, 1, 25, 1),
    (0, 400, 6, 1),
    (100, 17, 20, 2),
    (0, 129, 12, 3),
)
# Those that grow past their pages while others hold theirs.
CROWDED_LENGTHS = (
    (0, 15, 28, 4),
    (33, 2, 11, 4),
    (0, 1, 7, 2),
    (0, 110, 15, 4),
    (40, 17, 6, 2),
    (0, 49, 9, 4),
)


def requests_of(lengths: Sequence[tuple[int, int, int, int]]) -> tuple[Request, ...]:
    """Return the requests of such lengths."""
    return tuple(
        Request(
            index=index, context_tokens=context, prompt_tokens=prompt, output_tokens=out, arrival=at
        )
        for index, (context, prompt, out, at) in enumerate(lengths)
    )


REQUESTS, CROWDED = requests_of(LENGTHS), requests_of(CROWDED_LENGTHS)
TIGHT_POOL = 9
"""KV pages: the longest crowded request needs 8, all of them 23."""

SCRIPT = {
    request.index: draw_ids(
        seed=77, request=request.index, count=request.output_tokens, vocab_size=128
    )
    for request in REQUESTS
}
"""Tokens to feed that nobody would choose."""

FAMILIES: Mapping[str, Callable[[Path], PreTrainedModel]] = {
    "qwen3_moe": partial(save_qwen3_moe, layers=LAYERS, experts=EXPERTS, top_k=TOP_K, seed=1),
    "gpt_oss": partial(save_gpt_oss, layers=LAYERS, experts=EXPERTS, top_k=TOP_K, seed=4),
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checkpoint:
    """A folder and the float32 model that wrote it, on the CPU."""

    folder: Path
    model: PreTrainedModel
