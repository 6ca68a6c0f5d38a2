"""Attention of whole prompts on a GPU: our kernel over pages against torch's dense ones.

    python -m tests.benchmarks.attention [--model NAME] [--tokens 512,2048,8192]

bfloat16, one layer without a window, one prompt. torch's kernels serve a whole prompt alone, not a
slice behind a prefix in pages: schedules that cut prompts by tokens could not run on them. So the
engine does not; this says what that costs.
"""

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch.nn.attention import SDPBackend, sdpa_kernel

from lpbench.executors.torch_engine.kernels.fused import query_rows
from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.plan.request import PAGE_TOKENS, pages_for
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
REPEATS = 20


class Prompt:
    """One prompt's queries, keys and values, in rows and in pages."""

    def __init__(self, shape: ModelShape, tokens: int, *, device: str, dtype: torch.dtype) -> None:
        """Draw them."""
        self._shape = shape
        heads = shape.num_heads + 2 * shape.num_kv_heads
        self._qkv = torch.randn(tokens, heads, shape.head_dim, device=device, dtype=dtype)
        pages = pages_for(tokens)
        pool = (2, pages * PAGE_TOKENS, shape.num_kv_heads, shape.head_dim)
        slots = torch.zeros(pool, device=device, dtype=dtype)
        slots[0, :tokens] = self._qkv[:, shape.num_heads : -shape.num_kv_heads]
        slots[1, :tokens] = self._qkv[:, -shape.num_kv_heads :]
        keys, values = slots.unflatten(1, (pages, PAGE_TOKENS)).transpose(2, 3).contiguous()
        tables = torch.arange(pages, device=device, dtype=torch.int32)[None]
        self._pages = Pages(keys=keys, values=values, tables=tables)
        firsts = torch.arange(0, tokens, query_rows(shape.num_heads // shape.num_kv_heads))
        counts = (tokens - firsts).clamp(max=query_rows(shape.num_heads // shape.num_kv_heads))
        blocks = torch.stack((firsts, counts, firsts, torch.zeros_like(firsts)), 1)
        self._blocks = blocks.int().to(device)

    def ours(self) -> torch.Tensor:
        """Return [tokens, heads * head_dim]."""
        from lpbench.executors.torch_engine.kernels.prefill import (
            attend_prompts,
        )

        rows = self._qkv.flatten(1)
        out = rows.new_empty(len(rows), self._shape.num_heads * self._shape.head_dim)
        attend_prompts(
            qkv=rows, pages=self._pages, blocks=self._blocks, window=0, sinks=None, out=out
        )
        return out

    def theirs(self) -> torch.Tensor:
        """Return the same, of whatever kernel torch may take."""
        counts = (self._shape.num_heads, *(self._shape.num_kv_heads,) * 2)
        query, key, value = (part.transpose(0, 1)[None] for part in self._qkv.split(counts, 1))
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return out[0].transpose(0, 1).flatten(1)


def milliseconds(work: Callable[[], object]) -> float:
    """Return the median by the device's own clock; the first three do not count."""
    found: list[float] = []
    for _ in range(3 + REPEATS):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        stop.synchronize()
        found.append(start.elapsed_time(stop))
    return statistics.median(found[3:])


def main() -> None:
    """Print both kernels' times and rates, and how far their results lie apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen3-30b-a3b")
    parser.add_argument("--tokens", default="512,2048,8192")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("needs a GPU: torch sees none")
    shape, _ = find_shape(chosen.model)
    for tokens in map(int, chosen.tokens.split(",")):
        prompt = Prompt(shape, tokens, device="cuda", dtype=torch.bfloat16)
        flops = 2 * tokens**2 * shape.num_heads * shape.head_dim  # half of them are masked
        ours = milliseconds(prompt.ours)
        sys.stdout.write(f"{tokens:6} tokens: {ours:8.3f} ms, {flops / ours / 1e9:5.0f} TFLOP/s\n")
        for name, backend in BACKENDS.items():
            with sdpa_kernel(backend):
                apart = (prompt.ours().float() - prompt.theirs().float()).abs().max().item()
                theirs = milliseconds(prompt.theirs)
            sys.stdout.write(
                f"{name:>13}: {theirs:8.3f} ms, {flops / theirs / 1e9:5.0f} TFLOP/s: "
                f"{theirs / ours:.2f}x; {apart:.4f} apart\n"
            )


if __name__ == "__main__":
    main()
