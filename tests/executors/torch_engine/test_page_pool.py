"""Who holds which page."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpbench.executors.torch_engine.page_pool import PagePool
from lpbench.plan.request import PAGE_TOKENS, pages_for
from lpbench.shape.catalogue import find_shape

SHAPE, _ = find_shape("builtin-moe")
SEATS, PAGES, MOST = 4, 20, 90

Moves = list[tuple[int, int, bool]]


def pool(num_pages: int = PAGES) -> PagePool:
    """Return a pool on the CPU."""
    return PagePool(
        SHAPE,
        num_pages=num_pages,
        num_seats=SEATS,
        most_tokens=MOST,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


@given(
    st.lists(st.tuples(st.integers(0, SEATS - 1), st.integers(0, 80), st.booleans()), max_size=30)
)
def test_no_two_tokens_ever_share_a_slot(moves: Moves) -> None:
    """Sequences grow and are cut back in any order; the device's tables say what the host's do."""
    found, lengths = pool(), np.zeros(SEATS, np.int64)
    for seat, tokens, gives_back in moves:
        others = sum(pages_for(int(one)) for at, one in enumerate(lengths) if at != seat)
        if gives_back:
            lengths[seat] = min(tokens, lengths[seat])
            found.release(seat, keep_tokens=int(lengths[seat]))
        elif others + pages_for(tokens) <= PAGES:
            lengths[seat] = max(tokens, lengths[seat])
            found.reserve(np.array([seat]), lengths[[seat]])
    found.send_tables()
    assert PAGES - sum(pages_for(int(one)) for one in lengths) == found._num_free
    slots = []
    for seat, length in enumerate(lengths.tolist()):
        mine = found.span(seat, 0, length)
        assert mine.tolist() == found.slots(np.array([seat]), np.arange(length)).tolist()
        tables = found.layer(0).tables[seat].repeat_interleave(PAGE_TOKENS)[:length].numpy()
        assert (mine // PAGE_TOKENS).tolist() == tables.tolist()
        slots += mine.tolist()
    assert len(slots) == len(set(slots))


def test_a_span_may_begin_within_a_page() -> None:
    """Positions 30 to 50 lie in the second to the fourth page."""
    found = pool()
    found.reserve(np.array([1]), np.array([50]))
    assert found.slots(np.array([1]), np.arange(30, 50)).tolist() == found.span(1, 30, 20).tolist()


def test_more_than_there_is_is_a_fault_of_ours() -> None:
    """The queues see to it that nobody asks."""
    found = pool(num_pages=1)
    with pytest.raises(AssertionError, match="than the pool holds"):
        found.reserve(np.array([0]), np.array([17]))
