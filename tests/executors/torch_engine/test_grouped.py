import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.executors.torch_engine import grouped
from lpbench.executors.torch_engine.grouped import BLOCKS, GROUPED_MM, MKL, TORCH

INPUTS, OUTPUTS = 24, 40
BOTH = (torch.float32, torch.bfloat16)
KERNELS = [(MKL, torch.float32), *((name, dtype) for name in (TORCH, BLOCKS) for dtype in BOTH)]

needs_mkl = pytest.mark.skipif(not grouped.mkl_is_there(), reason="torch carries no MKL")


def one_by_one(rows: torch.Tensor, matrices: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Return the products group by group."""
    parts = zip(rows.split(counts), matrices, strict=True)
    return torch.cat([part @ matrix for part, matrix in parts])


def operands(
    counts: list[int], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return rows for these counts, a matrix for each group, and the ends of the groups."""
    generator = torch.Generator().manual_seed(sum(counts))
    rows = torch.randn(sum(counts), INPUTS, generator=generator)
    matrices = torch.randn(len(counts), INPUTS, OUTPUTS, generator=generator)
    return rows.to(dtype), matrices.to(dtype), torch.tensor(counts).cumsum(0, dtype=torch.int32)


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        pytest.param(*one, marks=needs_mkl if one[0] == MKL else (), id=f"{one[0]} {one[1]}")
        for one in KERNELS
    ],
)
@settings(deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=20))
def test_a_grouped_matmul_is_a_matmul_per_group(
    kernel: str, dtype: torch.dtype, counts: list[int]
) -> None:
    """Any counts, none among them: every kernel gives the same products."""
    rows, matrices, ends = operands(counts, dtype)
    torch.testing.assert_close(
        one_by_one(rows, matrices, counts), GROUPED_MM[kernel](rows, matrices, ends)
    )


@pytest.mark.parametrize("matrices_at_a_time", [1, 3])
def test_blocks_in_several_batches_are_the_same(
    monkeypatch: pytest.MonkeyPatch, matrices_at_a_time: int
) -> None:
    """However few matrices may be copied at a time, the products are those of one batch."""
    counts = [3, 0, 17, 1, 64, 0]
    rows, matrices, ends = operands(counts, torch.float32)
    monkeypatch.setattr(grouped, "BLOCK_BYTES", matrices_at_a_time * INPUTS * OUTPUTS * 4)
    torch.testing.assert_close(
        one_by_one(rows, matrices, counts), GROUPED_MM[BLOCKS](rows, matrices, ends)
    )
