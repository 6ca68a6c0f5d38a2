"""(row, expert) pairs in blocks of one expert each: what the experts' kernels run over.

Owns: the buffers and their sizes, which follow from shapes alone.
Must not know: how pairs are put there.
"""

from dataclasses import dataclass

import torch


def most_blocks(*, pairs: int, num_experts: int, block: int) -> int:
    """Return the most blocks that pairs can come to: every expert's last one may be part full."""
    return pairs // block + min(num_experts, pairs)


@dataclass(frozen=True, slots=True)
class ExpertBlocks:
    """Pairs grouped by expert, each expert's in ascending order, padded to whole blocks.

    A pair is row * top_k + place. Only the first `count` blocks hold pairs: the experts that are
    touched, each in as few blocks as hold its pairs.

    Attributes:
        pairs: int32 [blocks * block]; `total` where there is none.
        experts: int32 [blocks], whose each block is.
        count: int32 [1], blocks that hold pairs.
        block: pairs of a block.
        total: rows * top_k, those of padding included.
    """

    pairs: torch.Tensor
    experts: torch.Tensor
    count: torch.Tensor
    block: int
    total: int

    @classmethod
    def empty(cls, ids: torch.Tensor, *, num_experts: int, block: int) -> "ExpertBlocks":
        """Return buffers for the pairs of ids [rows, top_k]; nothing is set."""
        most = most_blocks(pairs=ids.numel(), num_experts=num_experts, block=block)
        return cls(
            pairs=ids.new_empty(most * block),
            experts=ids.new_empty(most),
            count=ids.new_empty(1),
            block=block,
            total=ids.numel(),
        )
