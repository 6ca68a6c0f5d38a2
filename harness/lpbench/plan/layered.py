"""`layered`: one batch of prompts climbs the layers, one group of layers per iteration.

Owns: the paper's schedule, its two rules for the number of groups, and the alias `hybrid`.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lpbench.plan.admission import admit
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.parameter import at_least, one_of
from lpbench.plan.policy import View
from lpbench.plan.request import Request

RULES = ("ceil", "table")
TABLE_TOKENS = (512, 1024, 2048, 4096)
TABLE = {4: (1, 2, 4, 4, 4), 12: (1, 2, 4, 6, 12), 16: (1, 2, 4, 8, 16), 24: (1, 2, 4, 8, 24)}
"""The authors' steps: by `max_groups`, the groups of a batch of up to so many tokens, and above
(PAPER.md 1.2)."""


def table_groups(num_tokens: int, max_groups: int) -> int:
    """Return the group count of the authors' code for a batch of `num_tokens`."""
    return TABLE[max_groups][bisect_left(TABLE_TOKENS, num_tokens)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """One prefill batch in flight; one layer group per iteration carries it.

    When none is in flight, the cut prompt and the queue merge FCFS up to
    `max_num_batched_tokens`; the last prompt is cut to fit and its rest leads the next batch.
    Nobody joins midway. With n tokens in the batch and L layers the groups number
    G = min(L, max(1, ceil(n / tokens_per_group))), or min(L, num_groups) where that is given, or
    the authors' step table with `rule=table`. Decodes do not count against the budget.

    Raises:
        InputError: a parameter is out of range.
    """

    name: ClassVar[str] = "layered"
    tokens_per_group: int = 512
    max_num_batched_tokens: int = 8192
    rule: str = "ceil"
    max_groups: int = 16
    num_groups: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self.name, "tokens_per_group", self.tokens_per_group)
        at_least(1, self.name, "max_num_batched_tokens", self.max_num_batched_tokens)
        one_of(RULES, self.name, "rule", self.rule)
        one_of(tuple(TABLE), self.name, "max_groups", self.max_groups)
        if self.num_groups is not None:
            at_least(1, self.name, "num_groups", self.num_groups)

    @property
    def params(self) -> Mapping[str, int | str]:
        """The parameters in force: those of the rule that decides G, and the budget."""
        budget = {"max_num_batched_tokens": self.max_num_batched_tokens}
        if self.num_groups is not None:
            return {"num_groups": self.num_groups, **budget}
        if self.rule == "table":
            return {"rule": self.rule, "max_groups": self.max_groups, **budget}
        return {"rule": self.rule, "tokens_per_group": self.tokens_per_group, **budget}

    def groups(self, num_tokens: int, num_layers: int) -> tuple[Span, ...]:
        """Return the layer groups for a batch of `num_tokens` prompt tokens."""
        if self.num_groups is not None:
            count = self.num_groups
        elif self.rule == "table":
            count = table_groups(num_tokens, self.max_groups)
        else:
            count = max(1, -(-num_tokens // self.tokens_per_group))
        return Span(0, num_layers).cut(min(num_layers, count))

    def plan(self, view: View) -> IterationPlan:
        """Return the next layer group of the batch in flight, or the first of a new batch."""
        in_flight = [progress for progress in view.begun if len(progress.tokens_in_flight)]
        if in_flight:
            batch = [(progress.request, progress.tokens_in_flight) for progress in in_flight]
            done = in_flight[0].done
            first_layer = done.index(done[-1])
        else:
            batch = [
                (progress.request, Span(progress.done[0], progress.done[0] + tokens))
                for progress, tokens in admit(view, self.max_num_batched_tokens, cut=True)
            ]
            first_layer = 0
        if not batch:
            return IterationPlan(decodes=view.decodes, prefill=())
        groups = self.groups(sum(len(tokens) for _, tokens in batch), view.num_layers)
        layers = next(group for group in groups if group.start == first_layer)
        return IterationPlan(
            decodes=view.decodes,
            prefill=tuple(PromptTile(request, Tile(tokens, layers)) for request, tokens in batch),
            num_groups=len(groups),
        )

    def prefill_budget(self, num_decodes: int) -> int:
        """Return the budget; decodes do not count."""
        del num_decodes
        return self.max_num_batched_tokens

    def refuse(self, requests: Sequence[Request], *, max_num_seqs: int) -> None:
        """Refuse nothing: a prompt of any length is cut into batches."""


def hybrid(*, chunk: int = 2048, num_groups: int = 4) -> Layered:
    """Return `layered` over token chunks: `chunk` tokens at a time in `num_groups` groups.

    Raises:
        InputError: a parameter is out of range.
    """
    at_least(1, "hybrid", "chunk", chunk)
    at_least(1, "hybrid", "num_groups", num_groups)
    return Layered(max_num_batched_tokens=chunk, num_groups=num_groups)
