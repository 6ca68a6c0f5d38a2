"""Does a plan keep the rules? Asked of every iteration of every run, and of whole tilings.

Owns: the rules that hold for all schedules.
Must not know: any schedule by name.
"""

from collections.abc import Iterable, Mapping
from typing import NoReturn

from lpbench.errors import RunError
from lpbench.plan.grid import Tile
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.policy import Policy, View
from lpbench.plan.request import Progress


def check_plan(view: View, plan: IterationPlan, policy: Policy) -> None:
    """Hold `plan` to the view it was made from.

    Every decode has its row, tiles come in order, prompts are admitted in order of service within
    the pages and sequences left, the token budget is kept (a single prompt that has outgrown it
    after a preemption aside), and something runs.

    Raises:
        RunError: the schedule broke a rule, which is its bug.
    """
    if plan.decodes != view.decodes:
        _broken(policy, "left a running decode out")
    if not plan.decodes and not plan.prefill:
        _broken(policy, "planned an empty iteration")
    standing = {progress.request: progress for progress in (*view.begun, *view.queue)}
    for part in plan.prefill:
        progress = standing.get(part.request)
        if progress is None or part.request in view.preempted:
            _broken(policy, f"planned a tile for request {part.request}, which has no prefill")
        try:
            standing[part.request] = progress.after(part.tile)
        except ValueError as error:
            _broken(policy, str(error))
    _check_budgets(view, plan, policy)


def _check_budgets(view: View, plan: IterationPlan, policy: Policy) -> None:
    """Hold the admitted prompts to the order of service, the pages, sequences and tokens left."""
    queued = {progress.request: progress for progress in view.queue}
    first = dict.fromkeys(part.request for part in plan.prefill if part.request in queued)
    admitted = [queued[request] for request in first]
    if admitted != list(view.queue[: len(admitted)]):
        _broken(policy, "admitted requests out of order")
    if len(admitted) > view.free_seqs or sum(p.pages for p in admitted) > view.free_pages:
        _broken(policy, "admitted more requests than sequences or KV pages allow")
    tokens = plan.num_prefill_tokens
    if tokens > policy.prefill_budget(len(view.decodes)) and not _is_one_whole(plan, queued):
        _broken(policy, f"planned {tokens} prompt tokens, more than its budget")


def check_grid(tiles: Iterable[Tile], *, num_tokens: int, num_layers: int) -> None:
    """Hold the tiles of one prefill to covering tokens x layers once, in order.

    Raises:
        ValueError: a tile comes out of order or twice, or the rectangle is not covered.
    """
    progress = Progress.start(0, num_tokens, num_layers=num_layers)
    for tile in tiles:
        progress = progress.after(tile)
    if not progress.is_done:
        msg = f"tokens x layers not covered: {num_tokens} tokens, done per layer {progress.done}"
        raise ValueError(msg)


def _is_one_whole(plan: IterationPlan, queued: Mapping[int, Progress]) -> bool:
    """Return whether the plan carries a single prompt, all of it in one tile."""
    if len(plan.prefill) != 1 or plan.prefill[0].request not in queued:
        return False
    part = plan.prefill[0]
    return len(part.tile.tokens) == queued[part.request].num_tokens


def _broken(policy: Policy, what: str) -> NoReturn:
    msg = f"schedule {policy.name!r} broke a rule: it {what}"
    raise RunError(msg)
