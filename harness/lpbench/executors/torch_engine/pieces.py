"""A span of layers in the fewest pieces that other spans share.

Owns: the cut.
Must not know: what a piece is captured as.

A piece is a power of two of layers long and begins at a multiple of its length, so that L layers
have fewer than 2L pieces, any span is made of at most 2 log2(L) of them where they may be of any
length, and no schedule's spans are served better than another's by what was captured for them.
"""

from functools import cache

from lpbench.plan.grid import Span


@cache
def pieces_of(start: int, stop: int, longest: int | None = None) -> tuple[Span, ...]:
    """Return the pieces of layers `start` to `stop`, in order.

    Args:
        start: first layer.
        stop: layer after the last one.
        longest: layers of a piece at most, a power of two; None for any number.
    """
    pieces = []
    while start < stop:
        length = 1 << (stop - start).bit_length() - 1
        length = min(length, longest or length)
        while start % length:
            length >>= 1
        pieces.append(Span(start, start + length))
        start += length
    return tuple(pieces)


def all_pieces(num_layers: int, longest: int | None = None) -> tuple[Span, ...]:
    """Return every piece that a span of a model's layers can be made of, the longest first."""
    length = 1 << num_layers.bit_length() - 1
    length = min(length, longest or length)
    pieces = []
    while length:
        pieces += [
            Span(start, start + length) for start in range(0, num_layers - length + 1, length)
        ]
        length >>= 1
    return tuple(pieces)
