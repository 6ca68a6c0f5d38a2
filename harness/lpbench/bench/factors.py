"""A handful of factors that are fitted, and the set of coefficients that they make.

Owns: which coefficients move together, and what is said of each.
Must not know: measurements, how a fit descends.

Four factors are fitted on the start set's shares of the device's peaks:

- the shares of memory of all products of matrices (projections, experts, dense, head), and their
  shares of compute: the kernels are alike, and passes rarely tell one product from another. What
  they differ by is kept from the start set;
- the shares of decode attention, and those of prefill attention;

and `layer_s`, `row_s` and `host_s`, each by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lpbench.bench.fit import Fitted, Floats
from lpbench.bench.replay import SECONDS, PassTimes
from lpbench.executors.roofline.coefficients import LEAST_SHARE, Coefficients
from lpbench.record.toml import rounded
from lpbench.shape.operators import KINDS

TABLES = ("memory", "compute")
MATRICES = ("experts", "projections", "dense", "head")
"""Operators whose shares move together; of the experts most is read."""

SLOWEST = 1e4
"""No operator is taken to be so many times slower than by the start set."""

DOUBT = 10.0
"""Overheads are an order of magnitude apart from host to host, shares a factor of two."""

FALL = 100.0
"""No kernel is so many times slower than another: a share that falls by more stands for something
else that the passes wait for."""

Share = tuple[str, str]
"""A table and an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Shares that are fitted by one factor; the first is the one that is shown."""

    members: tuple[Share, ...]

    @property
    def name(self) -> str:
        """The name of the one that is shown."""
        return ".".join(self.members[0])


GROUPS = (
    *(Group(members=tuple((table, kind) for kind in MATRICES)) for table in TABLES),
    Group(members=(("memory", "attention_decode"), ("compute", "attention_decode"))),
    Group(members=(("compute", "attention_prefill"), ("memory", "attention_prefill"))),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one coefficient.

    Attributes:
        name: as in the file, a share with its operator behind a dot.
        start: its value in the start set.
        value: its value now.
        error: its standard error; None where it was not fitted.
        why: why it was not; empty where it was.
    """

    name: str
    start: float
    value: float
    error: float | None = None
    why: str = ""

    @property
    def has_fallen(self) -> bool:
        """Whether it is a share that fell by more than `FALL`."""
        return "." in self.name and self.value * FALL < self.start


class Factors:
    """The factors, in one row: those on `GROUPS` first, then `SECONDS`.

    A factor is how many times longer an operator takes than by the start set.
    """

    def __init__(self, start: Coefficients) -> None:
        """Begin with the start set, all factors 1."""
        self._set = start
        seconds = [getattr(start, name) for name in SECONDS]
        self.start: Floats = np.array([1.0] * len(GROUPS) + seconds)
        self.doubts: Floats = np.array([1.0] * len(GROUPS) + [DOUBT * one for one in seconds])
        # A share is 1 at most, so a factor is the largest share of its group at least.
        least = [max(self._share(one) for one in group.members) for group in GROUPS]
        most = [
            min(SLOWEST, *(self._share(one) / LEAST_SHARE for one in group.members))
            for group in GROUPS
        ]
        self.bounds: tuple[Floats, Floats] = (
            np.array(least + [0.0] * len(SECONDS)),
            np.array(most + [1.0] * len(SECONDS)),
        )
        self._spread = np.zeros((len(TABLES) * len(KINDS) + len(SECONDS), len(self.start)))
        for column, group in enumerate(GROUPS):
            for table, kind in group.members:
                row = TABLES.index(table) * len(KINDS) + KINDS.index(kind)
                self._spread[row, column] = 1 / self._share((table, kind))
        for at in range(1, len(SECONDS) + 1):
            self._spread[-at, -at] = 1.0

    def times(self, passes: PassTimes, factors: Floats) -> tuple[Floats, Floats]:
        """Return the seconds of passes [n], and their derivatives by the factors [n, factors]."""
        seconds, slopes = passes(self._spread @ factors)
        return seconds, slopes @ self._spread

    def coefficients(self, factors: Floats) -> Coefficients:
        """Return the set that factors make, to as many digits as are written."""
        tables: dict[str, dict[str, float]] = {
            table: dict(getattr(self._set, table)) for table in TABLES
        }
        for group, factor in zip(GROUPS, factors[: len(GROUPS)], strict=True):
            for table, kind in group.members:
                share = rounded(self._share((table, kind)) / float(factor))
                tables[table][kind] = min(1.0, max(LEAST_SHARE, share))
        layer_s, row_s, host_s = (rounded(float(value)) for value in factors[len(GROUPS) :])
        return replace(
            self._set,
            memory=tables["memory"],
            compute=tables["compute"],
            layer_s=layer_s,
            row_s=row_s,
            host_s=host_s,
        )

    def told(self, fitted: Fitted) -> tuple[Told, ...]:
        """Return what became of each factor, in terms of the coefficients."""
        names = [*(group.name for group in GROUPS), *SECONDS]
        made = self.coefficients(fitted.values)
        found = []
        for at, name in enumerate(names):
            before, after = _value(self._set, name), _value(made, name)
            error = fitted.errors.get(at)
            if error is not None and at < len(GROUPS):
                error *= after / float(fitted.values[at])  # of a share as of its factor
            found.append(
                Told(
                    name=name,
                    start=before,
                    value=after,
                    error=error,
                    why=why_kept(fitted, at, names=names),
                )
            )
        return tuple(found)

    def _share(self, share: Share) -> float:
        table, kind = share
        shares: Mapping[str, float] = getattr(self._set, table)
        return shares[kind]


def why_kept(fitted: Fitted, at: int, *, names: Sequence[str]) -> str:
    """Return why a coefficient kept its start value; empty where it was fitted."""
    if at not in fitted.kept:
        return ""
    other = fitted.kept[at]
    return "nothing depends on it" if other is None else f"not told from {names[other]}"


def _value(coefficients: Coefficients, name: str) -> float:
    table, dot, kind = name.partition(".")
    value: float | Mapping[str, float] = getattr(coefficients, table)
    if dot:
        assert isinstance(value, Mapping), name
        return value[kind]
    assert isinstance(value, float), name
    return value
