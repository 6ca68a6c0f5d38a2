"""One arm on paper: queues and policy in a loop, nothing executed.

Every request runs through the product's own queues; only the executor is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lpbench.plan.check import check_plan
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.policy import Policy, View
from lpbench.plan.queues import Queues, Settled
from lpbench.plan.request import Request

MANY_PAGES = 10_000
MOST_ITERATIONS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One iteration: what the policy saw, what it planned, what came of it."""

    iteration: int
    view: View
    plan: IterationPlan
    settled: Settled
    free_pages: int


def serve(
    policy: Policy,
    requests: Sequence[Request],
    *,
    num_layers: int = 2,
    num_kv_pages: int = MANY_PAGES,
    max_num_seqs: int = 256,
) -> list[Served]:
    """Serve `requests` to the end; arrivals are iterations, free pages those after each one."""
    policy.refuse(requests, max_num_seqs=max_num_seqs)
    queues = Queues(
        requests, num_layers=num_layers, num_kv_pages=num_kv_pages, max_num_seqs=max_num_seqs
    )
    steps: list[Served] = []
    iteration = 0
    while not queues.is_finished:
        if not queues.is_runnable:
            iteration = max(iteration, int(queues.next_arrival))
        queues.arrive(iteration)
        view = queues.begin()
        plan = policy.plan(view)
        check_plan(view, plan, policy)
        settled = queues.settle(plan)
        steps.append(
            Served(
                iteration=iteration,
                view=view,
                plan=plan,
                settled=settled,
                free_pages=queues.free_pages,
            )
        )
        iteration += 1
        assert iteration < MOST_ITERATIONS, "the arm does not come to an end"
    return steps


def written(steps: Sequence[Served]) -> list[str]:
    """Write iterations as lines: the decodes, the tiles, and who was preempted.

    `0 1 | 2:0-7x0-3 | !4`: 0 and 1 decode, tokens 0 to 7 of request 2 pass through layers 0 to 3,
    and 4 was preempted.
    """
    return [_line(step) for step in steps]


def _line(step: Served) -> str:
    decodes = " ".join(str(request) for request in step.plan.decodes)
    tiles = " ".join(
        f"{part.request}:{part.tile.tokens.start}-{part.tile.tokens.stop}"
        f"x{part.tile.layers.start}-{part.tile.layers.stop}"
        for part in step.plan.prefill
    )
    preempted = " ".join(f"!{request}" for request in step.view.preempted)
    parts = (decodes or "-", tiles or "-", *([preempted] if preempted else []))
    return " | ".join(parts)
