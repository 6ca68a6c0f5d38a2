"""Our engine against transformers on the same device, weights and requests, and against the bound.

    python tests/benchmarks/engine.py [--device cuda --dtype bfloat16 --kernels triton ...]

As it comes: 8 requests of 512 tokens, 32 outputs each; Qwen3-MoE with 8 layers, hidden 512, 8 query
and 2 KV heads of 64, 64 experts of width 256, top-8, vocabulary 4096, float32, on the CPU. With
`--model qwen3-30b-a3b --layers 4` the layers are that model's. Weights are random and so routing is
near uniform; a checkpoint is written once, and all load it.

Greedy, median of three rounds, in which the contenders take turns; every run is a process of its
own that runs twice and times the second, for the engine sets the C library's allocator
(`keep_freed_memory`) and torch's attention (`compute_on`) and transformers does not, and because
the same code is up to 15 % faster or slower in another process. What transformers would gain on a
CPU by the same allocator is shown too. A run is over when its tokens are on the host.

`generate_batch` runs as it comes: its cache is sized by the free memory and its inputs by that
cache, in every call, and so are a GPU's graphs captured, if it takes any. "fitted" gives it a cache
of the size this workload needs, and all prompts in one batch, and keeps both, and what was
captured, from the call before. "compiled" is what `generate` does with a static cache on a GPU. One
that fails says so.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
)
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine.build import build_executor
from lpbench.executors.torch_engine.device import (
    DTYPES,
    give_back,
    keep_freed_memory,
    pick_device,
)
from lpbench.executors.torch_engine.fused_layers import Capacity
from lpbench.executors.torch_engine.peaks import measure_gpu_peaks, measure_peaks
from lpbench.plan.request import Request, pages_for
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape, read_config
from lpbench.shape.precision import PRECISIONS

FAMILY = "qwen3-30b-a3b"
BLOCK = 256
"""Tokens of a block of `generate_batch`'s cache."""

MOST_SECONDS = 240
"""Of a process: one that compiles may take minutes, one that hangs must not take all."""

Tokens = list[list[int]]
Contender = Callable[[argparse.Namespace, Tokens], Callable[[], Tokens]]
"""From the options and the prompts' token ids to a run that returns the generated tokens."""


def main() -> None:
    """Time all contenders and print medians, ratios, and the share of the bound."""
    options = read_options()
    torch.set_grad_enabled(False)
    if options.contender:
        time_one(options)
        return
    started, longest = time.monotonic(), 0.0
    times: dict[str, list[float]] = {name: [] for name in contenders(options.device)}
    tokens: dict[str, Tokens] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_model(options, Path(folder))
        for nth in range(options.repeats):
            begun = time.monotonic()
            if begun + longest - started > options.budget:
                break
            for name, found in [*times.items()]:
                told = run_one(name, folder)
                if told is None:
                    del times[name]  # it would fail again
                    continue
                sys.stderr.write(f"round {nth + 1}, {name}: {told[0]:.3f} s\n")
                found.append(told[0])
                tokens[name] = told[1]
            longest = max(longest, time.monotonic() - begun)
    report(options, times, tokens)


def read_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", type=pick_device, default=pick_device("cpu"))
    parser.add_argument("--kernels", choices=("torch", "triton"), default="torch", help="ours")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--model", help="a Qwen3-MoE of the catalogue; else the small one")
    parser.add_argument("--layers", type=int, help="else the model's")
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of each request")
    parser.add_argument("--output", type=int, default=32, help="tokens of each request")
    parser.add_argument("--repeats", type=int, default=3, help="rounds at most")
    parser.add_argument(
        "--budget",
        type=float,
        default=float("inf"),
        help="seconds; no round begins that needs more",
    )
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_one(name: str, folder: str) -> tuple[float, Tokens] | None:
    """Return a contender's seconds and tokens, from a process of its own; None where it failed."""
    try:
        out = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--contender", name, "--folder", folder],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=MOST_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    seconds, tokens = json.loads(out.stdout.splitlines()[-1])
    return seconds, tokens


def time_one(options: argparse.Namespace) -> None:
    """Print the seconds of a contender's second run, and its tokens, as JSON."""
    vocabulary = model_shape(options).vocab_size
    ids = torch.randint(
        vocabulary,
        (options.requests, options.prompt),
        generator=torch.Generator().manual_seed(0),
    ).tolist()
    run = contenders(options.device)[options.contender](options, ids)
    run()
    start = time.perf_counter()
    tokens = run()
    seconds = time.perf_counter() - start
    assert [options.output] * options.requests == [len(one) for one in tokens], "tokens are missing"
    sys.stdout.write("\n" + json.dumps([seconds, tokens]) + "\n")


