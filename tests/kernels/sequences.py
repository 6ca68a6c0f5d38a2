"""Keys and values of sequences in shuffled pages, and attention to them by the definition."""

import math
from dataclasses import dataclass, replace

import torch

from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from tests.kernels.tiny import QWEN

PAGE_TOKENS = 16
SEAT_PAGES = 8
"""Columns of the page tables: up to 128 keys."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What attention needs to know of a model."""

    group: int
    kv_heads: int = 2
    head_dim: int = 16

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.group * self.kv_heads

    @property
    def width(self) -> int:
        """Of a row of queries, keys and values."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    def reference(self) -> ReferenceKernels:
        """Return the oracle for these heads."""
        shape = replace(
            QWEN, num_heads=self.heads, num_kv_heads=self.kv_heads, head_dim=self.head_dim
        )
        return ReferenceKernels(shape)

    def draw(
        self, rows: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float32
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return random rows, keys and values of which must not be read, and sinks."""
        qkv = torch.randn(rows, self.width, generator=generator)
        qkv[:, self.heads * self.head_dim :] = math.nan
        return qkv.to(dtype), torch.randn(self.heads, generator=generator).to(dtype)


def fill_pages(
    heads: Heads,
    lengths: list[int],
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
) -> Pages:
    """Return random keys and values of sequences, one a seat; everywhere else stands no number.

    The pages are dealt out at random, and the tables name a page of no numbers behind the ends.
    """
    needed = [-(-length // PAGE_TOKENS) for length in lengths]
    number = sum(needed) + 1
    pools = torch.full((2, number, heads.kv_heads, PAGE_TOKENS, heads.head_dim), math.nan)
    spare, *free = torch.randperm(number, generator=generator).tolist()
    tables = torch.full((len(lengths), SEAT_PAGES), spare, dtype=torch.int32)
    for seat, (length, count) in enumerate(zip(lengths, needed, strict=True)):
        for column in range(count):
            page = tables[seat, column] = free.pop()
            held = min(PAGE_TOKENS, length - column * PAGE_TOKENS)
            pools[:, page, :, :held] = torch.randn(
                2, heads.kv_heads, held, heads.head_dim, generator=generator
            )
    keys, values = pools.to(dtype)
    return Pages(keys=keys, values=values, tables=tables)


def attend_to(
    heads: Heads,
    query: torch.Tensor,
    pages: Pages,
    *,
    seat: int,
    position: int,
    window: int,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Return attention [heads * head_dim] of one row at `position`, number by number."""
    results = []
    first = max(0, position + 1 - window) if window else 0
    for head in range(heads.heads):
        row = query[head * heads.head_dim : (head + 1) * heads.head_dim].tolist()
        total = math.exp(sinks[head].item()) if sinks is not None else 0.0
        result = [0.0] * heads.head_dim
        for at in range(first, position + 1):
            page = int(pages.tables[seat, at // PAGE_TOKENS])
            where = (page, head // heads.group, at % PAGE_TOKENS)
            key, value = pages.keys[where].tolist(), pages.values[where].tolist()
            logit = sum(q * k for q, k in zip(row, key, strict=True)) / math.sqrt(heads.head_dim)
            total += math.exp(logit)
            result = [r + math.exp(logit) * v for r, v in zip(result, value, strict=True)]
        results += [r / total for r in result]
    return torch.tensor(results)
