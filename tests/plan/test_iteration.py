from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptRows, PromptTile, Segment


def part(request: int, tokens: tuple[int, int], layers: tuple[int, int]) -> PromptTile:
    """Return a tile of a request."""
    return PromptTile(request, Tile(Span(*tokens), Span(*layers)))


def test_decodes_alone_are_one_segment() -> None:
    """Without a tile the decodes pass through all layers at once."""
    plan = IterationPlan(decodes=(4, 7), prefill=())
    assert (Segment(Span(0, 6), (4, 7), ()),) == plan.segments(6)
    assert 0 == plan.num_prefill_tokens


def test_a_slice_through_all_layers_is_one_segment() -> None:
    """A chunked plan has one segment that holds decodes and prompt rows."""
    plan = IterationPlan(decodes=(4,), prefill=(part(0, (0, 5), (0, 6)), part(1, (3, 5), (0, 6))))
    rows = (PromptRows(0, Span(0, 5)), PromptRows(1, Span(3, 5)))
    assert (Segment(Span(0, 6), (4,), rows),) == plan.segments(6)
    assert 7 == plan.num_prefill_tokens


def test_a_layer_group_between_decodes_makes_three_segments() -> None:
    """Below and above the group only the decodes have rows."""
    plan = IterationPlan(decodes=(4,), prefill=(part(0, (0, 5), (2, 4)),))
    expected = (
        Segment(Span(0, 2), (4,), ()),
        Segment(Span(2, 4), (4,), (PromptRows(0, Span(0, 5)),)),
        Segment(Span(4, 6), (4,), ()),
    )
    assert expected == plan.segments(6)
    assert [1, 6, 1] == [segment.num_rows for segment in expected]
    assert [0, 5, 0] == [segment.num_prefill_rows for segment in expected]


def test_layers_without_rows_are_left_out() -> None:
    """Without decodes nothing runs beside the layer group."""
    plan = IterationPlan(decodes=(), prefill=(part(0, (0, 5), (2, 4)),))
    assert (Segment(Span(2, 4), (), (PromptRows(0, Span(0, 5)),)),) == plan.segments(6)


def test_nothing_to_run_is_no_segment() -> None:
    """An empty plan has no segment."""
    assert () == IterationPlan(decodes=(), prefill=()).segments(6)


def test_prompts_at_different_layers_share_a_pass() -> None:
    """Overlapping layer groups of two prompts cut the layers where either begins or ends."""
    plan = IterationPlan(decodes=(), prefill=(part(0, (0, 5), (0, 3)), part(1, (2, 4), (2, 5))))
    zero, one = PromptRows(0, Span(0, 5)), PromptRows(1, Span(2, 4))
    expected = (
        Segment(Span(0, 2), (), (zero,)),
        Segment(Span(2, 3), (), (zero, one)),
        Segment(Span(3, 5), (), (one,)),
    )
    assert expected == plan.segments(6)


@st.composite
def plans(draw: st.DrawFn, num_layers: int) -> IterationPlan:
    """Draw decodes and tiles of different requests, at any layers."""
    tiles = []
    for request in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, num_layers - 1))
        stop = draw(st.integers(start + 1, num_layers))
        tiles.append(part(request, (0, draw(st.integers(1, 9))), (start, stop)))
    decodes = tuple(range(10, 10 + draw(st.integers(0, 2))))
    return IterationPlan(decodes=decodes, prefill=tuple(tiles))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12).flatmap(lambda layers: st.tuples(st.just(layers), plans(layers))))
def test_segments_give_every_layer_its_rows(drawn: tuple[int, IterationPlan]) -> None:
    """Segments ascend, and each layer has the decodes and exactly the tiles that span it."""
    num_layers, plan = drawn
    found: dict[int, tuple[int, ...]] = {}
    for segment in plan.segments(num_layers):
        assert plan.decodes == segment.decodes
        for layer in range(segment.layers.start, segment.layers.stop):
            assert all(before < layer for before in found)
            found[layer] = tuple(rows.request for rows in segment.prompts)
    expected = {
        layer: tuple(
            one.request
            for one in plan.prefill
            if one.tile.layers.start <= layer < one.tile.layers.stop
        )
        for layer in range(num_layers)
    }
    assert {at: rows for at, rows in expected.items() if rows or plan.decodes} == found
