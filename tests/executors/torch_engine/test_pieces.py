"""A span of layers in shared pieces."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lpbench.executors.torch_engine.pieces import all_pieces, pieces_of


@given(
    st.integers(1, 100).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
    st.sampled_from((None, 1, 4)),
    st.data(),
)
def test_any_span_is_made_of_few_of_the_models_pieces(
    model: tuple[int, int], longest: int | None, data: st.DataObject
) -> None:
    """They follow each other from its first layer to its last; all of them are captured ahead."""
    num_layers, start = model
    stop = data.draw(st.integers(start + 1, num_layers))
    pieces = pieces_of(start, stop, longest)
    assert (start, stop) == (pieces[0].start, pieces[-1].stop)
    assert all(one.stop == other.start for one, other in pairwise(pieces))
    assert set(pieces) <= set(all_pieces(num_layers, longest))
    assert all(len(piece) <= (longest or num_layers) for piece in pieces)
    assert len(pieces) <= 2 * num_layers.bit_length() + (stop - start) // (longest or num_layers)


def test_a_model_of_48_layers() -> None:
    """Its 94 pieces are half as long from one size to the next."""
    sizes = [len(piece) for piece in all_pieces(48)]
    assert [1, 3, 6, 12, 24, 48] == [sizes.count(size) for size in (32, 16, 8, 4, 2, 1)]
    assert [(0, 32), (32, 48)] == [(piece.start, piece.stop) for piece in pieces_of(0, 48)]
    assert [(45, 46), (46, 48)] == [(piece.start, piece.stop) for piece in pieces_of(45, 48)]
