"""Seeded routing draws: which experts each position of a request is routed to.

Owns: the hash, the arithmetic and the popularity model behind `calibrated` and `uniform` routing.
Must not know: how a request is cut into iterations, what executes it, or who counts the experts.

Every draw is a function of (seed, layer, request, position, expert) alone, so each schedule meets
the same routing however it slices a prompt. The bits are the same on every machine: 64-bit integer
arithmetic, then float64 built only from operations that IEEE 754 rounds in one way (+ - * / sqrt,
comparisons, conversions), one NumPy call per operation so that nothing is fused. `numpy.log` and
its kin are not used: their last bit depends on the library and on the vector unit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float64]
Experts: TypeAlias = NDArray[np.int16]

KINDS: Final = ("calibrated", "uniform")

LAYER_SPREAD: Final = 1.6
"""Standard deviation of an expert's log popularity within a layer, shared by all requests.

Fitted together with `REQUEST_SPREAD` to the coverage that the layered-prefill paper reports for
Qwen3-30B-A3B (128 experts, top-8): over decode batches of 16 to 128 requests (its Table 1,
`PAPER.md` 3.2 and 7) and over slices of 512 to 8192 tokens of one prompt (its Fig. 2, 3.4).
"""

REQUEST_SPREAD: Final = 1.4
"""Standard deviation of what one request adds to an expert's log popularity in a layer.

Fitted with `LAYER_SPREAD`. One prompt covers fewer experts (their root sum of squares, 2.13) than
its length suggests, while requests decoding side by side differ and so cover more.
"""

BLOCK_DRAWS: Final = 1 << 14
"""Draws worked on at a time: 128 KiB an array, so that the few live ones fit a core's L2 cache."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_LAYER_STREAM: Final = 1
_REQUEST_STREAM: Final = 2
_NOISE_STREAM: Final = 3

_MAX_EXPERTS: Final = 1 << 15
_ID_BITS: Final = np.uint64(_MAX_EXPERTS - 1)

_FRACTION_BITS: Final = np.int64((1 << 52) - 1)
_ONE_BITS: Final = np.uint64(0x3FF0000000000000)
_SQRT_HALF_BITS: Final = np.int64(0x3FE6A09E667F3BCD)

_LN2: Final = float.fromhex("0x1.62e42fefa39efp-1")
# ln 2 in two parts; the first ends in zero bits, so that its product with an exponent is exact.
_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")

_ATANH_SERIES: Final = tuple(1.0 / (2 * n + 1) for n in range(10))
_EXP_SERIES: Final = tuple(1.0 / factorial(n) for n in range(14))

