"""Spans and tiles: the geometry of a prefill.

Owns: half-open intervals and rectangles made of two of them.
Must not know: requests, schedules, time.

    layers ^
         L |  +--+--+--+--+     +-----------+      +-----+-----+
           |  |  |  |  |  |     |     4     |      |  3  |  6  |
           |  |1 |2 |3 |4 |     |     3     |      |  2  |  5  |
           |  |  |  |  |  |     |     2     |      |  1  |  4  |
         0 |  +--+--+--+--+     +-----1-----+      +-----+-----+
              0 tokens    T
              chunked           layered            hybrid
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The half-open interval start <= x < stop, of tokens or of layers."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        """Hold the interval to 0 <= start <= stop."""
        assert 0 <= self.start <= self.stop, self

    def __len__(self) -> int:
        """Return the number of tokens or layers in the span."""
        return self.stop - self.start

    def cut(self, parts: int) -> tuple["Span", ...]:
        """Return `parts` contiguous spans, sizes differing by at most one, larger first.

        `parts` lies in 1..len(self), so that none is empty.
        """
        assert 1 <= parts <= len(self), (self, parts)
        size, larger = divmod(len(self), parts)
        edges = [self.start + i * size + min(i, larger) for i in range(parts + 1)]
        return tuple(Span(a, b) for a, b in pairwise(edges))


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A rectangle of a prefill: these prompt tokens through these layers."""

    tokens: Span
    layers: Span

    def __post_init__(self) -> None:
        """Hold the tile to at least one token and one layer."""
        assert len(self.tokens), self
        assert len(self.layers), self
