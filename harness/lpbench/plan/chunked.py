"""`chunked`: Sarathi-style, slices of tokens through all layers under one token budget.

Owns: the schedule in which decodes and prompt slices share the budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lpbench.errors import MisfitError
from lpbench.plan.admission import admit
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.parameter import at_least
from lpbench.plan.policy import View
from lpbench.plan.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunked:
    """Running decodes take 1 token each of the budget, the rest goes to prompts FCFS.

    A prompt already begun goes first, the last one is cut to fit, several may share a pass.

    Raises:
        InputError: `max_num_batched_tokens` is below 1.
    """

    name: ClassVar[str] = "chunked"
    max_num_batched_tokens: int = 512

    def __post_init__(self) -> None:
        """Check the range."""
        at_least(1, self.name, "max_num_batched_tokens", self.max_num_batched_tokens)

    @property
    def params(self) -> Mapping[str, int | str]:
        """The parameters in force."""
        return {"max_num_batched_tokens": self.max_num_batched_tokens}

    def plan(self, view: View) -> IterationPlan:
        """Return one tile per admitted prompt: the tokens that fit, all layers."""
        layers = Span(0, view.num_layers)
        budget = self.prefill_budget(len(view.decodes))
        return IterationPlan(
            decodes=view.decodes,
            prefill=tuple(
                PromptTile(
                    progress.request,
                    Tile(Span(progress.done[0], progress.done[0] + tokens), layers),
                )
                for progress, tokens in admit(view, budget, cut=True)
            ),
        )

    def prefill_budget(self, num_decodes: int) -> int:
        """Return what the decodes leave of the budget."""
        return max(0, self.max_num_batched_tokens - num_decodes)

    def refuse(self, requests: Sequence[Request], *, max_num_seqs: int) -> None:
        """Refuse a budget that running decodes could use up.

        Raises:
            MisfitError: budget <= min(max_num_seqs, number of requests - 1).
        """
        most_decodes = min(max_num_seqs, len(requests) - 1)
        if self.max_num_batched_tokens <= most_decodes:
            msg = (
                f"schedule 'chunked': max_num_batched_tokens={self.max_num_batched_tokens} could "
                f"starve prompts, as {most_decodes} requests may be decoding; accepted: "
                f"{most_decodes + 1} or more, or a lower --max-num-seqs"
            )
            raise MisfitError(msg)
