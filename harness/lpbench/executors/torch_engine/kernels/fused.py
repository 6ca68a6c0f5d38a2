"""What the layers of a pass are made of.

Owns: the seam between a layer and its kernels.
Must not know: requests, plans, graphs, how a kernel is launched.

Every operator writes to tensors it is given, takes contiguous tensors where nothing else is said,
and reads no value on the host. R rows, of which those from `count` on are padding, H hidden size,
Q query heads, K key-value heads, D head_dim, E experts, I expert size, k experts of a row.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.pages import Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What the router's kernel needs to know about the rows of one layer.

    Attributes:
        count: int32 [1], rows that are not padding.
        owners: int32 [R], whose bits of `touched` a row sets.
        touched: bool [owners, E], rows may lie apart; set where an expert is touched, never
            cleared.
        drawn: int16 [positions, k], rows may lie apart: experts to take instead of the router's
            own choice; None where it chooses.
        sources: int32 [R], each row's in `drawn`.
    """

    count: torch.Tensor
    owners: torch.Tensor
    touched: torch.Tensor
    drawn: torch.Tensor | None
    sources: torch.Tensor


class FusedKernels(Protocol):
    """The operators for one model shape."""

    def add_norm(
        self, hidden: torch.Tensor, parts: torch.Tensor | None, weight: torch.Tensor
    ) -> torch.Tensor:
        """Add `parts` to `hidden` in place, and return the RMSNorm of the sum.

        Args:
            hidden: [R, H]; the sum is taken in float32 and rounded once.
            parts: [R, n, H], of which all n are added; None for nothing.
            weight: [H].

        Returns:
            [R, H], the norm of the rounded sum; its mean square is taken in float32.
        """

    def linear(
        self, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Return rows [R, in] times weight [out, in], plus bias [out]: the vendor's matmul."""

    def add(self, hidden: torch.Tensor, parts: torch.Tensor) -> None:
        """Add `parts` [R, n, H] to `hidden` [R, H] in place, as `add_norm` does."""

    def place_heads(
        self,
        qkv: torch.Tensor,
        norms: tuple[torch.Tensor, torch.Tensor] | None,
        *,
        cos: torch.Tensor,
        sin: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        pages: Pages,
    ) -> None:
        """Norm and rotate queries and keys in place; write keys and values to their slots.

        Args:
            qkv: [R, (Q + 2K) * D], query heads, then key heads, then value heads.
            norms: weights [D] of the norms of query and key heads; None where there are none.
            cos: [positions, D], the halves alike.
            sin: [positions, D], the first half negated: a head (a, b) becomes
                (a cos - b sin, b cos + a sin).
            positions: int32 [R].
            slots: int32 [R]; a row whose slot is -1 is written nowhere.
            pages: where to.
        """

    def attend_decodes(
        self,
        qkv: torch.Tensor,
        pages: Pages,
        *,
        seats: torch.Tensor,
        lengths: torch.Tensor,
        window: int,
        sinks: torch.Tensor | None,
        out: torch.Tensor,
    ) -> None:
        """Let the first rows, one of a sequence each, attend to all its keys.

        Args:
            qkv: [R, (Q + 2K) * D], of which query heads are read.
            pages: keys and values, the rows' own among them.
            seats: int32 [decodes], each row's row of the page tables.
            lengths: int32 [decodes], keys of its sequence; a row with 0 is left alone.
            window: keys each query sees, itself included; 0 for all.
            sinks: [Q], a logit per head that takes probability and gives no value.
            out: [R, Q * D].
        """

    def attend_prompts(
        self,
        qkv: torch.Tensor,
        pages: Pages,
        *,
        blocks: torch.Tensor,
        window: int,
        sinks: torch.Tensor | None,
        out: torch.Tensor,
    ) -> None:
        """Let rows of prompts attend causally to the keys up to their own.

        Args:
            qkv: [R, (Q + 2K) * D], of which query heads are read.
            pages: keys and values, the rows' own among them.
            blocks: int32 [blocks, 4]: first row, number of rows (`query_rows` at most, 0 for a
                block of nothing), position of the first row, seat; a block's rows are one
                sequence's, at consecutive positions.
            window: as above.
            sinks: as above.
            out: [R, Q * D].
        """

    def route(self, logits: torch.Tensor, routing: Routing) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose each row's experts, and set their bits.

        Args:
            logits: [R, E].
            routing: what else there is to know.

        Returns:
            Expert ids int32 [R, k], E in rows of padding, and their weights float32 [R, k].
        """

    def align(self, ids: torch.Tensor) -> ExpertBlocks:
        """Return the pairs of ids int32 [R, k] in blocks, those of padding left out."""

    def gate_up(
        self,
        rows: torch.Tensor,
        matrices: torch.Tensor | Mxfp4,
        bias: torch.Tensor | None,
        blocks: ExpertBlocks,
    ) -> torch.Tensor:
        """Return the gated activation of every pair of the blocks.

        Args:
            rows: [R, H].
            matrices: [E, H, 2I], gate columns, then up columns, or these packed.
            bias: [E, 2I].
            blocks: the pairs.

        Returns:
            [blocks * block, I], in the order of `blocks.pairs`; undefined where there is no pair.
        """

    def down(
        self,
        inner: torch.Tensor,
        matrices: torch.Tensor | Mxfp4,
        bias: torch.Tensor | None,
        blocks: ExpertBlocks,
        share: torch.Tensor,
    ) -> torch.Tensor:
        """Return each row's experts' results times their weights, still apart.

        Args:
            inner: what `gate_up` returned.
            matrices: [E, I, H], or these packed.
            bias: [E, H].
            blocks: the pairs.
            share: float32 [R, k].

        Returns:
            [R, k, H]; undefined in rows of padding.
        """


TILE_ROWS = 128
"""Rows that share one read of the keys in attention of prompts."""


def query_rows(group: int) -> int:
    """Return the most rows of a block of prompt rows, for `group` query heads a key-value head.

    Rows times heads, these padded to a power of two, make the 128 rows of a tile that keep the
    tensor cores busy: 16 rows at the usual 8 heads, 128 where every head has its own keys.
    """
    return max(1, TILE_ROWS >> (group - 1).bit_length())
