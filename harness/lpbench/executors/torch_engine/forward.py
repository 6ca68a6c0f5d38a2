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

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from lpbench.executors.torch_engine.hidden import HiddenStates
from lpbench.executors.torch_engine.layers import Layers
from lpbench.executors.torch_engine.sequences import Sequences
from lpbench.executors.torch_engine.touched import Witness
from lpbench.executors.torch_engine.transfer import to_device
from lpbench.executors.torch_engine.weights import ModelWeights
from lpbench.plan.iteration import IterationPlan, PromptRows, Segment


class Forward:
    """The model: embedding, layers, head, and the hidden states between layers."""

    def __init__(self, weights: ModelWeights, *, layers: Layers, sequences: Sequences) -> None:
        """Put the model together."""
        self._weights = weights
        self._layers = layers
        self._sequences = sequences
        self._hidden = HiddenStates()

    def reset(self) -> None:
        """Forget every hidden state."""
        self._hidden.clear()

    def run(
        self, plan: IterationPlan, witness: Witness | None
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        """Carry out `plan`. Nothing is read on the host: it may run ahead of the device.

        Returns:
            The requests a token is due for, and their logits [requests, vocabulary] in the run's
            dtype.
        """
        self._layers.start(plan, witness)
        decoding = self._weights.embed[:0]  # until the first segment: every decode starts there
        for segment in plan.segments(len(self._weights.layers)):
            decoding, prompts = self._layers.run(segment, self._gather(segment, decoding))
            self._scatter(segment, prompts)
        return self._finish(plan, decoding)

    def _gather(self, segment: Segment, decoding: torch.Tensor) -> list[torch.Tensor]:
        layer = segment.layers.start
        if layer == 0:
            return [self._embed(segment)]
        parts = [decoding] if segment.decodes else []
        parts += [self._hidden.take(rows.request, layer, rows.tokens) for rows in segment.prompts]
        return parts

    def _embed(self, segment: Segment) -> torch.Tensor:
        sequences, embed = self._sequences, self._weights.embed
        last = sequences.last(sequences.seats(segment.decodes))
        ids = np.concatenate((last, *map(sequences.ids_of, segment.prompts)))
        return F.embedding(to_device(ids, embed.device), embed)

    def _scatter(self, segment: Segment, prompts: torch.Tensor) -> None:
        counts = [len(rows.tokens) for rows in segment.prompts]
        for rows, hidden in zip(segment.prompts, prompts.split(counts), strict=True):
            self._hidden.put(rows.request, segment.layers.stop, rows.tokens, hidden)

    def _finish(
        self, plan: IterationPlan, decoding: torch.Tensor
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        """Take the rows that left the last layer; sample those that end what is known so far."""
        top = len(self._weights.layers)
        due, last = list(plan.decodes), [decoding]
        for part in plan.prefill:
            if part.tile.layers.stop < top:
                continue
            rows = self._hidden.take(part.request, top, part.tile.tokens)
            if self._sequences.is_at_the_end(PromptRows(part.request, part.tile.tokens)):
                due.append(part.request)
                last.append(rows[-1:])
        hidden = self._layers.norm(torch.cat(last), self._weights.norm)
        return tuple(due), F.linear(hidden, self._weights.head)
