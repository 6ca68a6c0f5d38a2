"""Grouped matmul: rows sorted by group, each group through a matrix of its own.

Owns: the choice between torch's grouped_mm and, in float32 on a CPU, MKL's batched matmul.
Must not know: experts, layers.

torch's CPU build has no fast path for float32: it calls one matmul per group, each with both
threads. MKL's batch, which that build carries but torch does not expose for matrices of uneven
size, gives each thread groups of its own: one thread waits for a group's weights while another
computes (tests/benchmarks/grouped.py).
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.typing import NDArray

_ROW_MAJOR, _AS_IT_IS = 101, 111
"""What CBLAS calls the order of values, and an operand that is not transposed."""


def grouped_mm(rows: torch.Tensor, matrices: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return every row times its group's matrix.

    Args:
        rows: [rows, in], the first group's first; each row contiguous.
        matrices: [groups, in, out], contiguous.
        counts: int64 [groups], rows of each; they sum to all rows.

    Returns:
        [rows, out].
    """
    if _BATCH is None or rows.device.type != "cpu" or rows.dtype != torch.float32:
        return F.grouped_mm(rows, matrices, offs=counts.cumsum(0, dtype=torch.int32))
    out = rows.new_empty((len(rows), matrices.shape[2]))
    _batched_mm(_BATCH, rows, matrices, counts.numpy(), out)
    return out


def _find_batch() -> Callable[..., None] | None:
    """Return MKL's cblas_sgemm_batch out of torch's library; None where it carries none."""
    found: Callable[..., None] | None = None
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        found = library.cblas_sgemm_batch
    return found


_BATCH = _find_batch() if torch.backends.mkl.is_available() else None


def _batched_mm(
    batch: Callable[..., None],
    rows: torch.Tensor,
    matrices: torch.Tensor,
    counts: NDArray[np.int64],
    out: torch.Tensor,
) -> None:
    """Write the products of all groups that have rows to `out`, as one call: a batch of ones."""
    # MKL gets addresses alone: what it may read and write is held to here.
    assert rows.stride(1) == 1
    assert matrices.is_contiguous()
    assert (len(matrices), rows.shape[1]) == (len(counts), matrices.shape[1])
    assert counts.sum() == len(rows)
    groups = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[groups]
    inputs, outputs = matrices.shape[1:]

    def same(value: float, dtype: type[np.generic] = np.int32) -> NDArray[np.generic]:
        return np.full(len(groups), value, dtype)

    def addresses(tensor: torch.Tensor, index: NDArray[np.int64]) -> NDArray[np.generic]:
        return tensor.data_ptr() + index * (tensor.stride(0) * tensor.element_size())

    arrays = {
        "transpose_rows": same(_AS_IT_IS),
        "transpose_matrix": same(_AS_IT_IS),
        "m": counts[groups].astype(np.int32),
        "n": same(outputs),
        "k": same(inputs),
        "alpha": same(1, np.float32),
        "rows": addresses(rows, starts),
        "row_stride": same(rows.stride(0)),
        "matrices": addresses(matrices, groups),
        "matrix_stride": same(outputs),
        "beta": same(0, np.float32),
        "out": addresses(out, starts),
        "out_stride": same(outputs),
    }
    sizes = same(1)
    batch(
        _ROW_MAJOR,
        *(ctypes.c_void_p(array.ctypes.data) for array in arrays.values()),
        len(groups),
        ctypes.c_void_p(sizes.ctypes.data),
    )
