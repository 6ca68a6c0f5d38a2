"""The seam between a schedule and everything else: what a policy sees, what it answers.

Owns: the read-only view and the Policy protocol.
Must not know: any schedule by name, tensors, clocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from lpbench.plan.iteration import IterationPlan
from lpbench.plan.predictor import Predictor
from lpbench.plan.request import Progress, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The queues and the KV budget at the start of an iteration.

    Attributes:
        num_layers: layers of the model.
        decodes: requests that advance by one token now, in admission order; each has its page.
        begun: prompts of which a tile has run, in admission order.
        queue: prompts not begun, in order of service: preempted ones, then waiting ones.
        free_pages: KV pages left after the decodes took theirs.
        free_seqs: requests that may still be admitted under `max_num_seqs`.
        decode_tokens: keys in the KV cache that the decodes see together, each its own included.
        preempted: requests preempted at the start of this iteration.
    """

    num_layers: int
    decodes: tuple[int, ...]
    begun: tuple[Progress, ...]
    queue: tuple[Progress, ...]
    free_pages: int
    free_seqs: int
    decode_tokens: int = 0
    preempted: tuple[int, ...] = ()


class Policy(Protocol):
    """A schedule with its parameters. Pure: the same view gives the same plan."""

    @property
    def name(self) -> str:
        """The schedule's name."""

    @property
    def params(self) -> Mapping[str, int | str]:
        """The parameters in force."""

    def plan(self, view: View) -> IterationPlan:
        """Return the tiles of the next iteration, with all of the view's decodes."""

    def prefill_budget(self, num_decodes: int) -> int:
        """Return the most prompt tokens that one iteration with these decodes may carry."""

    def refuse(self, requests: Sequence[Request], *, max_num_seqs: int) -> None:
        """Do nothing when the workload can be served.

        Raises:
            InputError: some prompt could never be served, or could starve.
        """


@runtime_checkable
class Predictive(Protocol):
    """A policy that plans by predicted times."""

    @property
    def name(self) -> str:
        """The schedule's name."""

    def predicting(self, predictor: Predictor) -> Self:
        """Return the policy with what it predicts by; before that it cannot plan."""
