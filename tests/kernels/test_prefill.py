from typing import Any

import pytest
import torch

from lpbench.executors.torch_engine.kernels.chip import AMPERE, HOPPER
from lpbench.executors.torch_engine.kernels.fused import query_rows
from lpbench.executors.torch_engine.kernels.prefill import attend_prompts
from tests.kernels.sequences import Heads, attend_to, fill_pages

PROMPTS = [(0, 17), (0, 1), (33, 20), (90, 10), (0, 40)]
"""Where the rows of each begin, and how many they are: the third and fourth have a prefix."""

UNTOUCHED = 7.0
"""What the output holds before."""

ROWS = 2
"""Rows before the prompts, as decodes are, and behind them, as padding is."""


def block_table(prompts: list[tuple[int, int]], *, rows: int) -> torch.Tensor:
    """Return the blocks of prompts that stand one behind the other, and two of nothing."""
    blocks, first = [], ROWS
    for seat, (position, count) in enumerate(prompts):
        blocks += [
            (first + at, min(rows, count - at), position + at, seat) for at in range(0, count, rows)
        ]
        first += count
    return torch.tensor([*blocks, (0, 0, 0, 0), (0, 0, 0, 0)], dtype=torch.int32)


def attend(
    heads: Heads,
    prompts: list[tuple[int, int]],
    *,
    window: int = 0,
    with_sinks: bool = False,
    rows: int | None = None,
    dtype: torch.dtype = torch.float32,
    major: int = HOPPER,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the reference's output and the kernel's."""
    generator = torch.Generator().manual_seed(len(prompts))
    lengths = [position + count for position, count in prompts]
    pages = fill_pages(heads, lengths, generator, dtype=dtype)
    number = sum(count for _, count in prompts) + 2 * ROWS
    qkv, sinks = heads.draw(number, generator, dtype=dtype)
    outs = torch.full((2, number, heads.heads * heads.head_dim), UNTOUCHED, dtype=dtype)
    keywords: dict[str, Any] = {
        "blocks": block_table(prompts, rows=rows or query_rows(heads.group)),
        "window": window,
        "sinks": sinks if with_sinks else None,
    }
    heads.reference().attend_prompts(qkv, pages, **keywords, out=outs[0])
    attend_prompts(qkv=qkv, pages=pages, **keywords, out=outs[1], major=major)
    return outs[0], outs[1]


@pytest.mark.parametrize("with_sinks", [False, True], ids=["plain", "sinks"])
@pytest.mark.parametrize("window", [0, 8, 40])
@pytest.mark.parametrize(
    "heads", [Heads(1), Heads(3, head_dim=32), Heads(6, kv_heads=1), Heads(8, head_dim=32)], ids=str
)
def test_rows_attend_to_the_keys_up_to_their_own(
    heads: Heads, window: int, *, with_sinks: bool
) -> None:
    """Any group, window and sinks, with and without a prefix: what the reference gives."""
    expected, out = attend(heads, PROMPTS, window=window, with_sinks=with_sinks)
    torch.testing.assert_close(expected, out)


def test_rows_of_no_block_stay_as_they_are() -> None:
    """Rows before and behind the prompts are untouched, as are those of blocks of nothing."""
    _, out = attend(Heads(2), [(0, 5), (3, 2)])
    assert [0, 1, 9, 10] == (out == UNTOUCHED).all(1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("rows", [1, 5, 16])
def test_blocks_may_be_smaller(rows: int) -> None:
    """Fewer rows a block than there may be give the same."""
    expected, out = attend(Heads(4), [(0, 17), (30, 18)], rows=rows, with_sinks=True)
    torch.testing.assert_close(expected, out)


@pytest.mark.parametrize("major", [AMPERE, HOPPER])
@pytest.mark.parametrize("window", [0, 17])
def test_half_precision_is_rounded_where_it_is_stored(window: int, major: int) -> None:
    """Two bytes an element, so in larger tiles: as near to the reference as it is rounded."""
    expected, out = attend(
        Heads(8),
        [(0, 16), (100, 28)],
        window=window,
        with_sinks=True,
        dtype=torch.float16,
        major=major,
    )
    torch.testing.assert_close(expected, out, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("window", [0, 18])
def test_attention_is_the_softmax_over_keys_and_sink(window: int) -> None:
    """Six rows behind a prefix of 17 keys, with sinks, number by number."""
    heads, generator = Heads(2), torch.Generator().manual_seed(window)
    pages = fill_pages(heads, [23], generator)
    qkv, sinks = heads.draw(6, generator)
    out = torch.empty(6, heads.heads * heads.head_dim)
    attend_prompts(
        qkv=qkv,
        pages=pages,
        blocks=torch.tensor([[0, 6, 17, 0]], dtype=torch.int32),
        window=window,
        sinks=sinks,
        out=out,
    )
    expected = [
        attend_to(heads, qkv[row], pages, seat=0, position=17 + row, window=window, sinks=sinks)
        for row in range(6)
    ]
    torch.testing.assert_close(torch.stack(expected), out)


def test_a_chunked_prompt_gets_what_a_whole_one_gets() -> None:
    """Chunks see the pages of those before: every row's result is that of one block table."""
    heads, generator = Heads(3), torch.Generator().manual_seed(0)
    pages = fill_pages(heads, [50], generator)
    qkv, _ = heads.draw(50, generator)
    outs = []
    for chunk in (50, 20):
        outs.append(torch.empty(50, heads.heads * heads.head_dim))
        for start in range(0, 50, chunk):
            end = min(50, start + chunk)
            table = [
                (row, min(query_rows(3), end - row), row, 0)
                for row in range(start, end, query_rows(3))
            ]
            attend_prompts(
                qkv=qkv,
                pages=pages,
                blocks=torch.tensor(table, dtype=torch.int32),
                window=0,
                sinks=None,
                out=outs[-1],
            )
    torch.testing.assert_close(outs[0], outs[1])


def test_no_blocks_are_no_work() -> None:
    """A pass without prompts launches nothing."""
    heads, generator = Heads(2), torch.Generator()
    qkv, _ = heads.draw(1, generator)
    attend_prompts(
        qkv=qkv,
        pages=fill_pages(heads, [], generator),
        blocks=torch.empty(0, 4, dtype=torch.int32),
        window=0,
        sinks=None,
        out=torch.empty(1, heads.heads * heads.head_dim),
    )


@pytest.mark.parametrize(
    ("expected", "group"),
    [(128, 1), (64, 2), (32, 3), (32, 4), (16, 6), (16, 8), (8, 16), (1, 200)],
)
def test_rows_times_heads_fill_a_tile(expected: int, group: int) -> None:
    """The more query heads share keys, the fewer rows a block has."""
    assert expected == query_rows(group)
