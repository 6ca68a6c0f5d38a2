"""When requests arrive, in seconds, drawn for a rate and a burstiness.

Owns: the gamma distributed gaps and how they are stretched to the rate.
Must not know: what a request asks for, the clock it arrives on.

A draw is a function of (seed, request) alone and has the same bits on every machine: hash and
arithmetic are those of `routing`, and sums are taken in order.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from lpbench.errors import InputError
from lpbench.workload.routing import (
    Floats,
    Words,
    fold,
    hashed,
    natural_exp,
    natural_log,
    normal_quantile,
    uniform,
)
from lpbench.workload.workload import Workload

LEAST_RATE: Final = 1e-9
"""Requests per second, less than one in thirty years: all times are finite numbers."""

_ARRIVAL_STREAM: Final = 5
"""A use of the seed of its own, beside those of `routing` and `tokens`."""

_DEEPEST: Final = -700.0
"""Logarithm of the smallest gap beside the largest: `natural_exp` goes no lower."""


def arrival_times(count: int, *, rate: float, burstiness: float, seed: int) -> tuple[float, ...]:
    """Return when `count` requests arrive, in seconds, in order.

    The gaps are drawn from a gamma distribution of shape `burstiness` and mean 1/rate: 1 is a
    Poisson process, less comes in bursts, more is more even, infinity is one request every 1/rate.
    As in vLLM's `bench serve`, the first request comes after the first gap rather than at 0, and
    all times are stretched by one factor so that the last request arrives at count/rate: every
    seed offers the same load over the same time, and the drawn scale of the gaps drops out.

    Args:
        count: requests.
        rate: requests per second; infinity for all at 0.
        burstiness: shape of the gamma distribution.
        seed: an unsigned 64-bit integer.

    Raises:
        InputError: the rate or the burstiness is out of range.
    """
    if not rate >= LEAST_RATE:
        msg = (
            f"--request-rate {rate} is out of range; accepted: {LEAST_RATE:g} or more requests per "
            "second, inf for all at once"
        )
        raise InputError(msg)
    if not burstiness > 0:
        msg = (
            f"--burstiness {burstiness} is out of range; accepted: above 0, where 1 is a Poisson "
            "process"
        )
        raise InputError(msg)
    if not count or math.isinf(rate):
        return (0.0,) * count
    times = np.cumsum(_gaps(count, shape=burstiness, seed=seed))
    times /= times[-1]
    times *= count / rate
    return tuple(times.tolist())


def with_arrivals(workload: Workload, *, rate: float, burstiness: float, seed: int) -> Workload:
    """Return the workload with an arrival in seconds for every request, as `arrival_times`.

    Raises:
        InputError: its requests state when they arrive, or as `arrival_times`.
    """
    stated = {
        "arrival_s": any(line.arrival_s is not None for line in workload.lines),
        "arrival_iteration": any(line.arrival_iteration is not None for line in workload.lines),
    }
    for key, there in stated.items():
        if there:
            msg = (
                f"--request-rate {rate}: the requests of workload {workload.name!r} state their "
                f"own {key}; leave out --request-rate, or {key} in all of them"
            )
            raise InputError(msg)
    times = arrival_times(len(workload.lines), rate=rate, burstiness=burstiness, seed=seed)
    lines = zip(workload.lines, times, strict=True)
    return replace(workload, lines=tuple(replace(line, arrival_s=time) for line, time in lines))


def _gaps(count: int, *, shape: float, seed: int) -> Floats:
    """Draw gamma distributed numbers, float64 [count], but for a factor that all share.

    Below shape 1 a draw of shape + 1 times U^(1/shape), as Marsaglia and Tsang say in their section
    6. For a small shape all such numbers are too small for a float, so the division by the largest
    is done in logarithms.
    """
    keys = fold(hashed(seed, _ARRIVAL_STREAM), np.arange(count, dtype=np.uint64))
    if math.isinf(shape):
        return np.ones(count)
    if shape >= 1:
        return _cubes(keys, shape=shape)
    logs = natural_log(_cubes(keys, shape=shape + 1)) * shape
    logs += natural_log(uniform(fold(keys, _coordinate(0))))
    logs -= logs.max()
    return natural_exp(np.maximum(logs, _DEEPEST * shape) / shape)


def _cubes(keys: Words, *, shape: float) -> Floats:
    """Draw from the gamma distribution of shape 1 or more, divided by shape - 1/3, one for a key.

    Marsaglia and Tsang, A simple method for generating gamma variables, ACM Transactions on
    Mathematical Software 26 (2000): v = (1 + x/sqrt(9 d))^3 of a normal x, with d = shape - 1/3,
    is taken where log(u) < x^2/2 + d (1 - v + log(v)) of a uniform u, and drawn again elsewhere.
    """
    d = shape - 1.0 / 3.0
    slope = 1.0 / math.sqrt(9.0 * d)
    cubes = np.zeros(len(keys))
    pending = np.arange(len(keys))
    attempt = 0
    while len(pending):
        attempt += 1
        tried = fold(keys[pending], _coordinate(attempt))
        x = normal_quantile(uniform(fold(tried, _coordinate(0))))
        root = x * slope
        root += 1.0
        positive = root > 0.0
        root = np.where(positive, root, 1.0)
        v = root * root
        v *= root
        bound = natural_log(v)
        bound += 1.0 - v
        bound *= d
        bound += 0.5 * (x * x)
        taken = positive & (natural_log(uniform(fold(tried, _coordinate(1)))) < bound)
        cubes[pending[taken]] = v[taken]
        pending = pending[~taken]
    return cubes


def _coordinate(value: int) -> Words:
    return np.array([value], dtype=np.uint64)
