import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.meters.cupti.slope import slope
from lpbench.record.schema import Reading
from tests.meters.cupti.stopped import measured, series

busy_bytes = st.integers(1_000_000, 10_000_000).map(float)


def reading(value: float | None, *reasons: str, uncertainty: float | None = None) -> Reading:
    """Return a window's reading: absent without a value, invalid with reasons."""
    return Reading(
        value=value,
        unit="B",
        method="measured",
        source="cupti pm sampling",
        validity="absent" if value is None else "invalid" if reasons else "valid",
        reasons=reasons,
        pass_="counters",  # noqa: S106 - a pass of a run
        uncertainty=uncertainty,
    )


@given(
    repetition=st.lists(busy_bytes, min_size=1, max_size=4),
    constant=st.lists(busy_bytes, max_size=3),
    count=st.integers(1, 5),
    idle=st.integers(0, 900),
    later_idle=st.integers(0, 900),
)
def test_it_cancels_constants_and_idle_rates(
    *, repetition: list[float], constant: list[float], count: int, idle: int, later_idle: int
) -> None:
    """Property: start-up work of any size and idle rates of any two sizes leave no trace."""
    once = measured(series([*constant, *repetition * count], idle_bytes=idle))
    twice = measured(series([*constant, *repetition * 2 * count], idle_bytes=later_idle))
    for name, share in (("dram_bytes_read", 1), ("dram_bytes_written", 1 / 4)):
        found = slope(once=once[name], twice=twice[name], repetitions=count)
        assert ("valid", "B", "measured") == (found.validity, found.unit, found.method)
        assert pytest.approx(share * sum(repetition)) == found.value


def test_by_hand() -> None:
    """(1000 - 600) / 4 bytes; what is not known adds up: (10 + 30) / 4."""
    once, twice = reading(600, uncertainty=10), reading(1000, uncertainty=30)
    assert reading(100, uncertainty=10) == slope(once=once, twice=twice, repetitions=4)


def test_an_uncertainty_that_is_not_known_stays_so() -> None:
    """Half of it would look like all of it."""
    found = slope(once=reading(600, uncertainty=10), twice=reading(1000), repetitions=4)
    assert found.uncertainty is None


def test_it_is_as_good_as_the_worse_window() -> None:
    """Invalid with both windows' reasons; absent where one is absent."""
    invalid, other = reading(600, "overflow"), reading(1000, "overflow", "truncated")
    found = slope(once=invalid, twice=other, repetitions=1)
    assert reading(400, "overflow", "truncated") == found
    found = slope(once=reading(None, "timeout"), twice=other, repetitions=1)
    assert reading(None, "timeout", "overflow", "truncated") == found
