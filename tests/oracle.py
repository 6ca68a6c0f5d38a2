"""What transformers computes: plain forward passes over whole sequences, without any cache.

The oracle of the engine's logits and of the routers' choices. Nothing of the engine is used here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

Floats = NDArray[np.float32]
Experts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One forward pass over a whole sequence.

    Attributes:
        logits: [positions, vocabulary].
        experts: [positions, layers, top_k], each row's experts, ascending.
        margins: [positions, layers], the router's logit of the last expert taken minus the best
            one not taken.
    """

    logits: Floats
    experts: Experts
    margins: Floats


class Oracle:
    """A transformers model as a function of token ids."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Listen to the routers of `model`."""
        self._model = model
        self._routed: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._forced: list[torch.Tensor] = []
        self._known: dict[tuple[int, ...], Seen] = {}
        for layer in model.model.layers:
            mlp = layer.mlp
            router = mlp.router if model.config.model_type == "gpt_oss" else mlp.gate
            router.register_forward_hook(self._listen)

    @property
    def expert_bytes(self) -> int:
        """Bytes of one expert of one layer, from the parameters as they are held."""
        experts = self._model.model.layers[0].mlp.experts
        held = [parameter for name, parameter in experts.named_parameters() if "proj" in name]
        total: int = sum(parameter.numel() * parameter.element_size() for parameter in held)
        return total // len(held[0])

    def see(self, ids: Sequence[int], *, forced: NDArray[np.int16] | None = None) -> Seen:
        """Return the pass over `ids`.

        Args:
            ids: the whole sequence.
            forced: [layers, positions, top_k], experts to take instead of the routers' choice;
                their weights still come from the routers' logits.
        """
        key = tuple(ids)
        if forced is not None:
            return self._run(ids, forced=forced)
        if key not in self._known:
            self._known[key] = self._run(ids, forced=None)
        return self._known[key]

    def _run(self, ids: Sequence[int], *, forced: NDArray[np.int16] | None) -> Seen:
        self._routed.clear()
        self._forced = []
        if forced is not None:
            self._forced += torch.from_numpy(forced).long().to(self._model.device)
        with torch.inference_mode():
            out = self._model(torch.tensor([list(ids)], device=self._model.device), use_cache=False)
        logits = torch.stack([found for found, _ in self._routed], dim=1).float().cpu()
        chosen = torch.stack([taken for _, taken in self._routed], dim=1).cpu()
        top_k = chosen.shape[-1]
        best = logits.topk(min(top_k + 1, logits.shape[-1])).values
        return Seen(
            logits=out.logits[0].float().cpu().numpy(),
            experts=chosen.sort(dim=-1).values.numpy(),
            margins=(best[..., top_k - 1] - best[..., -1]).numpy(),
        )

    def _listen(
        self,
        _router: torch.nn.Module,
        _inputs: object,
        found: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Remember a router's logits and choice; put the forced choice in its place, if any."""
        logits, share, taken = found
        if self._forced:
            taken = self._forced.pop(0)
            # Softmax over those taken: what both families come to with normed weights.
            share = logits.gather(1, taken).softmax(-1)
        self._routed.append((logits, taken))
        return (logits, share, taken) if taken is not found[2] else None


def final_sequences(
    ids: Mapping[int, Sequence[int]], tokens: Mapping[int, Sequence[int]]
) -> dict[int, list[int]]:
    """Return each request's whole sequence: context, prompt and all generated tokens but the last.

    The last generated token is never fed.
    """
    return {request: [*known, *tokens[request][:-1]] for request, known in ids.items()}


def oracle_logits(
    oracle: Oracle, ids: Mapping[int, Sequence[int]], tokens: Mapping[int, Sequence[int]]
) -> dict[tuple[int, int], Floats]:
    """Return the oracle's logits of every (request, n-th generated token)."""
    found: dict[tuple[int, int], Floats] = {}
    for request, sequence in final_sequences(ids, tokens).items():
        logits = oracle.see(sequence).logits[len(ids[request]) - 1 :]
        found |= {(request, nth): row for nth, row in enumerate(logits)}
    return found


def worst_differences(
    reference: Mapping[tuple[int, int], Floats], found: Mapping[tuple[int, int], Floats]
) -> list[float]:
    """Return the largest absolute difference of a logit, for every generated token."""
    assert set(reference) == set(found)
    return [float(np.abs(row - found[token]).max()) for token, row in reference.items()]


def greedy(logits: Mapping[tuple[int, int], Floats]) -> dict[int, list[int]]:
    """Return each request's most likely tokens, in order."""
    tokens: dict[int, list[int]] = {}
    for request, nth in sorted(logits):
        tokens.setdefault(request, []).append(int(logits[request, nth].argmax()))
    return tokens
