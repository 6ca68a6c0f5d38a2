"""What each fused operator means, in plain torch: the Triton kernels are held to it.

Owns: the formulas. On a CPU it serves the whole engine path in tests; it is made to be read, and
loops on the host over values that a kernel would read on the device.
Must not know: Triton, requests, plans.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks
from lpbench.executors.torch_engine.kernels.fused import Routing
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.operators import GLU_ALPHA
from lpbench.shape.model import ModelShape

BLOCK = 16
"""Pairs of an expert block."""


class ReferenceKernels:
    """`fused.FusedKernels` in torch."""

    def __init__(self, shape: ModelShape, *, block: int = BLOCK) -> None:
        """Take what the formulas need from `shape`, and how many pairs a block has."""
        self._shape = shape
        self._block = block
        self._scale = shape.head_dim**-0.5

    def add_norm(
        self, hidden: torch.Tensor, parts: torch.Tensor | None, weight: torch.Tensor
    ) -> torch.Tensor:
        """Add, then norm."""
        if parts is not None:
            self.add(hidden, parts)
        return self._norm(hidden, weight)

    def linear(
        self, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Multiply."""
        return F.linear(rows, weight, bias)

    def add(self, hidden: torch.Tensor, parts: torch.Tensor) -> None:
        """Add all parts."""
        hidden.copy_(hidden.float() + parts.float().sum(1))

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
        """Norm, rotate, write."""
        shape, at = self._shape, positions.long()
        heads = qkv.view(len(qkv), -1, shape.head_dim)
        queries, keys, values = heads.split(
            (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads), dim=1
        )
        for part, weight in zip((queries, keys), norms or (None, None), strict=True):
            normed = part if weight is None else self._norm(part, weight)
            swapped = normed.float().roll(shape.head_dim // 2, -1)
            part.copy_(normed.float() * cos[at, None].float() + swapped * sin[at, None].float())
        kept = slots >= 0
        page = slots[kept].long() // pages.page_tokens
        offset = slots[kept].long() % pages.page_tokens
        pages.keys[page, :, offset] = keys[kept]
        pages.values[page, :, offset] = values[kept]

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
        """Attend row by row."""
        for row, (seat, length) in enumerate(zip(seats.tolist(), lengths.tolist(), strict=True)):
            if length:
                rows = slice(row, row + 1)
                out[rows] = self._attend(qkv[rows], pages, length - 1, seat, window, sinks)

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
        """Attend block by block."""
        for first, count, position, seat in blocks.tolist():
            if count:
                rows = slice(first, first + count)
                out[rows] = self._attend(qkv[rows], pages, position, seat, window, sinks)

    def route(self, logits: torch.Tensor, routing: Routing) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose by the family's formula; count by setting bits."""
        shape, rows = self._shape, len(logits)
        logits = logits.float()
        if routing.drawn is not None:
            ids = routing.drawn[routing.sources.long()].long()
        else:
            ids = logits.topk(shape.top_k).indices
        if shape.family == "gpt_oss":
            share = logits.gather(1, ids).softmax(-1)
        else:
            share = logits.softmax(-1).gather(1, ids)
            if shape.norm_topk:
                share = share / share.sum(-1, keepdim=True)
        count = int(routing.count)
        owners = routing.owners[:count].long()[:, None].expand(-1, shape.top_k)
        routing.touched[owners, ids[:count]] = True
        is_padding = torch.arange(rows, device=logits.device) >= count
        return ids.masked_fill(is_padding[:, None], shape.num_experts).int(), share

    def align(self, ids: torch.Tensor) -> ExpertBlocks:
        """Sort the pairs by expert, and pad each expert's to whole blocks."""
        experts = self._shape.num_experts
        blocks = ExpertBlocks.empty(ids, num_experts=experts, block=self._block)
        blocks.pairs.fill_(ids.numel())
        at = 0
        for expert in range(experts):
            pairs = (ids.flatten() == expert).nonzero()[:, 0].int()
            number = -(-len(pairs) // self._block)
            blocks.pairs[at * self._block :][: len(pairs)] = pairs
            blocks.experts[at : at + number] = expert
            at += number
        blocks.count.fill_(at)
        return blocks

    def gate_up(
        self,
        rows: torch.Tensor,
        matrices: torch.Tensor | Mxfp4,
        bias: torch.Tensor | None,
        blocks: ExpertBlocks,
    ) -> torch.Tensor:
        """Multiply block by block, and activate."""
        shape = self._shape
        matrices = self._plain(matrices, rows.dtype)
        inner = rows.new_zeros(len(blocks.pairs), shape.expert_size)
        for expert, at, pairs in self._blocks(blocks):
            both = rows[pairs // shape.top_k] @ matrices[expert]
            both = both if bias is None else both + bias[expert]
            gate, up = both.float().chunk(2, dim=-1)
            if shape.family == "gpt_oss":
                limit = shape.swiglu_limit
                gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
                active = (up + 1) * gate * torch.sigmoid(GLU_ALPHA * gate)
            else:
                active = F.silu(gate) * up
            inner[at : at + len(pairs)] = active.to(inner.dtype)
        return inner

    def down(
        self,
        inner: torch.Tensor,
        matrices: torch.Tensor | Mxfp4,
        bias: torch.Tensor | None,
        blocks: ExpertBlocks,
        share: torch.Tensor,
    ) -> torch.Tensor:
        """Multiply block by block, and weigh."""
        matrices = self._plain(matrices, inner.dtype)
        parts = inner.new_zeros(share.numel(), self._shape.hidden_size)
        for expert, at, pairs in self._blocks(blocks):
            results = (inner[at : at + len(pairs)] @ matrices[expert]).float()
            results = results if bias is None else results + bias[expert].float()
            parts[pairs] = (results * share.view(-1)[pairs, None]).to(parts.dtype)
        return parts.view(*share.shape, -1)

    def _norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return RMSNorm over the last axis, rounded where the family's published code does."""
        wide = rows.float()
        unit = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self._shape.rms_eps)
        if self._shape.family == "gpt_oss":
            return (weight.float() * unit).to(rows.dtype)
        return weight * unit.to(rows.dtype)

    def _attend(
        self,
        qkv: torch.Tensor,
        pages: Pages,
        first: int,
        seat: int,
        window: int,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return attention of consecutive rows of one sequence, the first at position `first`."""
        shape, rows = self._shape, len(qkv)
        length, groups = first + rows, shape.num_heads // shape.num_kv_heads
        table = pages.tables[seat, : -(-length // pages.page_tokens)].long()
        keys, values = (
            # [pages, heads, tokens, dim] to [query heads, length, dim]
            pool[table].transpose(0, 1).flatten(1, 2)[:, :length].repeat_interleave(groups, 0)
            for pool in (pages.keys, pages.values)
        )
        queries = qkv.view(rows, -1, shape.head_dim)[:, : shape.num_heads].transpose(0, 1)
        scores = (queries @ keys.mT).float() * self._scale
        query_at = torch.arange(first, length, device=qkv.device)[:, None]
        key_at = torch.arange(length, device=qkv.device)
        seen = key_at <= query_at
        if window:
            seen &= key_at > query_at - window
        scores = scores.masked_fill(~seen, float("-inf"))
        if sinks is not None:
            sink = sinks.float()[:, None, None].expand(-1, rows, 1)
            odds = torch.cat((scores, sink), dim=-1).softmax(-1)[..., :-1]
        else:
            odds = scores.softmax(-1)
        return (odds.to(values.dtype) @ values).transpose(0, 1).reshape(rows, -1)

    @staticmethod
    def _plain(matrices: torch.Tensor | Mxfp4, dtype: torch.dtype) -> torch.Tensor:
        """Return matrices [E, in, out], unpacked where they are packed."""
        return matrices.matrices(dtype) if isinstance(matrices, Mxfp4) else matrices

    @staticmethod
    def _blocks(blocks: ExpertBlocks) -> list[tuple[int, int, torch.Tensor]]:
        """Return each block's expert, where it begins, and its pairs without the padding."""
        found = []
        for number, expert in enumerate(blocks.experts[: int(blocks.count)].tolist()):
            at = number * blocks.block
            pairs = blocks.pairs[at : at + blocks.block].long()
            found.append((expert, at, pairs[pairs < blocks.total]))
        return found
