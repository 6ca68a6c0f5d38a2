"""The CPU engine against transformers on the same weights and requests, and against the bound.

8 requests of 512 tokens, 32 outputs each; Qwen3-MoE with 8 layers, hidden 512, 8 query and 2 KV
heads of 64, 64 experts of width 256, top-8, vocabulary 4096, float32. Median of three; every run is
a process of its own that runs twice and times the second, for the engine sets the C library's
allocator (`keep_freed_memory`) and transformers does not, and because the same code is up to 15 %
faster or slower in another process. What transformers would gain by the same setting is shown too.

`generate_batch` runs as it comes: its cache is sized by the free memory and its inputs by that
cache. "fitted" gives it a cache of the size this workload needs, and all prompts in one batch.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine.build import build_executor
from lpbench.executors.torch_engine.device import keep_freed_memory
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.model import ModelShape, read_config
from lpbench.shape.precision import PRECISIONS

REQUESTS, PROMPT, OUTPUT, REPEATS = 8, 512, 32, 3
LAYERS, HIDDEN, EXPERTS, TOP_K, WIDTH, VOCABULARY = 8, 512, 64, 8, 256, 4096

Tokens = list[list[int]]
Contender = Callable[[Path, Tokens], Callable[[], Tokens]]
"""From a checkpoint and the prompts' token ids to a run that returns the generated tokens."""


def main() -> None:
    """Time all contenders and print medians, ratios, and the share of the bound."""
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    tokens: dict[str, Tokens] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        for _ in range(REPEATS):
            for name, found in times.items():
                out = subprocess.run(
                    [sys.executable, __file__, name, folder],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                seconds, tokens[name] = json.loads(out.stdout.splitlines()[-1])
                found.append(seconds)
    report(times, tokens)


def time_one(name: str, folder: Path) -> None:
    """Print the seconds of a contender's second run, and its tokens, as JSON."""
    torch.set_grad_enabled(False)
    ids = torch.randint(
        VOCABULARY, (REQUESTS, PROMPT), generator=torch.Generator().manual_seed(0)
    ).tolist()
    run = CONTENDERS[name](folder, ids)
    run()
    start = time.perf_counter()
    tokens = run()
    seconds = time.perf_counter() - start
    sys.stdout.write("\n" + json.dumps([seconds, tokens]) + "\n")


def save_model(folder: Path) -> None:
    """Write the checkpoint that all contenders load."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        num_hidden_layers=LAYERS,
        hidden_size=HIDDEN,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        num_experts=EXPERTS,
        num_experts_per_tok=TOP_K,
        moe_intermediate_size=WIDTH,
        vocab_size=VOCABULARY,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        norm_topk_prob=True,
        max_position_embeddings=4096,
    )
    Qwen3MoeForCausalLM(config).save_pretrained(folder)


def ours(schedule: str, folder: Path, ids: Tokens) -> Callable[[], Tokens]:
    """Return a run of our engine."""
    shape = ModelShape.from_config(read_config(folder), name="benchmark")
    requests = [
        Request(index=at, prompt_tokens=PROMPT, output_tokens=OUTPUT) for at in range(REQUESTS)
    ]
    executor = build_executor(
        shape,
        folder=folder,
        precision=PRECISIONS["float32"],
        device=torch.device("cpu"),
        seed=0,
        requests=requests,
        ids=dict(enumerate(ids)),
        draws=None,
    )

    def run() -> Tokens:
        executor.start_arm(None)
        tokens: Tokens = [[] for _ in requests]
        for step in run_arm(
            parse_schedule(schedule),
            requests,
            executor,
            num_layers=shape.num_layers,
            limits=Limits(num_kv_pages=1 << 16, max_num_seqs=256),
        ):
            for request, token in step.execution.tokens.items():
                tokens[request].append(token)
        return tokens

    return run


def transformers_model(folder: Path) -> Qwen3MoeForCausalLM:
    """Return the model as transformers runs it fastest on a CPU."""
    model = Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.set_attn_implementation("sdpa")
    model.set_experts_implementation("grouped_mm")
    return model


def continuous(config: ContinuousBatchingConfig, folder: Path, ids: Tokens) -> Callable[[], Tokens]:
    """Return a run of transformers' continuous batching, paged sdpa, grouped_mm experts."""
    model = transformers_model(folder)
    generation = GenerationConfig(
        max_new_tokens=OUTPUT, do_sample=False, eos_token_id=-1, pad_token_id=0
    )

    def run() -> Tokens:
        model.set_attn_implementation("sdpa")  # generate_batch leaves its paged variant behind
        found = model.generate_batch(
            inputs=ids,
            generation_config=generation,
            continuous_batching_config=replace(config),  # it is filled in by the run
        )
        return [list(one.generated_tokens) for one in found.values()]

    return run


def padded(folder: Path, ids: Tokens) -> Callable[[], Tokens]:
    """Return a run of transformers' padded generate; the prompts are equally long."""
    model = transformers_model(folder)
    generation = GenerationConfig(
        max_new_tokens=OUTPUT, min_new_tokens=OUTPUT, do_sample=False, pad_token_id=0
    )

    def run() -> Tokens:
        out = model.generate(
            torch.tensor(ids),
            attention_mask=torch.ones(REQUESTS, PROMPT, dtype=torch.long),
            generation_config=generation,
        )
        found: Tokens = out[:, PROMPT:].tolist()
        return found

    return run


def with_memory_kept(contender: Contender, folder: Path, ids: Tokens) -> Callable[[], Tokens]:
    """Return the contender's run under the engine's setting of the allocator."""
    keep_freed_memory()
    return contender(folder, ids)


as_it_comes = partial(continuous, ContinuousBatchingConfig())
fitted = partial(
    continuous, ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=REQUESTS * PROMPT)
)

