from collections.abc import Mapping, Sequence

import pytest

from lpbench.errors import RunError
from lpbench.plan.check import check_grid, check_plan
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.policy import View
from lpbench.plan.request import Progress, Request

BUDGET = 10


class Broken:
    """A schedule whose plans are written by hand; decodes count against its budget."""

    name = "broken"

    @property
    def params(self) -> Mapping[str, int | str]:
        """No parameters."""
        return {}

    def plan(self, view: View) -> IterationPlan:
        """Plan nothing."""
        return IterationPlan(decodes=view.decodes, prefill=())

    def prefill_budget(self, num_decodes: int) -> int:
        """Leave what the decodes do not take."""
        return BUDGET - num_decodes

    def refuse(self, requests: Sequence[Request], *, max_num_seqs: int) -> None:
        """Refuse nothing."""


def part(request: int, tokens: tuple[int, int], layers: tuple[int, int] = (0, 2)) -> PromptTile:
    """Return a tile of a request."""
    return PromptTile(request, Tile(Span(*tokens), Span(*layers)))


def view(*, free_pages: int = 9, free_seqs: int = 9) -> View:
    """Return two decodes, a prompt cut at 4 of 20 tokens, and waiting ones of 5, 17 and 2."""
    return View(
        num_layers=2,
        decodes=(0, 1),
        begun=(Progress(request=2, num_tokens=20, done=(4, 4)),),
        queue=tuple(
            Progress.start(index, tokens, num_layers=2)
            for index, tokens in ((3, 5), (4, 17), (5, 2))
        ),
        free_pages=free_pages,
        free_seqs=free_seqs,
    )


def verdict(
    *tiles: PromptTile, decodes: Sequence[int] = (0, 1), seen: View | None = None
) -> str | None:
    """Return what the plan breaks, without the schedule's name; None where it keeps the rules."""
    plan = IterationPlan(decodes=tuple(decodes), prefill=tiles)
    try:
        check_plan(seen or view(), plan, Broken())
    except RunError as error:
        return str(error).removeprefix("schedule 'broken' broke a rule: it ")
    return None


@pytest.mark.parametrize(
    "tiles",
    [
        (),
        (part(2, (4, 12)),),
        (part(2, (4, 7)), part(3, (0, 5))),
        (part(3, (0, 5), (0, 1)), part(3, (0, 3), (1, 2))),
        (part(3, (0, 5)), part(4, (0, 3))),
    ],
)
def test_a_plan_that_keeps_the_rules_passes(tiles: tuple[PromptTile, ...]) -> None:
    """Decodes alone, a slice, two prompts, two tiles of one prompt: all are plans."""
    assert verdict(*tiles) is None


@pytest.mark.parametrize("decodes", [(), (0,), (1, 0), (0, 1, 2)])
def test_decodes_are_those_of_the_view(decodes: tuple[int, ...]) -> None:
    """None is left out, added or moved."""
    assert "left a running decode out" == verdict(part(2, (4, 5)), decodes=decodes)


def test_something_runs() -> None:
    """A plan of nothing would go on for ever."""
    seen = View(num_layers=2, decodes=(), begun=(), queue=(), free_pages=1, free_seqs=1)
    assert "planned an empty iteration" == verdict(decodes=(), seen=seen)


def test_the_budget_is_kept() -> None:
    """Eight tokens are left beside two decodes."""
    expected = "planned 9 prompt tokens, more than its budget"
    assert expected == verdict(part(2, (4, 8)), part(3, (0, 5)))


@pytest.mark.parametrize("tile", [part(2, (4, 13)), part(2, (4, 20))])
def test_the_budget_is_kept_by_a_single_prompt_too(tile: PromptTile) -> None:
    """Only a preempted prompt that outgrew the budget may pass it, not one that could be cut."""
    expected = f"planned {len(tile.tile.tokens)} prompt tokens, more than its budget"
    assert expected == verdict(tile)


