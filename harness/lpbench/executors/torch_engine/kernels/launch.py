"""The fused operators in Triton, for one model shape.

Owns: which of a model's numbers each kernel is launched with.
Must not know: how a kernel computes, requests, graphs.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from triton.errors import TritonError

from lpbench.executors.torch_engine.kernels import align, decode, experts, heads, norm, prefill
from lpbench.executors.torch_engine.kernels import router as routers
from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks
from lpbench.executors.torch_engine.kernels.chip import major_of
from lpbench.executors.torch_engine.kernels.fused import Routing
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.kernels.tile_table import TileTable
from lpbench.shape.model import ModelShape

REFUSALS = (TritonError, RuntimeError)
"""What a launch raises with tiles that the compiler or the device does not take."""


class TritonKernels:
    """`fused.FusedKernels` in Triton; dense matmuls are the vendor's."""

    def __init__(self, shape: ModelShape, *, tiles: TileTable) -> None:
        """Take the model's geometry, and the tiles of its experts by rows."""
        self._shape, self._table = shape, tiles
        self._is_gpt_oss = shape.family == "gpt_oss"

    def add_norm(
        self, hidden: torch.Tensor, parts: torch.Tensor | None, weight: torch.Tensor
    ) -> torch.Tensor:
        """Launch `norm.add_norm`."""
        return norm.add_norm(
            hidden=hidden,
            parts=parts,
            weight=weight,
            eps=self._shape.rms_eps,
            rounds_unit=not self._is_gpt_oss,
        )

    def linear(
        self, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Call the vendor's matmul."""
        return F.linear(rows, weight, bias)

    def add(self, hidden: torch.Tensor, parts: torch.Tensor) -> None:
        """Launch `norm.add`."""
        norm.add(hidden=hidden, parts=parts)

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
        """Launch `heads.place_heads`."""
        heads.place_heads(
            qkv=qkv,
            norms=norms,
            cos=cos,
            sin=sin,
            positions=positions,
            slots=slots,
            pages=pages,
            eps=self._shape.rms_eps,
        )

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
        """Launch `decode.attend_decodes`."""
        decode.attend_decodes(
            qkv=qkv,
            pages=pages,
            seats=seats,
            lengths=lengths,
            window=window,
            sinks=sinks,
            out=out,
        )

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
        """Launch `prefill.attend_prompts`."""
        prefill.attend_prompts(
            qkv=qkv,
            pages=pages,
            blocks=blocks,
            window=window,
            sinks=sinks,
            out=out,
            major=major_of(qkv.device),
        )

    def route(self, logits: torch.Tensor, routing: Routing) -> tuple[torch.Tensor, torch.Tensor]:
        """Launch `router.route`."""
        return routers.route(
            logits=logits,
            routing=routing,
            top_k=self._shape.top_k,
            over_chosen=self._is_gpt_oss or self._shape.norm_topk,
        )

    def align(self, ids: torch.Tensor) -> ExpertBlocks:
        """Launch `align.align` with the tiles' blocks."""
        block = self._table.tiles(ids.numel()).block_rows
        return align.align(ids=ids, num_experts=self._shape.num_experts, block=block)

    def gate_up(
        self,
        rows: torch.Tensor,
        matrices: torch.Tensor | Mxfp4,
        bias: torch.Tensor | None,
        blocks: ExpertBlocks,
    ) -> torch.Tensor:
        """Launch `experts.gate_up`."""
        return experts.gate_up(
            rows=rows,
            matrices=matrices,
            bias=bias,
            blocks=blocks,
            top_k=self._shape.top_k,
            limit=self._shape.swiglu_limit if self._is_gpt_oss else None,
            tile=self._table.tiles(blocks.total).gate_up,
        )

    def down(
        self,
        inner: torch.Tensor,
        matrices: torch.Tensor | Mxfp4,
        bias: torch.Tensor | None,
        blocks: ExpertBlocks,
        share: torch.Tensor,
    ) -> torch.Tensor:
        """Launch `experts.down`."""
        return experts.down(
            inner=inner,
            matrices=matrices,
            bias=bias,
            blocks=blocks,
            share=share,
            tile=self._table.tiles(blocks.total).down,
        )
