import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.executors.torch_engine import grouped
from lpbench.executors.torch_engine.grouped import grouped_mm

INPUTS, OUTPUTS = 24, 40


def one_by_one(rows: torch.Tensor, matrices: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Return the products group by group."""
    parts = zip(rows.split(counts), matrices, strict=True)
    return torch.cat([part @ matrix for part, matrix in parts])


def operands(counts: list[int], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows for these counts and a matrix for each group."""
    generator = torch.Generator().manual_seed(sum(counts))
    rows = torch.randn(sum(counts), INPUTS, generator=generator)
    matrices = torch.randn(len(counts), INPUTS, OUTPUTS, generator=generator)
    return rows.to(dtype), matrices.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=20))
def test_grouped_mm_is_a_matmul_per_group(dtype: torch.dtype, counts: list[int]) -> None:
    """Any counts, none among them: the same products, in either type's own way."""
    rows, matrices = operands(counts, dtype)
    torch.testing.assert_close(
        one_by_one(rows, matrices, counts), grouped_mm(rows, matrices, torch.tensor(counts))
    )


def test_grouped_mm_without_mkl_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch carries no MKL its own grouped matmul gives the same products."""
    counts = [3, 0, 17, 1, 64]
    rows, matrices = operands(counts, torch.float32)
    expected = grouped_mm(rows, matrices, torch.tensor(counts))
    monkeypatch.setattr(grouped, "_BATCH", None)
    torch.testing.assert_close(expected, grouped_mm(rows, matrices, torch.tensor(counts)))