def model_shape(options: argparse.Namespace) -> ModelShape:
    """Return the geometry that was asked for."""
    shape, _ = find_shape(options.model or FAMILY)
    if options.model is None:
        shape = replace(
            shape,
            num_layers=8,
            windows=(0,) * 8,
            hidden_size=512,
            num_heads=8,
            num_kv_heads=2,
            head_dim=64,
            num_experts=64,
            expert_size=256,
            vocab_size=4096,
        )
    assert shape.family == "qwen3_moe", "the checkpoint that is written is a Qwen3-MoE's"
    layers = options.layers or shape.num_layers
    return replace(shape, num_layers=layers, windows=(0,) * layers)


def save_model(options: argparse.Namespace, folder: Path) -> None:
    """Write the checkpoint that all contenders load."""
    shape = model_shape(options)
    config = Qwen3MoeConfig(
        num_hidden_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        num_experts=shape.num_experts,
        num_experts_per_tok=shape.top_k,
        moe_intermediate_size=shape.expert_size,
        vocab_size=shape.vocab_size,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        norm_topk_prob=shape.norm_topk,
        max_position_embeddings=options.prompt + options.output,
    )
    torch.manual_seed(0)
    with options.device:
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[options.dtype])
    model.save_pretrained(folder)
    del model
    give_back(options.device)


def ours(schedule: str, options: argparse.Namespace, ids: Tokens) -> Callable[[], Tokens]:
    """Return a run of our engine."""
    shape = ModelShape.from_config(read_config(options.folder), name="benchmark")
    requests = [
        Request(index=at, prompt_tokens=options.prompt, output_tokens=options.output)
        for at in range(options.requests)
    ]
    policy, rows = parse_schedule(schedule), options.requests * options.prompt
    pages = sum(pages_for(one.kv_tokens) for one in requests)
    executor = build_executor(
        shape,
        folder=options.folder,
        precision=PRECISIONS[options.dtype],
        device=options.device,
        seed=0,
        requests=requests,
        ids=dict(enumerate(ids)),
        draws=None,
        layers=options.kernels,
        capacity=Capacity(
            num_kv_pages=pages,
            max_num_seqs=options.requests,
            most_rows=min(policy.prefill_budget(0), rows) + options.requests,
        ),
    )

    def run() -> Tokens:
        executor.start_arm(None)
        tokens: Tokens = [[] for _ in requests]
        for step in run_arm(
            parse_schedule(schedule),
            requests,
            executor,
            num_layers=shape.num_layers,
            limits=Limits(num_kv_pages=pages, max_num_seqs=options.requests),
        ):
            for request, token in step.execution.tokens.items():
                tokens[request].append(token)
        return tokens

    return run


def transformers_model(options: argparse.Namespace) -> PreTrainedModel:
    """Return the model with the fastest attention and experts that need no further package."""
    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype=DTYPES[options.dtype])
    model.set_attn_implementation("sdpa")
    model.set_experts_implementation("grouped_mm")
    return model.eval().to(options.device)


def continuous(options: argparse.Namespace, ids: Tokens, *, fitted: bool) -> Callable[[], Tokens]:
    """Return a run of transformers' continuous batching, paged sdpa, grouped_mm experts."""
    model = transformers_model(options)
    generation = GenerationConfig(
        max_new_tokens=options.output, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    config = ContinuousBatchingConfig()
    if fitted:
        blocks = -(-(options.prompt + options.output) // BLOCK)
        config = ContinuousBatchingConfig(
            num_blocks=2 * options.requests * blocks,
            max_batch_tokens=options.requests * options.prompt,
            allow_block_sharing=False,  # the second run would find the first one's prompts
        )

    def run() -> Tokens:
        model.set_attn_implementation("sdpa")  # generate_batch leaves its paged variant behind
        found = model.generate_batch(
            inputs=ids,
            generation_config=generation,
            continuous_batching_config=replace(config),  # it is filled in by the run
            persistent_manager=fitted,
        )
        return [list(one.generated_tokens) for one in found.values()]

    return run


def padded(
    options: argparse.Namespace, ids: Tokens, *, cache: str | None = None
) -> Callable[[], Tokens]:
    """Return a run of transformers' padded generate; the prompts are equally long."""
    model = transformers_model(options)
    generation = GenerationConfig(
        max_new_tokens=options.output,
        min_new_tokens=options.output,
        do_sample=False,
        pad_token_id=0,
        cache_implementation=cache,
    )

    def run() -> Tokens:
        prompts = torch.tensor(ids, device=options.device)
        out = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), generation_config=generation
        )
        found: Tokens = out[:, options.prompt :].tolist()
        return found

    return run


