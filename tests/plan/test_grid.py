from itertools import pairwise

import pytest

from lpbench.plan.grid import Span, Tile


def spans(*edges: int) -> tuple[Span, ...]:
    """Return the spans between consecutive edges."""
    return tuple(Span(a, b) for a, b in pairwise(edges))


def test_a_span_has_the_length_between_its_ends() -> None:
    """A span is half-open, so an empty one is allowed and has no length."""
    assert [5, 1, 0] == [len(Span(2, 7)), len(Span(0, 1)), len(Span(3, 3))]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2)])
def test_a_span_neither_starts_below_zero_nor_ends_before_it_starts(start: int, stop: int) -> None:
    """An impossible span is an error of ours."""
    with pytest.raises(AssertionError):
        Span(start, stop)


@pytest.mark.parametrize(
    ("span", "parts", "expected"),
    [
        (Span(0, 48), 16, spans(*range(0, 49, 3))),
        (Span(0, 24), 12, spans(*range(0, 25, 2))),
        (Span(0, 10), 4, spans(0, 3, 6, 8, 10)),
        (Span(0, 7), 3, spans(0, 3, 5, 7)),
        (Span(5, 8), 2, spans(5, 7, 8)),
        (Span(0, 3), 3, spans(0, 1, 2, 3)),
        (Span(0, 9), 1, spans(0, 9)),
    ],
)
def test_a_cut_is_even_with_larger_parts_first(
    span: Span, parts: int, expected: tuple[Span, ...]
) -> None:
    """Sizes differ by at most one and the larger ones come first."""
    assert expected == span.cut(parts)


@pytest.mark.parametrize("parts", [0, 4])
def test_a_cut_leaves_no_part_empty(parts: int) -> None:
    """A span of three cannot be cut into none or four."""
    with pytest.raises(AssertionError):
        Span(0, 3).cut(parts)


@pytest.mark.parametrize(("tokens", "layers"), [(Span(2, 2), Span(0, 1)), (Span(0, 1), Span(3, 3))])
def test_a_tile_has_tokens_and_layers(tokens: Span, layers: Span) -> None:
    """A tile without a token or without a layer is an error of ours."""
    with pytest.raises(AssertionError):
        Tile(tokens, layers)
