"""The search for a rate, against functions whose answer is known."""

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.bench.rate import FACTOR, WIDTH, Bracket, find_rate

RATES = st.floats(min_value=1e-3, max_value=1e3)


@given(limit=RATES, start=RATES)
def test_the_highest_rate_of_a_step_is_found(limit: float, start: float) -> None:
    """Good up to a limit: found within 1 % below it, from wherever the search starts."""
    if not start / FACTOR < limit < start * FACTOR:
        return
    found = find_rate(lambda rate: rate <= limit, start=start)
    assert found.reason is None
    assert found.met is not None
    assert found.missed is not None
    assert found.met <= limit < found.missed <= found.met * (1 + WIDTH)
    assert found.met == found.edge


@given(load=st.floats(min_value=0.05, max_value=20))
def test_a_closed_form_share(load: float) -> None:
    """The share exp(-rate / load) is 90 % at load * ln(10 / 9)."""
    found = find_rate(lambda rate: math.exp(-rate / load) >= 0.9, start=1.0)
    assert load * math.log(10 / 9) == pytest.approx(found.edge, rel=WIDTH)


@given(seed=st.integers(min_value=0, max_value=10**6), start=st.floats(0.1, 10))
def test_noise_ends_the_search_at_an_edge(seed: int, start: float) -> None:
    """Where good and bad come and go, the rate found is good and the one right above it bad."""
    tried: dict[float, bool] = {}

    def attains(rate: float) -> bool:
        word = hashlib.sha256(f"{seed} {rate!r}".encode()).digest()[0]
        return tried.setdefault(rate, rate * (word + 64) < 256)

    found = find_rate(attains, start=start)
    assert found.met is not None
    assert found.missed is not None
    assert tried[found.met]
    assert not tried[found.missed]
    assert found.met < found.missed <= found.met * (1 + WIDTH)


def test_no_rate_is_good_enough() -> None:
    """At the lower bound the search gives up, with a reason and no number."""
    tried: list[float] = []

    def attains(rate: float) -> bool:
        tried.append(rate)
        return False

    found = find_rate(attains, start=8.0, lowest=1.5)
    assert Bracket(met=None, missed=1.5) == found
    assert "slo_missed_at_lowest_rate" == found.reason
    assert [8.0, 4.0, 2.0, 1.5] == tried


def test_every_rate_is_good_enough() -> None:
    """So it does at the upper bound; without one, at 1024 times the start."""
    assert Bracket(met=10.0, missed=None) == find_rate(lambda _: True, start=3.0, highest=10.0)
    found = find_rate(lambda _: True, start=3.0)
    assert (3072.0, "slo_met_at_highest_rate") == (found.edge, found.reason)


def test_rates_can_be_typed_again() -> None:
    """All rates but the start have four digits at most."""
    tried: list[float] = []

    def attains(rate: float) -> bool:
        tried.append(rate)
        return rate < math.pi

    find_rate(attains, start=1 / 3)
    assert tried[1:] == [float(f"{rate:.4g}") for rate in tried[1:]]
