"""Which runs of two sides stand beside each other: those that were taken in turn.

Owns: the rule by which two sets of runs are pairs.
Must not know: metrics, verdicts.

A machine is slower for minutes at a time: runs that follow one another are alike, and two sets
taken at a stretch differ by more than their spread says. Runs taken in turn share what the machine
was like, and the ratio within a pair is free of it.
"""

from collections.abc import Sequence
from operator import itemgetter

from lpbench.record.schema import Record


def in_turn(
    baseline: Sequence[Record], candidate: Sequence[Record]
) -> tuple[list[Record], list[Record]] | None:
    """Return both sides in the order of their starts, where they took turns; None otherwise.

    They did when the first runs of the two sides were started before both second ones, those before
    the third ones, and so on.
    """
    started = [
        (run.started_at, at, run)
        for at, side in enumerate((baseline, candidate))
        for run in side
        if run.started_at is not None
    ]
    if len(started) < len(baseline) + len(candidate):
        return None
    ranked = sorted(started, key=itemgetter(0))
    sides = [at for _, at, _ in ranked]
    if any({*sides[at : at + 2]} != {0, 1} for at in range(0, len(sides), 2)):
        return None
    first, second = ([run for _, at, run in ranked if at == side] for side in (0, 1))
    return first, second
