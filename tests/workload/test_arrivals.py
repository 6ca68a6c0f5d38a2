import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.workload.arrivals import arrival_times, with_arrivals
from lpbench.workload.requests import Line
from lpbench.workload.routing import Floats
from lpbench.workload.workload import Workload, uniform

MANY = 20_000
MASK = (1 << 64) - 1


def gaps(burstiness: float, *, rate: float = 4.0, seed: int = 0) -> Floats:
    """Return the times between many arrivals, the first from 0."""
    times = arrival_times(MANY, rate=rate, burstiness=burstiness, seed=seed)
    return np.diff(np.array(times), prepend=0.0)


def refusal(**options: float) -> str:
    """Return the one line with which a rate or a burstiness is refused."""
    given_options = {"rate": 1.0, "burstiness": 1.0} | options
    with pytest.raises(InputError) as caught:
        arrival_times(3, seed=0, **given_options)
    assert 1 == len(str(caught.value).splitlines())
    return str(caught.value)


@settings(deadline=None)
@given(
    count=st.integers(1, 50),
    rate=st.floats(1e-9, 1e300),
    burstiness=st.floats(0, exclude_min=True),
    seed=st.integers(0, MASK),
)
def test_every_rate_and_burstiness_gives_times_in_order(
    count: int, rate: float, burstiness: float, seed: int
) -> None:
    """Times never go back, none is negative, and the last is count/rate, however extreme."""
    times = arrival_times(count, rate=rate, burstiness=burstiness, seed=seed)
    assert count == len(times)
    assert sorted(times) == list(times)
    assert 0 <= times[0]
    assert count / rate == times[-1]


def test_the_first_request_comes_after_a_gap() -> None:
    """As in vLLM, nothing arrives at 0: the whole of count/rate is between arrivals."""
    assert 0 < arrival_times(3, rate=1.0, burstiness=1.0, seed=0)[0]


@pytest.mark.parametrize("burstiness", [0.1, 0.5, 1.0, 2.0, 10.0, 1e6])
def test_gaps_have_the_mean_and_the_variance_of_the_gamma(burstiness: float) -> None:
    """Mean 1/rate, which is exact, and a squared coefficient of variation of 1/burstiness."""
    found = gaps(burstiness)
    assert pytest.approx(1 / 4.0) == found.mean()
    assert pytest.approx(1 / burstiness, rel=0.04) == found.var() / found.mean() ** 2


def half(x: float) -> float:
    """Return the distribution function of the gamma of shape 1/2 and mean 1."""
    return math.erf(math.sqrt(x / 2))


def one(x: float) -> float:
    """Return that of shape 1: the exponential of mean 1."""
    return -math.expm1(-x)


def two(x: float) -> float:
    """Return that of shape 2 and mean 1."""
    return 1 - math.exp(-2 * x) * (1 + 2 * x)


@pytest.mark.parametrize(("burstiness", "expected"), [(0.5, half), (1.0, one), (2.0, two)])
def test_gaps_have_the_distribution_of_the_gamma(
    burstiness: float, expected: Callable[[float], float]
) -> None:
    """The Kolmogorov-Smirnov distance stays below its value at a significance of 1 %."""
    found = np.sort(gaps(burstiness)) * 4.0
    shares = np.array([expected(float(x)) for x in found])
    steps = np.arange(MANY + 1) / MANY
    distance = max(np.abs(shares - steps[1:]).max(), np.abs(shares - steps[:-1]).max())
    assert distance < 1.628 / math.sqrt(MANY)


def test_gaps_do_not_depend_on_each_other() -> None:
    """Neighbouring gaps are uncorrelated."""
    found = gaps(1.0)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 3 / math.sqrt(MANY)


def test_an_infinite_burstiness_is_a_steady_beat() -> None:
    """Nothing is drawn: one request every 1/rate."""
    assert (0.5, 1.0, 1.5, 2.0) == arrival_times(4, rate=2.0, burstiness=math.inf, seed=0)


def test_the_smallest_burstiness_is_a_single_gap() -> None:
    """One gap is all of count/rate; how many requests come before it is drawn."""
    times = arrival_times(100, rate=1.0, burstiness=5e-324, seed=0)
    assert 1 == sum(gap > 1e-300 for gap in np.diff(times, prepend=0.0))


def test_an_infinite_rate_is_all_at_once() -> None:
    """Every request is there from the start."""
    assert (0.0, 0.0, 0.0) == arrival_times(3, rate=math.inf, burstiness=0.5, seed=0)


def test_no_requests_arrive_never() -> None:
    """There is nothing to stretch."""
    assert () == arrival_times(0, rate=1.0, burstiness=1.0, seed=0)


def test_the_same_seed_gives_the_same_times_anywhere() -> None:
    """These times were drawn once and for all: other bits are another workload."""
    expected = (0.49569522461240945, 0.818287829583397, 1.4126155289099922, 2.0)
    assert expected == arrival_times(4, rate=2.0, burstiness=0.5, seed=7)
    assert expected != arrival_times(4, rate=2.0, burstiness=0.5, seed=8)


def test_a_rate_stretches_the_same_draws() -> None:
    """Twice the rate is the same pattern in half the time."""
    slow, fast = (arrival_times(9, rate=rate, burstiness=1.0, seed=3) for rate in (1.0, 2.0))
    assert [time / 2 for time in slow] == list(fast)


@pytest.mark.parametrize("rate", [0.0, -0.0, -1.0, 1e-300, math.nan, -math.inf])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """The option, the value and the range are named."""
    expected = (
        f"--request-rate {rate} is out of range; accepted: 1e-09 or more requests per second, inf "
        "for all at once"
    )
    assert expected == refusal(rate=rate)


@pytest.mark.parametrize("burstiness", [0.0, -1.0, math.nan, -math.inf])
@pytest.mark.parametrize("rate", [1.0, math.inf])
def test_a_burstiness_that_is_none_is_refused(burstiness: float, rate: float) -> None:
    """It is refused where it would not matter, too."""
    expected = (
        f"--burstiness {burstiness} is out of range; accepted: above 0, where 1 is a Poisson "
        "process"
    )
    assert expected == refusal(burstiness=burstiness, rate=rate)


def test_every_request_of_a_workload_gets_an_arrival() -> None:
    """Name, lengths and order stay."""
    before = uniform(num_prompts=5, input_len=7, output_len=3)
    after = with_arrivals(before, rate=2.0, burstiness=1.0, seed=4)
    assert (before.name, before.description) == (after.name, after.description)
    times = arrival_times(5, rate=2.0, burstiness=1.0, seed=4)
    expected = tuple(Line(arrival_s=time, prompt=7, output_tokens=3) for time in times)
    assert expected == after.lines


@pytest.mark.parametrize("key", ["arrival_s", "arrival_iteration"])
def test_a_workload_with_arrivals_takes_no_rate(key: str) -> None:
    """Even an arrival of 0 in a single line is one."""
    timed = Line(prompt=1, output_tokens=1, **{key: 0})
    lines = (Line(prompt=1, output_tokens=1), timed)
    with pytest.raises(InputError) as caught:
        with_arrivals(
            Workload(name="x", description="", lines=lines), rate=2.0, burstiness=1.0, seed=0
        )
    expected = (
        f"--request-rate 2.0: the requests of workload 'x' state their own {key}; leave out "
        f"--request-rate, or {key} in all of them"
    )
    assert expected == str(caught.value)
