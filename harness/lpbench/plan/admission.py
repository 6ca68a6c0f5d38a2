"""Who is served next, and with how many tokens: FCFS under pages, sequences and a token budget.

Owns: the one admission rule that all schedules share.
Must not know: how the admitted tokens are tiled.
"""

from lpbench.plan.policy import View
from lpbench.plan.request import Progress


def admit(view: View, budget: int, *, cut: bool) -> list[tuple[Progress, int]]:
    """Return prompts in order of service, each with the tokens of it that fit the budget.

    Order: prompts already begun, then preempted, then waiting. A prompt not begun takes its pages
    now; the first that does not fit ends admission, and so does one preempted in this iteration,
    which has no row in it.

    Args:
        view: the queues and the KV budget.
        budget: prompt tokens to give away.
        cut: whether the last prompt is cut to fit; without, a prompt that does not fit ends
            admission, but the first is taken in any case: a preempted prompt may have grown
            past the budget with the tokens it generated, and would else never return.
    """
    admitted: list[tuple[Progress, int]] = []
    pages, seqs = view.free_pages, view.free_seqs
    for progress in (*view.begun, *view.queue):
        tokens = min(progress.rest, budget) if cut else progress.rest
        if tokens == 0 or (tokens > budget and admitted) or progress.request in view.preempted:
            break
        if not progress.is_begun:
            if progress.pages > pages or seqs == 0:
                break
            pages -= progress.pages
            seqs -= 1
        admitted.append((progress, tokens))
        budget -= tokens
    return admitted
