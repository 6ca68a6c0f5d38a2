"""One pass over the model: a single loop over the segments of a plan.

Owns: gather at a segment's entry, scatter at its exit, the head at the end.
Must not know: which schedule made the plan, how many tokens a request will ask for.

    layers ^        segment 3   decodes                      a segment is a span of layers in
         L |  ------------------------------------------     which the rows stay the same
           |        segment 2   decodes + prompt rows
           |  ------------------------------------------     entry: gather the rows' hidden states
           |        segment 1   decodes                      exit: scatter them to who goes on
         0 |  ------------------------------------------
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from lpbench.executors.torch_engine.hidden import HiddenStates
from lpbench.executors.torch_engine.kernels import Kernels
from lpbench.executors.torch_engine.kv_cache import KvCache
from lpbench.executors.torch_engine.layer import Block, Rows, run_layer
from lpbench.executors.torch_engine.operators import TorchOperators
from lpbench.executors.torch_engine.rotary import Rotary
from lpbench.executors.torch_engine.touched import Witness
from lpbench.executors.torch_engine.transfer import to_device
from lpbench.executors.torch_engine.weights import ModelWeights
from lpbench.plan.iteration import IterationPlan, PromptRows, Segment
from lpbench.shape.model import ModelShape


@dataclass(slots=True)
class Sequence:
    """The token ids of one request as far as they are known, and where its prompt starts.

    Attributes:
        ids: context, prompt, and the tokens fed after it.
        offset: position of prompt token 0: the context's length, or 0 when all is computed again.
        drawn: int16 [layers, positions, top_k], the experts drawn for it; None where the router
            chooses.
    """

    ids: list[int]
    offset: int
    drawn: torch.Tensor | None

    def ids_of(self, rows: PromptRows) -> list[int]:
        """Return the token ids of these prompt rows."""
        return self.ids[self.offset + rows.tokens.start : self.offset + rows.tokens.stop]

    def block(self, rows: PromptRows) -> Block:
        """Return where these prompt rows stand."""
        return Block(
            request=rows.request, start=self.offset + rows.tokens.start, count=len(rows.tokens)
        )


class Forward:
    """The model: weights, operators, KV cache and the hidden states between layers.

    Attributes:
        operators: what the layers are made of.
    """

    def __init__(
        self,
        shape: ModelShape,
        weights: ModelWeights,
        *,
        kernels: Kernels,
        cache: KvCache,
        rotary: Rotary,
    ) -> None:
        """Put the model together; `rotary` holds every position that will be asked for."""
        self._shape = shape
        self._weights = weights
        self.operators = TorchOperators(shape, kernels)
        self._cache = cache
        self._rotary = rotary
        self._hidden = HiddenStates()

    def reset(self) -> None:
        """Forget every hidden state."""
        self._hidden.clear()

    def run(
        self, plan: IterationPlan, sequences: Mapping[int, Sequence], witness: Witness
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        """Carry out `plan`. Nothing is read on the host: it may run ahead of the device.

        Returns:
            The requests a token is due for, and their logits float32 [requests, vocabulary].
        """
        decoding = self._weights.embed[:0]  # until the first segment: every decode starts there
        for segment in plan.segments(self._shape.num_layers):
            hidden = self._gather(segment, decoding, sequences)
            rows = self._rows(segment, sequences)
            witness.enter(segment, rows.blocks)
            for layer in range(segment.layers.start, segment.layers.stop):
                hidden = run_layer(
                    hidden,
                    layer=layer,
                    weights=self._weights.layers[layer],
                    operators=self.operators,
                    cache=self._cache,
                    rows=rows,
                    drawn=None if rows.drawn is None else rows.drawn[layer - segment.layers.start],
                    window=self._shape.windows[layer],
                    on_route=witness.route,
                )
            decoding = self._scatter(segment, hidden)
        return self._finish(plan, decoding, sequences)

    def _embed(self, ids: list[int]) -> torch.Tensor:
        embed = self._weights.embed
        return F.embedding(to_device(np.array(ids, dtype=np.int64), embed.device), embed)

    def _gather(
        self, segment: Segment, decoding: torch.Tensor, sequences: Mapping[int, Sequence]
    ) -> torch.Tensor:
        layer = segment.layers.start
        if layer == 0:
            ids = [sequences[index].ids[-1] for index in segment.decodes]
            for rows in segment.prompts:
                ids += sequences[rows.request].ids_of(rows)
            return self._embed(ids)
        parts = [decoding] if segment.decodes else []
        parts += [self._hidden.take(rows.request, layer, rows.tokens) for rows in segment.prompts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _scatter(self, segment: Segment, hidden: torch.Tensor) -> torch.Tensor:
        at = len(segment.decodes)
        for rows in segment.prompts:
            stop = at + len(rows.tokens)
            self._hidden.put(rows.request, segment.layers.stop, rows.tokens, hidden[at:stop])
            at = stop
        return hidden[: len(segment.decodes)]

    def _rows(self, segment: Segment, sequences: Mapping[int, Sequence]) -> Rows:
        blocks = [
            Block(request=index, start=len(sequences[index].ids) - 1, count=1)
            for index in segment.decodes
        ]
        blocks += [sequences[rows.request].block(rows) for rows in segment.prompts]
        positions = to_device(
            np.concatenate([np.arange(one.start, one.start + one.count) for one in blocks]),
            self._rotary.cos.device,
        )
        layers = slice(segment.layers.start, segment.layers.stop)
        drawn = [
            table[layers, block.start : block.start + block.count]
            for block in blocks
            if (table := sequences[block.request].drawn) is not None
        ]
        return Rows(
            blocks=tuple(blocks),
            rotary=self._rotary.at(positions),
            drawn=torch.cat(drawn, dim=1).long() if drawn else None,
        )

    def _finish(
        self, plan: IterationPlan, decoding: torch.Tensor, sequences: Mapping[int, Sequence]
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        """Take the rows that left the last layer; sample those that end what is known so far."""
        top = self._shape.num_layers
        due, last = list(plan.decodes), [decoding]
        for part in plan.prefill:
            if part.tile.layers.stop < top:
                continue
            rows = self._hidden.take(part.request, top, part.tile.tokens)
            sequence = sequences[part.request]
            if sequence.offset + part.tile.tokens.stop == len(sequence.ids):
                due.append(part.request)
                last.append(rows[-1:])
        hidden = self.operators.norm(torch.cat(last), self._weights.norm)
        return tuple(due), F.linear(hidden, self._weights.head).float()
