"""The CPU engine against transformers on the same weights and requests, and against the bound.

8 requests of 512 tokens, 32 outputs each; Qwen3-MoE with 8 layers, hidden 512, 8 query and 2 KV
heads of 64, 64 experts of width 256, top-8, vocabulary 4096, float32. Each contender is warmed up;
median of three, interleaved.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.torch_engine.build import build_executor
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.model import ModelShape, read_config

REQUESTS, PROMPT, OUTPUT, REPEATS = 8, 512, 32, 3
LAYERS, HIDDEN, EXPERTS, TOP_K, WIDTH, VOCABULARY = 8, 512, 64, 8, 256, 4096


def main() -> None:
    """Time all contenders and print medians, ratios, and the share of the bound."""
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
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
    model = Qwen3MoeForCausalLM(config).eval()
    ids = torch.randint(0, VOCABULARY, (REQUESTS, PROMPT)).tolist()
    contenders = {
        "lpbench chunked 512": ours(model, ids, "chunked:max_num_batched_tokens=512"),
        "lpbench whole": ours(model, ids, "whole"),
        "transformers generate_batch": continuous(model, ids),
        "transformers padded generate": padded(model, ids),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    tokens = {name: run() for name, run in contenders.items()}
    for _ in range(REPEATS):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    report(times, tokens)


def ours(
    model: Qwen3MoeForCausalLM, ids: list[list[int]], schedule: str
) -> Callable[[], list[list[int]]]:
    """Return a run of our engine on the model's weights, read from a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        shape = ModelShape.from_config(read_config(Path(folder)), name="benchmark")
        requests = [
            Request(index=at, prompt_tokens=PROMPT, output_tokens=OUTPUT) for at in range(REQUESTS)
        ]
        executor = build_executor(
            shape,
            folder=Path(folder),
            dtype="float32",
            device=torch.device("cpu"),
            seed=0,
            requests=requests,
            ids=dict(enumerate(ids)),
            draws=None,
        )

    def run() -> list[list[int]]:
        executor.start_arm(None)
        tokens: list[list[int]] = [[] for _ in requests]
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


def continuous(model: Qwen3MoeForCausalLM, ids: list[list[int]]) -> Callable[[], list[list[int]]]:
    """Return a run of transformers' continuous batching, paged sdpa, grouped_mm experts."""
    generation = GenerationConfig(
        max_new_tokens=OUTPUT, do_sample=False, eos_token_id=-1, pad_token_id=0
    )

    def run() -> list[list[int]]:
        model.set_attn_implementation("sdpa")
        model.set_experts_implementation("grouped_mm")
        found = model.generate_batch(
            inputs=ids,
            generation_config=generation,
            continuous_batching_config=ContinuousBatchingConfig(
                num_blocks=64, max_batch_tokens=REQUESTS * PROMPT
            ),
        )
        return [list(one.generated_tokens) for one in found.values()]

    return run


def padded(model: Qwen3MoeForCausalLM, ids: list[list[int]]) -> Callable[[], list[list[int]]]:
    """Return a run of transformers' padded generate; the prompts are equally long."""
    generation = GenerationConfig(
        max_new_tokens=OUTPUT, min_new_tokens=OUTPUT, do_sample=False, pad_token_id=0
    )

    def run() -> list[list[int]]:
        model.set_attn_implementation("sdpa")
        model.set_experts_implementation("grouped_mm")
        out = model.generate(
            torch.tensor(ids),
            attention_mask=torch.ones(REQUESTS, PROMPT, dtype=torch.long),
            generation_config=generation,
        )
        found: list[list[int]] = out[:, PROMPT:].tolist()
        return found

    return run


def report(times: dict[str, list[float]], tokens: dict[str, list[list[int]]]) -> None:
    """Print the medians and what they are of the bound and of each other."""
    bound = bound_seconds()
    base = tokens["transformers padded generate"]
    mine = {name: statistics.median(each) for name, each in times.items()}
    for name, seconds in mine.items():
        same = sum(a == b for a, b in zip(sorted(tokens[name]), sorted(base), strict=True))
        sys.stdout.write(
            f"{name:30} {seconds:6.2f} s  {bound / seconds:5.1%} of the bound  "
            f"{same} of {REQUESTS} token lists equal padded generate's\n"
        )
    for name in ("lpbench chunked 512", "lpbench whole"):
        for other in ("transformers generate_batch", "transformers padded generate"):
            sys.stdout.write(f"{name} is {mine[other] / mine[name]:.2f}x as fast as {other}\n")


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
    main()
