"""The operators of a layer, in torch, the same for every device.

Owns: norm, projection to heads, attention, routing, experts; each a pure function of tensors.
Must not know: requests, plans, where tensors are kept; and no value of a tensor: none is read on
the host.

Both families are served; where they differ (order of the cast in the norm, softmax before or
after the top-k, the activation) the formula is the one of the family's published model code, so
that bfloat16 rounds in the same places.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from lpbench.executors.torch_engine.choice import Kernels
from lpbench.executors.torch_engine.grouped import GROUPED_MM
from lpbench.executors.torch_engine.rotary import Rotary
from lpbench.executors.torch_engine.weights import LayerWeights
from lpbench.shape.model import ModelShape

QUERY_BLOCK = 128
"""Query rows that attend at a time, but for whole prompts without windows or sinks: their scores
stay in the cache, and no key after the last of them is read."""

GLU_ALPHA = 1.702
"""Slope of the sigmoid in GPT-OSS's gated activation; its clamp is in the model's shape."""


class TorchOperators:
    """The operators for one model shape."""

    def __init__(self, shape: ModelShape, kernels: Kernels) -> None:
        """Take what the formulas need from `shape`, and how to compute them from `kernels`."""
        self._shape = shape
        self._grouped_mm = GROUPED_MM[kernels.experts]
        self._fused_causal = kernels.fused_causal
        self._groups = shape.num_heads // shape.num_kv_heads
        self._scale = shape.head_dim**-0.5

    def norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return RMSNorm over the last axis; the mean square is taken in float32."""
        unit = rows * self._to_unit(rows)
        if self._shape.family == "gpt_oss":
            return unit.mul_(weight).to(rows.dtype)
        return unit.to(rows.dtype).mul_(weight)

    def heads(
        self, rows: torch.Tensor, weights: LayerWeights, rotary: Rotary
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries [rows, heads, head_dim], keys and values [rows, 2, kv_heads, head_dim]."""
        shape = self._shape
        every = F.linear(rows, weights.qkv, weights.qkv_bias).view(len(rows), -1, shape.head_dim)
        queries, new = every.split((shape.num_heads, 2 * shape.num_kv_heads), dim=1)
        keys = new[:, : shape.num_kv_heads]
        turned = every[:, : shape.num_heads + shape.num_kv_heads]
        if weights.q_norm is not None and weights.k_norm is not None:
            turned.mul_(self._to_unit(turned))
            queries.mul_(weights.q_norm)
            keys.mul_(weights.k_norm)
        rotary.turn_(turned)
        return queries, new.unflatten(1, (2, -1))

    def attend(
        self,
        queries: torch.Tensor,
        cached: torch.Tensor,
        *,
        window: int,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return causal attention of one request's rows over all its keys.

        Args:
            queries: [rows, heads, head_dim], the last rows of the sequence.
            cached: keys and values [2, kv_heads, length, head_dim]; the rows' own are the last.
            window: keys each query sees, itself included; 0 for all.
            sinks: [heads], a logit per head that takes probability and gives no value.

        Returns:
            [rows, heads * head_dim].
        """
        rows, length = len(queries), cached.shape[2]
        if self._fused_causal and sinks is None and not window and rows == length:
            keys, values = cached.split(1)
            out = F.scaled_dot_product_attention(
                queries.transpose(0, 1)[None],
                keys,
                values,
                is_causal=True,
                scale=self._scale,
                enable_gqa=True,
            )
            return out[0].transpose(0, 1).reshape(rows, -1)
        blocks = [
            self._attend_block(
                queries[at : at + QUERY_BLOCK],
                cached,
                first=length - rows + at,
                window=window,
                sinks=sinks,
            )
            for at in range(0, rows, QUERY_BLOCK)
        ]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    def route(
        self, rows: torch.Tensor, weights: LayerWeights, drawn: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Choose experts.

        Args:
            rows: [rows, hidden], normed.
            weights: the layer's.
            drawn: int64 [rows, top_k], experts to take instead of the router's own choice; their
                weights still come from the router's logits.

        Returns:
            Expert ids int64 [rows, top_k], their weights in the rows' dtype, and the router's
            logits [rows, experts].
        """
        logits = F.linear(rows, weights.router, weights.router_bias)
        if self._shape.family == "gpt_oss":
            chosen = logits.topk(self._shape.top_k) if drawn is None else None
            ids = drawn if chosen is None else chosen.indices
            assert ids is not None
            return ids, logits.gather(1, ids).softmax(-1), logits
        odds = logits.softmax(-1, dtype=torch.float32)
        ids = odds.topk(self._shape.top_k).indices if drawn is None else drawn
        share = odds.gather(1, ids)
        if self._shape.norm_topk:
            share = share / share.sum(-1, keepdim=True)
        return ids, share.to(rows.dtype), logits

    def experts(
        self,
        rows: torch.Tensor,
        ids: torch.Tensor,
        share: torch.Tensor,
        weights: LayerWeights,
    ) -> torch.Tensor:
        """Return the weighted sum of each row's experts, [rows, hidden].

        (row, expert) pairs are sorted by expert, so that each touched expert's weights are read
        once.
        """
        gate_up, down = weights.plain_experts
        count, top_k = ids.shape
        expert, order = ids.flatten().sort(stable=True)
        every = torch.arange(self._shape.num_experts, device=ids.device)
        ends = torch.searchsorted(expert, every, right=True, out_int32=True)
        inner = self._grouped_mm(F.embedding(order // top_k, rows), gate_up, ends)
        if weights.gate_up_bias is not None:
            inner += weights.gate_up_bias.index_select(0, expert)
        results = self._grouped_mm(self._activate(inner), down, ends)
        if weights.down_bias is not None:
            results += weights.down_bias.index_select(0, expert)
        back = torch.empty_like(order)
        back.scatter_(0, order, torch.arange(len(order), device=order.device))
        # A weighted sum of rows picked by index is what an embedding bag is, in one pass.
        return F.embedding_bag(
            back.view(count, top_k), results, mode="sum", per_sample_weights=share
        )

    def _activate(self, gate_up: torch.Tensor) -> torch.Tensor:
        """Return the gated activation [pairs, expert_size]; overwrites [pairs, 2 expert_size]."""
        gate, up = gate_up.chunk(2, dim=-1)
        if self._shape.family == "gpt_oss":
            limit = self._shape.swiglu_limit
            gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
            return (up + 1) * (gate * torch.sigmoid(gate * GLU_ALPHA))
        return F.silu(gate, inplace=True).mul_(up)

    def _to_unit(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what brings each row's root mean square to 1, float32 [..., 1]."""
        length: torch.Tensor = torch.linalg.vector_norm(
            rows, dim=-1, keepdim=True, dtype=torch.float32
        )
        return length.square_().div_(rows.shape[-1]).add_(self._shape.rms_eps).rsqrt_()

    def _attend_block(
        self,
        queries: torch.Tensor,
        cached: torch.Tensor,
        *,
        first: int,
        window: int,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attend `queries` [rows, heads, head_dim], the first of them at position `first`."""
        rows, heads, head_dim = queries.shape
        low = max(0, first + 1 - window) if window else 0
        high = first + rows
        keys, values = cached[:, :, low:high].split(1)
        # The query heads of a group share their keys: they are rows of one matmul.
        grouped = queries.view(rows, -1, self._groups, head_dim)
        if rows > 1:
            grouped = grouped.permute(1, 2, 0, 3).reshape(1, -1, self._groups * rows, head_dim)
        seen = None if rows == 1 else self._seen(first, low, high, window, queries.device)
        if sinks is None:
            out = F.scaled_dot_product_attention(
                grouped, keys, values, attn_mask=seen, scale=self._scale
            )
        else:
            out = self._attend_with_sinks(grouped, keys, values, seen=seen, sinks=sinks)
        if rows > 1:
            out = out.view(-1, self._groups, rows, head_dim).permute(2, 0, 1, 3)
        return out.reshape(rows, heads * head_dim)

    def _seen(
        self, first: int, low: int, high: int, window: int, device: torch.device
    ) -> torch.Tensor:
        """Return which keys low..high the queries first..high see, bool [groups * rows, keys]."""
        query_at = torch.arange(first, high, device=device)[:, None]
        key_at = torch.arange(low, high, device=device)
        seen = key_at <= query_at
        if window:
            seen &= key_at > query_at - window
        return seen.repeat(self._groups, 1)

    def _attend_with_sinks(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        seen: torch.Tensor | None,
        sinks: torch.Tensor,
    ) -> torch.Tensor:
        """Return attention in which a head's sink takes part of the probability.

        Args:
            queries: [1, kv_heads, groups * rows, head_dim].
            keys: [1, kv_heads, keys, head_dim].
            values: the same shape.
            seen: as `_seen` returns it; None where every query sees all keys.
            sinks: [heads].
        """
        scores = (queries @ keys.mT).float() * self._scale
        if seen is not None:
            scores = scores.masked_fill_(~seen, float("-inf"))
        rows = queries.shape[2] // self._groups
        sink = sinks.float()[:, None].expand(-1, rows).reshape(1, keys.shape[1], -1, 1)
        odds = torch.cat((scores, sink), dim=-1).softmax(-1)[..., :-1]
        return odds.to(values.dtype) @ values
