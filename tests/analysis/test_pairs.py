"""Which runs are pairs: those that were taken in turn."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.analysis.pairs import in_turn
from lpbench.record.schema import Record
from lpbench.testing.records import example_record

START = datetime(2026, 11, 26, tzinfo=UTC)
RECORD = example_record()


def started(*minutes: float) -> list[Record]:
    """Return runs that were started so many minutes after a common time."""
    return [
        RECORD.model_copy(update={"started_at": START + timedelta(minutes=one)}) for one in minutes
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((0, 2, 4), (1, 3, 5)),
        ((0, 3, 4), (1, 2, 5)),
        ((4, 0, 2), (5, 3, 1)),
        ((0, 3, 6), (1, 4, 7)),
    ],
    ids=["one by one", "ABBA", "named in another order", "with a third side between"],
)
def test_sides_that_took_turns_are_pairs(
    before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    """Each run of the one beside a run of the other, both sides in the order of their starts."""
    found = in_turn(started(*before), started(*after))
    assert (started(*sorted(before)), started(*sorted(after))) == found


@pytest.mark.parametrize(
    ("before", "after"),
    [((0, 1, 2), (3, 4, 5)), ((0, 1, 4), (2, 3, 5)), ((0, 2), (1, 3, 5))],
    ids=["at a stretch", "two at a time", "one more"],
)
def test_other_sides_are_not(before: tuple[float, ...], after: tuple[float, ...]) -> None:
    """What was not taken in turn is compared as two sets."""
    assert in_turn(started(*before), started(*after)) is None


def test_a_start_that_is_not_kept_makes_no_pair() -> None:
    """A record may not say when it was started."""
    assert in_turn([*started(0), RECORD], started(1, 3)) is None


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_pairs_in_any_order_within_are_pairs(flips: list[bool]) -> None:
    """Whoever of a pair comes first, by a brute-force look at the neighbours."""
    before = [2 * at + flip for at, flip in enumerate(flips)]
    after = [2 * at + (not flip) for at, flip in enumerate(flips)]
    assert (started(*before), started(*after)) == in_turn(started(*before), started(*after))
