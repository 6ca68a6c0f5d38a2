"""How far predictions are off what was measured, kind by kind.

Owns: the statistics of relative errors and their words in a file.
Must not know: what predicted, which measurements were fitted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpbench.analysis.metrics import P90_SAMPLES
from lpbench.bench.fit import Floats

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Off:
    """How far predictions are off what was measured.

    Attributes:
        what: which measurements.
        count: how many of them.
        median: of abs(predicted/measured - 1).
        p90: of the same; None with fewer than `P90_SAMPLES`.
        total: the sum of predictions over that of measurements, less 1.
    """

    what: str
    count: int
    median: float
    p90: float | None
    total: float

    def __str__(self) -> str:
        """Return it in words."""
        p90 = "" if self.p90 is None else f", p90 {self.p90:.1%}"
        median = f"median error {self.median:.1%}{p90}"
        return f"{self.count} {self.what}: {median}, total {self.total:+.1%}"


def off_times(predicted: Floats, measured: Floats, has_prefill: Flags) -> Iterator[Off]:
    """Yield how far the times of passes are off, by whether they carry a prefill; [n] each."""
    for what, of in (
        ("passes without prefill", ~has_prefill),
        ("passes with prefill", has_prefill),
        ("all passes", np.ones_like(has_prefill)),
    ):
        if of.any():
            yield off(what, predicted[of], measured[of])


def off(what: str, predicted: Floats, measured: Floats) -> Off:
    """Return how far predictions [n] are off; n is 1 at least."""
    size = np.abs(predicted / measured - 1)
    return Off(
        what=what,
        count=len(size),
        median=float(np.median(size)),
        p90=float(np.quantile(size, 0.9)) if len(size) >= P90_SAMPLES else None,
        total=float(predicted.sum() / measured.sum() - 1),
    )