# Algorithm AS 241 (see `normal_quantile`) has three ranges of p: the centre, abs(p - 1/2) <= 0.425;
# the tails, sqrt(-log(p)) <= 5 or the same of 1 - p; and the far tails. Each has a ratio of two
# polynomials, given as numerator and denominator, lowest power first.
_CENTRE_HALF_WIDTH: Final = 0.425
_CENTRE_HALF_WIDTH_SQUARED: Final = 0.180625
_TAIL_SHIFT: Final = 1.6
_TAIL_DEPTH: Final = 5.0
# fmt: off
_CENTRE: Final = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3),
)
_TAIL: Final = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)
_FAR_TAIL: Final = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class RoutingDraws:
    """The experts of every position of every request, drawn when asked for.

    `kind` is "calibrated" (some experts are popular in a layer, others with a request) or "uniform"
    (all are alike); `seed` is an unsigned 64-bit integer.
    """

    kind: str
    seed: int
    num_layers: int
    num_experts: int
    top_k: int

    def __post_init__(self) -> None:
        """Check the invariants that callers have already established for the user."""
        assert self.kind in KINDS, self.kind
        assert 0 <= self.seed < 1 << 64, self.seed
        assert self.num_layers >= 1, self.num_layers
        assert 1 <= self.top_k <= self.num_experts <= _MAX_EXPERTS, (self.top_k, self.num_experts)

    def experts(self, *, request: int, start: int, stop: int) -> Experts:
        """Draw the experts of the positions `start` to `stop - 1` of a request.

        Each expert gets a score plus Gumbel noise and the `top_k` largest win, which is sampling
        without replacement by popularity exp(score). With E exponential, -log(E) is Gumbel, so the
        winners are also the `top_k` smallest E / exp(score): one logarithm a draw.

        Args:
            request: number of the request, from 0.
            start: first position, from 0.
            stop: one past the last position.

        Returns:
            int16 [num_layers, stop - start, top_k], expert ids ascending in the last axis.
        """
        assert request >= 0, request
        assert 0 <= start <= stop, (start, stop)
        noise = fold(self._layer_keys(_NOISE_STREAM), _number(request))
        rates = self._negated_rates(request)
        positions = np.arange(start, stop, dtype=np.uint64)
        experts = np.arange(self.num_experts, dtype=np.uint64)
        chosen = np.empty((self.num_layers, stop - start, self.top_k), dtype=np.int16)
        for layers, rows in _blocks(self.num_layers, stop - start, num_experts=self.num_experts):
            keys = fold(noise[layers, np.newaxis], positions[rows])
            costs = natural_log(uniform(fold(keys[..., np.newaxis], experts)))
            costs *= rates[layers, np.newaxis]
            chosen[layers, rows] = cheapest(costs, self.top_k)
        return chosen

    def _layer_keys(self, stream: int) -> Words:
        """Return the hash state of each layer, uint64 [num_layers], for one use of the seed."""
        return fold(hashed(self.seed, stream), np.arange(self.num_layers, dtype=np.uint64))

    def _negated_rates(self, request: int) -> Floats:
        """Return -exp(-score), float64 [num_layers, num_experts], for one request.

        Negated because it multiplies log(u), which is minus the exponential draw.
        """
        if self.kind == "uniform":
            return np.full((self.num_layers, self.num_experts), -1.0)
        layer_keys = self._layer_keys(_LAYER_STREAM)
        request_keys = fold(self._layer_keys(_REQUEST_STREAM), _number(request))
        scores = self._normals(layer_keys) * LAYER_SPREAD
        scores += self._normals(request_keys) * REQUEST_SPREAD
        return -natural_exp(-scores)

    def _normals(self, keys: Words) -> Floats:
        """Return a normal draw of each expert, float64 [len(keys), num_experts]."""
        experts = np.arange(self.num_experts, dtype=np.uint64)
        return normal_quantile(uniform(fold(keys[:, np.newaxis], experts)))


def fold(state: Words, coordinate: Words) -> Words:
    """Mix one more coordinate into hash states; the shapes broadcast, at least one axis each.

    Steps by an odd constant, then the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014;
    its constants are Stafford's Mix13). One to one in `state` and in `coordinate`, modulo 2**64.
    """
    mixed = state + (coordinate + np.uint64(1)) * _GOLDEN
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hashed(*coordinates: int) -> Words:
    """Return the hash state of unsigned 64-bit coordinates, uint64 [1]."""
    state = _number(0)
    for coordinate in coordinates:
        state = fold(state, _number(coordinate))
    return state


def uniform(words: Words) -> Floats:
    """Turn hash words, which it overwrites, into float64 in (0, 1).

    The top 52 bits n become (n + 1/2) / 2**52, exactly: never 0 or 1, and 1 - u is exact as well.
    """
    words >>= np.uint64(12)
    words |= _ONE_BITS
    values = words.view(np.float64)
    values -= 1.0 - 2.0**-53
    return values