def with_memory_kept(
    contender: Contender, options: argparse.Namespace, ids: Tokens
) -> Callable[[], Tokens]:
    """Return the contender's run under the engine's setting of the allocator."""
    keep_freed_memory()
    return contender(options, ids)


def contenders(device: torch.device) -> Mapping[str, Contender]:
    """Return who is compared on a device."""
    fitted = partial(continuous, fitted=True)
    found: dict[str, Contender] = {
        "lpbench chunked 512": partial(ours, "chunked:max_num_batched_tokens=512"),
        "lpbench whole": partial(ours, "whole"),
        "generate_batch": partial(continuous, fitted=False),
        "generate_batch, fitted": fitted,
        "padded generate": padded,
    }
    if device.type == "cuda":
        return found | {"padded generate, compiled": partial(padded, cache="static")}
    return found | {
        "generate_batch, fitted, memory kept": partial(with_memory_kept, fitted),
        "padded generate, memory kept": partial(with_memory_kept, padded),
    }


def report(
    options: argparse.Namespace, times: Mapping[str, list[float]], tokens: Mapping[str, Tokens]
) -> None:
    """Print the medians and what they are of the bound and of each other."""
    bound = bound_seconds(options)
    reference = tokens.get("padded generate")
    mine = {name: statistics.median(each) for name, each in times.items()}
    for name in contenders(options.device):
        if name not in mine:
            sys.stdout.write(f"{name:35} failed\n")
            continue
        seconds, each = mine[name], times[name]
        line = (
            f"{name:35} {seconds:7.3f} s, {min(each):.3f} to {max(each):.3f} in {len(each)}, "
            f"{bound / seconds:5.1%} of the bound"
        )
        if reference is not None and options.dtype == "float32":
            same = sum(a == b for a, b in zip(tokens[name], reference, strict=True))
            line += f", {same} of {options.requests} token lists equal padded generate's"
        sys.stdout.write(line + "\n")
    for name, seconds in mine.items():
        for other, base_seconds in mine.items():
            if name.startswith("lpbench") and not other.startswith("lpbench"):
                sys.stdout.write(f"{name} is {base_seconds / seconds:.2f}x as fast as {other}\n")


def bound_seconds(options: argparse.Namespace) -> float:
    """Return max(FLOPs / rate, bytes / bandwidth) of prefill plus decode, rates measured here."""
    rate, bandwidth = measured_rates(options)
    shape, requests = model_shape(options), options.requests
    hidden, experts = shape.hidden_size, shape.num_experts
    queries, keys = (heads * shape.head_dim for heads in (shape.num_heads, shape.num_kv_heads))
    dense = hidden * (2 * queries + 2 * keys)
    expert = 3 * hidden * shape.expert_size
    pairs = requests * options.prompt**2 / 2
    prefill = shape.num_layers * (
        requests * options.prompt * 2 * (dense + shape.top_k * expert) + pairs * 4 * queries
    )
    touched = experts * (1 - (1 - shape.top_k / experts) ** requests)
    read = requests * (options.prompt + options.output / 2) * 2 * keys
    step = shape.num_layers * (dense + touched * expert + read) + hidden * shape.vocab_size
    size = PRECISIONS[options.dtype].value_bytes
    work, weights = prefill / rate, (options.output - 1) * size * step / bandwidth
    bound: float = work + weights
    sys.stdout.write(
        f"bound {bound:.3f} s: prefill {work:.3f} s at {rate / 1e9:.0f} GFLOP/s, decode "
        f"{weights:.3f} s at {bandwidth / 1e9:.0f} GB/s, both measured here\n"
    )
    return bound


def measured_rates(options: argparse.Namespace) -> tuple[float, float]:
    """Return this device's matmul rate in FLOP/s and memory bandwidth in B/s, best of several."""
    if options.device.type == "cuda":
        gpu = measure_gpu_peaks(str(options.device))
        return gpu.flops[options.dtype], gpu.copy
    cpu = measure_peaks()
    return cpu.flops[options.dtype], cpu.read


if __name__ == "__main__":
    main()
