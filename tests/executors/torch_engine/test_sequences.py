"""What is known of every request."""

import numpy as np

from lpbench.executors.torch_engine.sequences import Sequences
from lpbench.plan.grid import Span
from lpbench.plan.iteration import PromptRows, Segment
from lpbench.plan.request import Request

REQUESTS = (
    Request(index=3, context_tokens=2, prompt_tokens=3, output_tokens=2),
    Request(index=1, prompt_tokens=1, output_tokens=3),
)
IDS = {3: [10, 11, 12, 13, 14], 1: [20]}


def test_tokens_follow_the_prompt() -> None:
    """Each request's last id is what was fed to it last, and the other's stay."""
    found = Sequences(REQUESTS, IDS)
    seats = found.seats((1, 3))
    assert [20, 14] == found.last(seats).tolist()
    found.feed(seats, np.array([7, 8]))
    found.feed(found.seats((1,)), np.array([9]))
    assert [9, 8] == found.last(seats).tolist()
    assert [2, 1] == found.generated(seats).tolist()


def test_a_script_is_fed_whatever_was_chosen() -> None:
    """And forgotten when an arm begins without one."""
    found = Sequences(REQUESTS, IDS)
    found.reset({3: [50, 51], 1: [60, 61, 62]})
    seats = found.seats((3, 1))
    found.feed(seats, np.array([7, 8]))
    assert [50, 60] == found.last(seats).tolist()
    found.reset(None)
    found.feed(seats, np.array([7, 8]))
    assert [7, 8] == found.last(seats).tolist()


def test_prompt_rows_stand_behind_the_context() -> None:
    """Where it was lost, rows count from its first token."""
    found = Sequences(REQUESTS, IDS)
    rows = PromptRows(3, Span(1, 3))
    assert [11, 12] == found.ids_of(rows).tolist()
    found.offsets[found.seat(3)] = 2
    assert [13, 14] == found.ids_of(rows).tolist()
    assert found.is_at_the_end(rows)
    assert not found.is_at_the_end(PromptRows(3, Span(0, 2)))


def test_blocks_are_decodes_then_prompts() -> None:
    """A decode's row stands at its last id."""
    found = Sequences(REQUESTS, IDS)
    segment = Segment(Span(0, 1), (1,), (PromptRows(3, Span(0, 2)),))
    blocks = [(one.request, one.start, one.count) for one in found.blocks(segment)]
    assert [(1, 0, 1), (3, 0, 2)] == blocks