def natural_log(x: Floats) -> Floats:
    """Return log(x) of positive normal float64 within a relative error of 1e-15.

    x = 2**k * m with m in [sqrt(1/2), sqrt(2)) and log(m) = 2 atanh(t), t = (m - 1)/(m + 1). With
    t**2 < 0.0295 the ten terms kept leave out less than 3e-17 of it; the rest is rounding.
    """
    bits = x.view(np.int64) - _SQRT_HALF_BITS
    result = (bits >> np.int64(52)).astype(np.float64)
    bits &= _FRACTION_BITS
    bits += _SQRT_HALF_BITS
    m = bits.view(np.float64)
    t = m - 1.0
    m += 1.0
    t /= m
    np.multiply(t, t, out=m)
    series = _polynomial(m, _ATANH_SERIES)
    t += t
    series *= t
    result *= _LN2
    result += series
    return result


def natural_exp(x: Floats) -> Floats:
    """Return exp(x) of float64 in [-700, 700] within a relative error of 1e-15.

    x = k ln 2 + r with abs(r) <= ln(2)/2; 14 terms of the series leave out less than 6e-18.
    """
    k = np.rint(x * (1.0 / _LN2))
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    scaled: Floats = np.ldexp(_polynomial(r, _EXP_SERIES), k.astype(np.int32))
    return scaled


def normal_quantile(p: Floats) -> Floats:
    """Return the standard normal quantiles of float64 in (0, 1) within a relative error of 1e-14.

    Wichura, Algorithm AS 241, Applied Statistics 37 (1988), routine PPND16.
    """
    q = p - 0.5
    centre = np.abs(q) <= _CENTRE_HALF_WIDTH
    middle = q * _rational(_CENTRE_HALF_WIDTH_SQUARED - q * q, _CENTRE)
    depth = np.sqrt(-natural_log(np.minimum(p, 1.0 - p)))
    near = _rational(depth - _TAIL_SHIFT, _TAIL)
    far = _rational(depth - _TAIL_DEPTH, _FAR_TAIL)
    tail = np.where(depth <= _TAIL_DEPTH, near, far)
    return np.where(centre, middle, np.where(q < 0.0, -tail, tail))


def cheapest(costs: Floats, top_k: int) -> Experts:
    """Return the ids of the `top_k` smallest positive costs of the last axis; overwrites `costs`.

    The bits of positive floats sort as the floats do. The id in the lowest 15 bits (37 bits of the
    fraction stay) makes the words distinct, so equal costs go to the lower id, and lets a plain
    partition of integers stand in for the slower one of indices.
    """
    words = costs.view(np.uint64)
    words &= ~_ID_BITS
    words |= np.arange(words.shape[-1], dtype=np.uint64)
    words.partition(top_k - 1, axis=-1)
    ids = (words[..., :top_k] & _ID_BITS).astype(np.int16)
    ids.sort(axis=-1)
    return ids


def _rational(x: Floats, ratio: tuple[tuple[float, ...], tuple[float, ...]]) -> Floats:
    """Return numerator(x) / denominator(x), coefficients from the lowest power."""
    return _polynomial(x, ratio[0]) / _polynomial(x, ratio[1])


def _polynomial(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    """Return the sum of coefficients[i] * x**i by Horner's rule, a new array."""
    total = x * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        total += coefficient
        total *= x
    total += coefficients[0]
    return total


def _blocks(num_layers: int, num_rows: int, *, num_experts: int) -> Iterator[tuple[slice, slice]]:
    """Cut layers x positions into blocks of at most `BLOCK_DRAWS` draws, or of a single row."""
    rows = max(1, min(num_rows, BLOCK_DRAWS // num_experts))
    layers = max(1, BLOCK_DRAWS // (num_experts * rows))
    for layer in range(0, num_layers, layers):
        for row in range(0, num_rows, rows):
            yield slice(layer, layer + layers), slice(row, row + rows)


def _number(value: int) -> Words:
    """Return an integer as uint64 [1]: arrays wrap silently where NumPy scalars warn."""
    return np.array([value], dtype=np.uint64)
