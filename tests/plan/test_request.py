import pytest

from lpbench.plan.grid import Span, Tile
from lpbench.plan.request import Progress, Request, pages_for


def tile(tokens: tuple[int, int], layers: tuple[int, int]) -> Tile:
    """Return the tile of these half-open spans."""
    return Tile(Span(*tokens), Span(*layers))


def standing(*done: int, num_tokens: int = 10) -> Progress:
    """Return a prompt of which each layer has done so many tokens."""
    return Progress(request=3, num_tokens=num_tokens, done=done)


@pytest.mark.parametrize(("pages", "tokens"), [(0, 0), (1, 1), (1, 16), (2, 17), (2, 32), (3, 33)])
def test_a_page_holds_sixteen_tokens(pages: int, tokens: int) -> None:
    """Tokens take as many pages as they begin."""
    assert pages == pages_for(tokens)


def test_the_last_generated_token_never_reaches_the_cache() -> None:
    """A request holds context, prompt and all generated tokens but one."""
    request = Request(index=0, context_tokens=100, prompt_tokens=20, output_tokens=5)
    assert 124 == request.kv_tokens


def test_a_request_has_no_context_and_arrives_at_once_unless_stated() -> None:
    """Context and arrival default to 0."""
    request = Request(index=0, prompt_tokens=20, output_tokens=1)
    assert (0, 0, 20) == (request.context_tokens, request.arrival, request.kv_tokens)


def test_a_prompt_starts_with_nothing_done() -> None:
    """A fresh prompt is neither begun nor done and all of it is to come."""
    fresh = Progress.start(3, 10, num_layers=2, context_tokens=7)
    assert Progress(request=3, num_tokens=10, done=(0, 0), context_tokens=7) == fresh
    assert (False, False, 10) == (fresh.is_begun, fresh.is_done, fresh.rest)
    assert 2 == fresh.pages


def test_tokens_in_flight_lie_between_the_first_and_the_last_layer() -> None:
    """Tokens that have entered the first layer and not left the last one are in flight."""
    progress = standing(8, 8, 5, 5)
    assert Span(5, 8) == progress.tokens_in_flight
    assert (True, False, 2) == (progress.is_begun, progress.is_done, progress.rest)


def test_a_cut_prompt_between_two_batches_has_nothing_in_flight() -> None:
    """A prompt whose first part left the last layer is begun, not done, and not in flight."""
    progress = standing(5, 5)
    assert (Span(5, 5), True, False) == (
        progress.tokens_in_flight,
        progress.is_begun,
        progress.is_done,
    )


def test_a_tile_advances_its_layers_alone() -> None:
    """The layers of a tile have done its tokens, the others stand still."""
    assert (10, 10, 10, 4) == standing(10, 4, 4, 4).after(tile((4, 10), (1, 3))).done


def test_a_prompt_is_done_when_its_last_layer_is() -> None:
    """The last tile of the rectangle finishes the prompt."""
    assert standing(10, 4).after(tile((4, 10), (1, 2))).is_done


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (tile((6, 11), (0, 1)), "lies outside its prefill"),
        (tile((6, 8), (0, 4)), "lies outside its prefill"),
        (tile((2, 4), (3, 4)), "lies outside its prefill"),
        (tile((4, 8), (0, 1)), r"does not start at the tokens done, \(6,\)"),
        (tile((7, 8), (0, 1)), r"does not start at the tokens done, \(6,\)"),
        (tile((6, 8), (0, 2)), r"does not start at the tokens done, \(6, 4\)"),
        (tile((4, 7), (1, 2)), "runs ahead of layer 0"),
        (tile((2, 5), (2, 3)), "runs ahead of layer 1"),
    ],
)
def test_a_tile_out_of_order_is_refused(wrong: Tile, message: str) -> None:
    """A tile past the rectangle, again, with a gap, or ahead of the layer below is an error."""
    with pytest.raises(ValueError, match=message):
        standing(6, 4, 2).after(wrong)