CONTENDERS: dict[str, Contender] = {
    "lpbench chunked 512": partial(ours, "chunked:max_num_batched_tokens=512"),
    "lpbench whole": partial(ours, "whole"),
    "generate_batch": as_it_comes,
    "generate_batch, fitted": fitted,
    "padded generate": padded,
    "generate_batch, fitted, memory kept": partial(with_memory_kept, fitted),
    "padded generate, memory kept": partial(with_memory_kept, padded),
}


def report(times: dict[str, list[float]], tokens: dict[str, Tokens]) -> None:
    """Print the medians and what they are of the bound and of each other."""
    bound = bound_seconds()
    reference = tokens["padded generate"]
    mine = {name: statistics.median(each) for name, each in times.items()}
    for name, seconds in mine.items():
        same = sum(a == b for a, b in zip(sorted(tokens[name]), sorted(reference), strict=True))
        sys.stdout.write(
            f"{name:35} {seconds:6.2f} s  {bound / seconds:5.1%} of the bound  "
            f"{same} of {REQUESTS} token lists equal padded generate's\n"
        )
    for name, seconds in mine.items():
        for other, base_seconds in mine.items():
            if name.startswith("lpbench") and not other.startswith("lpbench"):
                sys.stdout.write(f"{name} is {base_seconds / seconds:.2f}x as fast as {other}\n")


def bound_seconds() -> float:
    """Return max(FLOPs / rate, bytes / bandwidth) of prefill plus decode, rates measured here."""
    rate, bandwidth = measured_rates()
    layer = 2 * HIDDEN * (8 + 2 * 2) * 64 + 2 * 8 * 64 * HIDDEN + TOP_K * 6 * HIDDEN * WIDTH
    attention = LAYERS * REQUESTS * 2 * 2 * 8 * 64 * PROMPT * PROMPT / 2
    prefill = (REQUESTS * PROMPT * LAYERS * layer + attention) / rate
    touched = EXPERTS * (1 - (1 - TOP_K / EXPERTS) ** REQUESTS)
    weights = LAYERS * (touched * 3 * HIDDEN * WIDTH + HIDDEN * 64 * 20) + HIDDEN * VOCABULARY
    keys = LAYERS * REQUESTS * (PROMPT + OUTPUT / 2) * 2 * 2 * 64
    decode = (OUTPUT - 1) * 4 * (weights + keys) / bandwidth
    sys.stdout.write(
        f"bound {prefill + decode:.2f} s: prefill {prefill:.2f} s at {rate / 1e9:.0f} GFLOP/s, "
        f"decode {decode:.2f} s at {bandwidth / 1e9:.0f} GB/s read, both measured here\n"
    )
    return prefill + decode


def measured_rates() -> tuple[float, float]:
    """Return this machine's matmul rate in FLOP/s and read bandwidth in B/s, best of five."""
    square, big = torch.randn(2048, 2048), torch.randn(1 << 26)
    flops = min(timed(lambda: square @ square) for _ in range(5))
    reading = min(timed(big.sum) for _ in range(5))
    return 2 * 2048**3 / flops, big.numel() * 4 / reading


def timed(work: Callable[[], object]) -> float:
    """Return the seconds `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    if len(sys.argv) > 1:
        time_one(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
