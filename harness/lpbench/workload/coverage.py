"""How many distinct experts a batch is expected to touch, without drawing one.

Owns: the closed form for uniform routing, and the fast form of the popularity model behind
`calibrated` routing.
Must not know: models, schedules.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lpbench.plan.grid import Span
from lpbench.plan.iteration import Segment
from lpbench.workload.routing import LAYER_SPREAD, REQUEST_SPREAD

Floats = NDArray[np.float64]

LAYER_NODES, REQUEST_NODES = 48, 96
"""Nodes of the Gauss-Hermite rules over an expert's popularity in a layer and with a request."""

LEAST, MOST, STEPS = -40.0, 30.0, 2801
"""Logarithms between which the chance of not being touched is tabulated: 1 below, 0 above."""


MOST_KEPT = 1 << 16
"""Batches of which the answer is kept: asked for often, worked out once."""


class Coverage(Protocol):
    """Says how many distinct experts the rows of a pass touch."""

    def touched(
        self, segment: Segment, layers: Span, *, first: Mapping[int, int], known: Mapping[int, int]
    ) -> tuple[float, float]:
        """Return the distinct experts of a segment's rows, and those of them that no decode takes.

        Both are summed over layers.

        Args:
            segment: the rows.
            layers: those of its layers that have experts.
            first: of each prompt the position of its token 0 in the KV cache.
            known: of each decode how many tokens it has: the last of them is its row.
        """


class ExpectedCoverage(ABC):
    """In expectation every layer is like every other, and only how many rows there are counts.

    Attributes:
        batch: takes decodes and the rows of each prompt, as `distinct`; returns the expected
            distinct experts of one layer, and those of them that no decode takes. It keeps what it
            has worked out.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.batch = lru_cache(maxsize=MOST_KEPT)(self._work_out)

    def touched(
        self, segment: Segment, layers: Span, *, first: Mapping[int, int], known: Mapping[int, int]
    ) -> tuple[float, float]:
        """Return the distinct experts of a segment's rows, and those of them that no decode takes.

        Both are expected, and summed over layers.
        """
        del first, known
        lengths = tuple([len(rows.tokens) for rows in segment.prompts])
        distinct, prefill = self.batch(len(segment.decodes), lengths)
        count = len(layers)
        return count * distinct, count * prefill

    def _work_out(self, decodes: int, prompts: tuple[int, ...]) -> tuple[float, float]:
        distinct = self.distinct(decodes, prompts)
        return distinct, distinct - self.distinct(decodes) if prompts else 0.0

    @abstractmethod
    def distinct(self, decodes: int, prompts: tuple[int, ...] = ()) -> float:
        """Return the expected distinct experts of one layer.

        Args:
            decodes: rows of as many different requests.
            prompts: rows of further requests, each that many, at least 1.
        """


class UniformCoverage(ExpectedCoverage):
    """Every row takes k of E experts, all alike: E (1 - (1 - k/E)^rows) (PAPER.md 7)."""

    def __init__(self, *, num_experts: int, top_k: int) -> None:
        """Take k and E."""
        super().__init__()
        self._num_experts = num_experts
        self._left_out = 1.0 - top_k / num_experts

    def distinct(self, decodes: int, prompts: tuple[int, ...] = ()) -> float:
        """Return the expected distinct experts of one layer."""
        return self._num_experts * (1.0 - self._left_out ** (decodes + sum(prompts)))


class CalibratedCoverage(ExpectedCoverage):
    """The popularity model of `RoutingDraws`, in expectation.

    There a row takes the k experts of smallest X / exp(s), X exponential and s the expert's
    popularity: one part of its layer, one of the request. Taken in the limit of many experts, these
    are all experts with X / exp(s) below a threshold t, the same for every row, so that a row
    leaves an expert out with probability exp(-t exp(s)), and n rows of a request with
    exp(-n t exp(s)). In the mean over what a request adds to s, that is the Laplace transform of a
    log-normal variable at n t exp(layer's part): a table here. Requests are independent given the
    layer's part, over which a quadrature goes. t is such that a row takes k experts.

    Off the draws by at most 2 points of coverage from 32 experts up, and by 5 with 8 experts
    (tests/workload/test_coverage.py).
    """

    def __init__(self, *, num_experts: int, top_k: int) -> None:
        """Make the table and solve for the threshold; top-k of E experts, k below E."""
        super().__init__()
        self._num_experts = num_experts
        self._layers, self._weights = _normal_rule(LAYER_NODES, LAYER_SPREAD)
        requests, shares = _normal_rule(REQUEST_NODES, REQUEST_SPREAD)
        self._grid = np.linspace(LEAST, MOST, STEPS)
        left_out = np.exp(-np.exp(self._grid[:, np.newaxis] + requests)) @ shares
        self._log_left_out = np.log(np.maximum(left_out, np.finfo(np.float64).tiny))
        self._threshold = self._solve(top_k)

    def distinct(self, decodes: int, prompts: tuple[int, ...] = ()) -> float:
        """Return the expected distinct experts of one layer."""
        left_out = decodes * self._log_left_out_by(1)
        for rows in prompts:
            left_out = left_out + self._log_left_out_by(rows)
        return float(self._num_experts * (1.0 - self._weights @ np.exp(left_out)))

    def _log_left_out_by(self, rows: int) -> Floats:
        """Return the log chance, by layer part, that `rows` rows of one request leave one out."""
        at = self._threshold + math.log(rows) + self._layers
        return np.interp(at, self._grid, self._log_left_out)

    def _solve(self, top_k: int) -> float:
        """Return the log threshold with which one row takes `top_k` experts, by bisection."""
        low, high = LEAST, MOST
        for _ in range(64):
            self._threshold = (low + high) / 2
            if self.distinct(1) < top_k:
                low = self._threshold
            else:
                high = self._threshold
        return high


def _normal_rule(nodes: int, spread: float) -> tuple[Floats, Floats]:
    """Return nodes and weights of a quadrature over a normal variable of that deviation."""
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return at * spread, weights / weights.sum()


@lru_cache(maxsize=64)
def find_coverage(routing: str, *, num_experts: int, top_k: int) -> ExpectedCoverage:
    """Return the model of `calibrated` or `uniform` routing; it is made once."""
    if routing == "uniform" or top_k == num_experts:
        return UniformCoverage(num_experts=num_experts, top_k=top_k)
    return CalibratedCoverage(num_experts=num_experts, top_k=top_k)
