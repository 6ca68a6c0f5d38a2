"""Which tiles a batch of so many rows gets: the shipped ones, and in their place those tuned here.

Owns: the sizes that are tuned, which rows take which of them.
Must not know: files, devices, how tiles were tuned.

The answer follows from the number of rows alone: every schedule's rows get the same tiles.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Literal

import torch

from lpbench.executors.torch_engine.kernels.chip import HOPPER
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, choose_tiles
from lpbench.shape.model import ModelShape

REVISION = 1
"""Of the experts' kernels and their shipped tiles: raised when either changes, for what was tuned
against others says nothing then."""

TUNED_ROWS = tuple(1 << power for power in range(14))
"""1 to 8192. A batch takes what was tuned for the next of these, a larger one the last's."""

_MOST_ROWS = 1 << 28
"""No batch has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Numbers of rows that get the same tiles.

    Attributes:
        first: the fewest rows.
        last: the most; None without end.
        tiles: what they get.
        source: where from.
    """

    first: int
    last: int | None
    tiles: ExpertTiles
    source: Literal["shipped", "tuned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileTable:
    """The tiles of one model in one precision.

    Attributes:
        num_experts: of a layer.
        top_k: experts of a row.
        dtype: of the activations.
        mxfp4: whether the experts' matrices are packed.
        major: first number of the chip's compute capability.
        tuned: by a number of `TUNED_ROWS`, what takes the shipped tiles' place.
    """

    num_experts: int
    top_k: int
    dtype: torch.dtype
    mxfp4: bool
    major: int = HOPPER
    tuned: Mapping[int, ExpertTiles] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        shape: ModelShape,
        *,
        dtype: torch.dtype,
        mxfp4: bool = False,
        major: int = HOPPER,
        tuned: Mapping[int, ExpertTiles] | None = None,
    ) -> "TileTable":
        """Return the table of a model; without `tuned` the shipped one."""
        return cls(
            num_experts=shape.num_experts,
            top_k=shape.top_k,
            dtype=dtype,
            mxfp4=mxfp4,
            major=major,
            tuned=tuned or {},
        )

    def tiles(self, pairs: int) -> ExpertTiles:
        """Return the tiles of a batch of so many rows * top_k pairs, those of padding included."""
        found = self.tuned.get(tuned_rows(pairs // self.top_k))
        return self.shipped(pairs) if found is None else found

    def shipped(self, pairs: int) -> ExpertTiles:
        """Return the shipped tiles, whatever was tuned."""
        return choose_tiles(
            pairs=pairs,
            num_experts=self.num_experts,
            dtype=self.dtype,
            mxfp4=self.mxfp4,
            major=self.major,
        )

    def ranges(self) -> tuple[Range, ...]:
        """Return the whole table, by ascending rows."""
        found = []
        for (tiles, source), rows in groupby(self._runs(), lambda run: run[2:]):
            runs = list(rows)
            last = runs[-1][1]
            found.append(
                Range(
                    first=runs[0][0],
                    last=None if last == _MOST_ROWS else last,
                    tiles=tiles,
                    source=source,
                )
            )
        return tuple(found)

    def _runs(self) -> Iterator[tuple[int, int, ExpertTiles, Literal["shipped", "tuned"]]]:
        """Yield first and last rows, tiles and their source; neighbours may be the same."""
        edges = (0, *TUNED_ROWS, _MOST_ROWS)
        for before, last in pairwise(edges):
            tuned = self.tuned.get(tuned_rows(last))
            if tuned is not None:
                yield before + 1, last, tuned, "tuned"
            else:
                for first, end in self._alike(before + 1, last):
                    yield first, end, self.shipped(end * self.top_k), "shipped"

    def _alike(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield runs of rows with the same shipped tiles, which change one way as rows grow."""
        if self.shipped(first * self.top_k) == self.shipped(last * self.top_k):
            yield first, last
        else:
            middle = (first + last) // 2
            yield from self._alike(first, middle)
            yield from self._alike(middle + 1, last)


def tuned_rows(rows: int) -> int:
    """Return the number of `TUNED_ROWS` whose tiles a batch takes."""
    return min(1 << (rows - 1).bit_length(), TUNED_ROWS[-1])
