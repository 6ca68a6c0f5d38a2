"""The passes whose speed is asked for, as a workload: who decodes, which prompts come alone.

Owns: what the command line says of sizes, their refusals, the requests that make such passes.
Must not know: executors, what is measured.

    index   0 .. B-1     B .. B+P-1          B: the largest batch, P: how many prompt sizes
            decodes      a prompt each

A decode brings its context, all but the last token of it, which is its prompt: one pass of such
prompts begins a batch, and every pass after it is the batch's decodes and nothing else.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from reprlib import repr as brief

from lpbench.bench.spec import SIZES_ON_CPU, SIZES_ON_GPU, RunSpec, Sizes
from lpbench.errors import InputError, MisfitError
from lpbench.plan.request import PAGE_TOKENS, Request, pages_for
from lpbench.shape.model import ModelShape
from lpbench.workload.requests import Line
from lpbench.workload.workload import Workload

WARM_UPS = 3
"""Passes of each size before those that are timed."""

PROFILED = 1
"""Passes of each size after them, under the profiler."""

MOST_DECODES, MOST_TOKENS, MOST_REPEATS = 4096, 1 << 20, 100_000
"""The largest values on the command line."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")


def choose_sizes(
    device: str | None,
    *,
    batch: str | None,
    context_len: int | None,
    prompt: str | None,
    repeats: int | None,
) -> Sizes:
    """Return the sizes that were given, and for the others the defaults of the device.

    Args:
        device: as typed; None for cuda where present.
        batch: decodes of a pass, comma-separated.
        context_len: tokens in the KV cache of each.
        prompt: prompt tokens of a pass, comma-separated.
        repeats: passes of each size that are timed.

    Raises:
        InputError: a number is none, or out of range; or the device is none.
        UnavailableError: the device is not there.
    """
    from lpbench.executors.torch_engine.device import pick_device

    sizes = SIZES_ON_CPU if pick_device(device).type == "cpu" else SIZES_ON_GPU
    if batch is not None:
        sizes = replace(sizes, batches=listed_counts("--batch", batch, most=MOST_DECODES))
    if context_len is not None:
        _check("--context-len", context_len, most=MOST_TOKENS)
        sizes = replace(sizes, context_len=context_len)
    if prompt is not None:
        sizes = replace(sizes, prompts=listed_counts("--prompt", prompt, most=MOST_TOKENS))
    if repeats is not None:
        _check("--repeats", repeats, most=MOST_REPEATS)
        sizes = replace(sizes, repeats=repeats)
    return sizes


def listed_counts(option: str, text: str, *, most: int) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list, each once.

    Raises:
        InputError: it is none, or a number is not between 1 and `most`.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        msg = f"{option} {brief(text)} is no list; accepted: whole numbers such as 1,8,32"
        raise InputError(msg)
    values = tuple(dict.fromkeys(map(int, parts)))
    for value in values:
        _check(option, value, most=most)
    return values


def _check(option: str, value: int, *, most: int) -> None:
    if not 1 <= value <= most:
        raise InputError(f"{option} {value} is out of range; accepted: 1 to {most}")


def output_tokens(sizes: Sizes) -> int:
    """Return the tokens that each decode generates: one in the pass that begins the batch."""
    return 1 + WARM_UPS + sizes.repeats + PROFILED


def sizes_workload(sizes: Sizes, shape: ModelShape) -> Workload:
    """Return the requests of all sizes.

    Raises:
        MisfitError: a prompt, or a context with what is generated after it, is longer than the
            model's.
    """
    most, output = shape.max_positions, output_tokens(sizes)
    for prompt in sizes.prompts:
        if prompt > most:
            msg = f"--prompt {prompt}: model {shape.name!r} has {most} positions"
            raise MisfitError(f"{msg}; accepted: 1 to {most}")
    if sizes.context_len + output - 1 > most:
        msg = (
            f"--context-len {sizes.context_len} with {output - 1} decodes after it (--repeats "
            f"{sizes.repeats}): model {shape.name!r} has {most} positions; use smaller ones"
        )
        raise MisfitError(msg)
    decode = Line(prompt=1, context_tokens=sizes.context_len - 1, output_tokens=output)
    prompts = (Line(prompt=prompt, output_tokens=1) for prompt in sizes.prompts)
    return Workload(
        name="passes",
        description="passes of one size",
        lines=(*(decode,) * max(sizes.batches), *prompts),
    )


def sized_spec(spec: RunSpec, sizes: Sizes) -> RunSpec:
    """Return the run with a schedule, a number of sequences and KV pages that bound no size.

    With Triton's kernels the pages of contexts lie beside the pool.
    """
    decodes, output = max(sizes.batches), output_tokens(sizes)
    held = sizes.context_len - 1 if spec.kernels == "triton" else 0
    longest = max(sizes.context_len + output - 1, *sizes.prompts)
    # A sequence may fill a page in part at either end.
    pages = decodes * (pages_for(sizes.context_len + output - held) + 1)
    pages += sum(map(pages_for, sizes.prompts))
    budget = max(decodes, *sizes.prompts)
    return replace(
        spec,
        schedules=(f"whole:max_num_batched_tokens={budget}",),
        max_num_seqs=max(decodes, len(sizes.prompts)),
        num_kv_pages=max(pages, pages_for(longest)),
    )


def all_pages(requests: Sequence[Request]) -> int:
    """Return the KV pages with which no pass waits for one: what the queues are told there are."""
    return sum(pages_for(request.kv_tokens + PAGE_TOKENS) for request in requests)