@pytest.mark.parametrize("request_index", [0, 9])
def test_tiles_are_of_requests_in_prefill(request_index: int) -> None:
    """A decoding or an unknown request has no prefill."""
    expected = f"planned a tile for request {request_index}, which has no prefill"
    assert expected == verdict(part(request_index, (0, 1)))


@pytest.mark.parametrize(
    ("tiles", "expected"),
    [
        ((part(2, (0, 4)),), "does not start at the tokens done"),
        ((part(2, (5, 6)),), "does not start at the tokens done"),
        ((part(5, (0, 2)), part(5, (0, 2))), "does not start at the tokens done"),
        ((part(3, (0, 5), (1, 2)),), "runs ahead of layer 0"),
        ((part(3, (0, 6)),), "lies outside its prefill"),
        ((part(3, (0, 5), (0, 3)),), "lies outside its prefill"),
    ],
)
def test_tiles_come_in_order(tiles: tuple[PromptTile, ...], expected: str) -> None:
    """A tile twice, with a gap, ahead of its layers or past the rectangle breaks a rule."""
    found = verdict(*tiles)
    assert found is not None
    assert expected in found


@pytest.mark.parametrize(
    "tiles", [(part(4, (0, 3)),), (part(5, (0, 2)), part(3, (0, 5))), (part(5, (0, 2)),)]
)
def test_nobody_is_overtaken(tiles: tuple[PromptTile, ...]) -> None:
    """Prompts are admitted from the front of the queue, in its order."""
    assert "admitted requests out of order" == verdict(*tiles)


@pytest.mark.parametrize(("free_pages", "free_seqs"), [(2, 9), (9, 1), (0, 0)])
def test_nobody_is_admitted_without_pages_or_a_sequence(free_pages: int, free_seqs: int) -> None:
    """Prompts of 5 and 17 tokens take one and two pages, and a sequence each."""
    seen = view(free_pages=free_pages, free_seqs=free_seqs)
    expected = "admitted more requests than sequences or KV pages allow"
    assert expected == verdict(part(3, (0, 5)), part(4, (0, 1)), seen=seen)
    assert verdict(part(2, (4, 5)), seen=seen) is None


def tile(tokens: tuple[int, int], layers: tuple[int, int]) -> Tile:
    """Return the tile of these half-open spans."""
    return Tile(Span(*tokens), Span(*layers))


@pytest.mark.parametrize(
    "tiles",
    [
        [tile((0, 6), (0, 4))],
        [tile((0, 2), (0, 4)), tile((2, 4), (0, 4)), tile((4, 6), (0, 4))],
        [tile((0, 6), (0, 2)), tile((0, 6), (2, 4))],
        [tile((0, 3), (0, 2)), tile((0, 3), (2, 4)), tile((3, 6), (0, 2)), tile((3, 6), (2, 4))],
        [tile((0, 3), (0, 2)), tile((3, 6), (0, 2)), tile((0, 6), (2, 4))],
    ],
)
def test_a_grid_covered_once_in_order_passes(tiles: list[Tile]) -> None:
    """Whole, chunked, layered, hybrid, and layers that wait for the tokens below them."""
    check_grid(tiles, num_tokens=6, num_layers=4)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([], "not covered: 6 tokens, done per layer"),
        ([tile((0, 6), (0, 2))], r"done per layer \(6, 6, 0, 0\)"),
        ([tile((0, 5), (0, 4))], r"done per layer \(5, 5, 5, 5\)"),
        ([tile((0, 6), (2, 4)), tile((0, 6), (0, 2))], "runs ahead of layer 1"),
        ([tile((0, 6), (0, 4)), tile((0, 6), (0, 4))], "does not start"),
        ([tile((3, 6), (0, 4)), tile((0, 3), (0, 4))], "does not start"),
        ([tile((0, 7), (0, 4))], "lies outside"),
    ],
)
def test_a_grid_not_covered_once_in_order_is_refused(tiles: list[Tile], message: str) -> None:
    """Gaps, repeats, the wrong order and tiles past the rectangle are errors."""
    with pytest.raises(ValueError, match=message):
        check_grid(tiles, num_tokens=6, num_layers=4)
