"""Who wins a point of the regime map, from outcomes written down by hand."""

import pytest

from lpbench.analysis.regime import Outcome, fields_of


def outcome(
    label: str, ttft_ms: float, tbt_ms: float | None, budget_ms: int | None = None
) -> Outcome:
    """Return an outcome; its schedule is what stands before the colon."""
    return Outcome(
        schedule=label.partition(":")[0],
        label=label,
        ttft_ms=ttft_ms,
        tbt_ms=tbt_ms,
        budget_ms=budget_ms,
    )


def test_each_schedule_is_taken_at_its_best_within_the_budget() -> None:
    """A faster parameter that is over the budget does not count."""
    tight, loose = fields_of(
        [
            outcome("chunked:a", 300, 20),
            outcome("chunked:b", 100, 60),
            outcome("layered:a", 250, 25),
            outcome("layered:b", 200, 80),
            outcome("adaptive:a", 240, 24, 25),
            outcome("adaptive:b", 90, 99, 100),
        ]
    )
    assert ["layered", "chunked"] == [tight.winner, loose.winner]
    assert [0.2, 1.0] == pytest.approx([tight.margin, loose.margin])
    assert (250 / 240 - 1, 100 / 90 - 1) == (tight.adaptive_gain, loose.adaptive_gain)
    assert ("adaptive:a", "adaptive:b") == tuple(
        one.best["adaptive"].label for one in (tight, loose)
    )


def test_within_a_hundredth_is_a_tie() -> None:
    """100.9 is as good as 100, 101.1 is not."""
    for other, winner in ((100.9, "tie"), (101.1, "layered")):
        (field,) = fields_of(
            [
                outcome("chunked", other, 9),
                outcome("layered", 100, 9),
                outcome("adaptive", 100, 9, 10),
            ]
        )
        assert winner == field.winner


def test_who_cannot_keep_the_budget_does_not_win() -> None:
    """One that keeps it alone wins without a margin; where neither does nobody wins."""
    alone, nobody = fields_of(
        [
            outcome("chunked", 50, 30),
            outcome("layered", 100, 20),
            outcome("adaptive:a", 90, 21, 20),
            outcome("adaptive:b", 90, 10, 10),
        ]
    )[::-1]
    assert ("layered", None) == (alone.winner, alone.margin)
    assert float("-inf") == alone.adaptive_gain
    assert (None, None, None) == (nobody.winner, nobody.margin, nobody.adaptive_gain)


def test_without_decodes_every_budget_is_kept() -> None:
    """There is no gap between tokens to be too long."""
    (field,) = fields_of(
        [outcome("chunked", 2, None), outcome("layered", 1, None), outcome("adaptive", 1, None, 1)]
    )
    assert "layered" == field.winner
