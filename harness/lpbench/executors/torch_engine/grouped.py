"""Grouped matmul: rows sorted by group, each group through a matrix of its own.

Owns: the kernels that do it, by name.
Must not know: experts, layers, which kernel a run gets.

torch's grouped_mm is the one to have in bfloat16 on Hopper and Blackwell GPUs, where one kernel
reads the groups' ends on the device; it takes matrices [in, out] as they are kept here, for either
side of a matrix may be the contiguous one (aten/src/ATen/native/cuda/GroupMM.cu).

torch's CPU build has no fast path for float32: it calls one matmul per group, each with both
threads. MKL's batch, which that build carries but torch does not expose for matrices of uneven
size, gives each thread groups of its own: one thread waits for a group's weights while another
computes (tests/benchmarks/grouped.py).
"""

import ctypes
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.typing import NDArray

TORCH, MKL, BLOCKS = "torch grouped_mm", "mkl sgemm batch", "torch bmm by blocks"

GroupedMm = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes rows [rows, in], the first group's first, each row contiguous; matrices [groups, in, out],
contiguous; ends int32 [groups], where each group's rows end, the last one's with all rows. Returns
every row times its group's matrix, [rows, out]."""

BLOCK_ROWS = 8
"""Rows of a block at least, where matrices are multiplied by blocks."""

BLOCK_BYTES = 1 << 28
"""Bytes of matrices that are copied for blocks at a time."""

_ROW_MAJOR, _AS_IT_IS = 101, 111
"""What CBLAS calls the order of values, and an operand that is not transposed."""


def mkl_is_there() -> bool:
    """Return whether torch carries MKL's batched matmul."""
    return _BATCH is not None


def _by_torch(rows: torch.Tensor, matrices: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    return F.grouped_mm(rows, matrices, offs=ends)


def _by_mkl(rows: torch.Tensor, matrices: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    assert _BATCH is not None, "torch carries no MKL"
    out = rows.new_empty((len(rows), matrices.shape[2]))
    _batched_mm(_BATCH, rows, matrices, np.diff(ends.numpy(), prepend=np.int32(0)), out)
    return out


def _by_blocks(rows: torch.Tensor, matrices: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Pad every group to whole blocks of one size, and multiply the blocks as a batch.

    Every size here follows from the operands' shapes, so that nobody reads the ends on the host.
    The price is a copy of its matrix for every block, for those too that turn out not to be needed:
    blocks have a mean group's rows, so that there are at most two for each group, and about twice
    the rows.
    """
    groups, inputs, outputs = matrices.shape
    size = max(BLOCK_ROWS, len(rows) // groups)
    most = len(rows) // size + min(groups, len(rows))
    ends = ends.long()
    counts = ends.diff(prepend=ends.new_zeros(1))
    blocks = (counts + (size - 1)) // size
    block_ends = blocks.cumsum(0)
    # A group's rows stay together, so each moves by what its group does.
    moves = (block_ends - blocks) * size - (ends - counts)
    row = torch.arange(len(rows), device=rows.device)
    places = row + moves.index_select(0, torch.searchsorted(ends, row, right=True))
    block = torch.arange(most, device=rows.device)
    owners = torch.searchsorted(block_ends, block, right=True).clamp_(max=groups - 1)
    padded = rows.new_zeros(most * size, inputs).index_copy_(0, places, rows)
    padded = padded.view(most, size, inputs)
    out = rows.new_empty(most, size, outputs)
    step = max(1, BLOCK_BYTES // (inputs * outputs * matrices.element_size()))
    for at in range(0, most, step):
        part = slice(at, at + step)
        torch.bmm(padded[part], matrices.index_select(0, owners[part]), out=out[part])
    return out.view(-1, outputs).index_select(0, places)


GROUPED_MM: Mapping[str, GroupedMm] = {TORCH: _by_torch, MKL: _by_mkl, BLOCKS: _by_blocks}


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
    counts: NDArray[np.int32],
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
