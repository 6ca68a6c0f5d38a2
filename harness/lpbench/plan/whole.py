"""`whole`: Orca-style, each prompt in one tile through all layers.

Owns: the schedule that bounds prefill efficiency from above.
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
class Whole:
    """Whole prompts, FCFS while they fit the budget, in one iteration with the decodes.

    Decodes do not count against the budget; the first prompt that does not fit ends admission.

    Raises:
        InputError: `max_num_batched_tokens` is below 1.
    """

    name: ClassVar[str] = "whole"
    max_num_batched_tokens: int = 8192

    def __post_init__(self) -> None:
        """Check the range."""
        at_least(1, self.name, "max_num_batched_tokens", self.max_num_batched_tokens)

    @property
    def params(self) -> Mapping[str, int | str]:
        """The parameters in force."""
        return {"max_num_batched_tokens": self.max_num_batched_tokens}

    def plan(self, view: View) -> IterationPlan:
        """Return one tile per admitted prompt: all its tokens, all layers."""
        layers = Span(0, view.num_layers)
        return IterationPlan(
            decodes=view.decodes,
            prefill=tuple(
                PromptTile(progress.request, Tile(Span(0, tokens), layers))
                for progress, tokens in admit(view, self.max_num_batched_tokens, cut=False)
            ),
        )

    def prefill_budget(self, num_decodes: int) -> int:
        """Return the budget; decodes do not count."""
        del num_decodes
        return self.max_num_batched_tokens

    def refuse(self, requests: Sequence[Request], *, max_num_seqs: int) -> None:
        """Refuse a prompt that is longer than the budget.

        Raises:
            MisfitError: naming the first such request.
        """
        del max_num_seqs
        for request in requests:
            if request.prompt_tokens > self.max_num_batched_tokens:
                msg = (
                    f"schedule 'whole': the prompt of request {request.index} has "
                    f"{request.prompt_tokens} tokens, more than max_num_batched_tokens="
                    f"{self.max_num_batched_tokens}; raise it or shorten the prompt"
                )
                raise MisfitError(msg)
