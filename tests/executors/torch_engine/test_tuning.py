"""When a candidate takes the shipped tiles' place: on reference kernels, by a scripted clock."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, cycle, repeat

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpbench.errors import RunError
from lpbench.executors.torch_engine.graphs import Work
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, Tile
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.tuning import FINALS, HEATS, Outcome, Round, Tuner, is_faster
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS

SHAPE = replace(
    find_shape("qwen3-30b-a3b")[0],
    num_layers=3,
    windows=(0,) * 3,
    hidden_size=8,
    expert_size=6,
    num_heads=1,
    num_kv_heads=1,
    head_dim=16,
    num_experts=4,
    top_k=2,
)

DEEP = replace(SHAPE, num_layers=99, windows=(0,) * 99)


def tiles(block: int) -> ExpertTiles:
    """Return tiles of so many pairs."""
    tile = Tile(columns=16, inner=16, warps=1, stages=1)
    return ExpertTiles(block_rows=block, gate_up=tile, down=tile)


SHIPPED, FIRST, SECOND, WRONG, REFUSED = map(tiles, (2, 4, 8, 16, 32))


class Scripted:
    """A stopwatch that says what it was told, by the order in which work was made ready."""

    def __init__(self, *laps: Iterator[float]) -> None:
        """Take the milliseconds of the shipped tiles, then of each candidate."""
        self._laps = iter(laps)

    def ready(self, work: Work) -> Callable[[], float]:
        """Do the work once."""
        work()
        return partial(next, next(self._laps))


class Wrong(ReferenceKernels):
    """Kernels whose results are off by a quarter."""

    def down(self, *given: object) -> torch.Tensor:
        """Return them."""
        return super().down(*given) * 1.25  # type: ignore[arg-type] # as they are given


def kernels(chosen: ExpertTiles, *, error: type[Exception] = ValueError) -> ReferenceKernels:
    """Return the reference in blocks of these tiles."""
    if chosen == REFUSED:
        raise error("no room\nfor such tiles")
    return (Wrong if chosen == WRONG else ReferenceKernels)(SHAPE, block=chosen.block_rows)


def tuner(
    cache_bytes: int = 0, *, shape: ModelShape = SHAPE, error: type[Exception] = ValueError
) -> Tuner:
    """Return the tuner of a tiny model in float32 on the CPU."""
    return Tuner(
        shape,
        PRECISIONS["float32"],
        device=torch.device("cpu"),
        cache_bytes=cache_bytes,
        kernels=partial(kernels, error=error),
        refusals=(ValueError, RuntimeError),
    )


def tune(tried: Sequence[ExpertTiles], *laps: Iterator[float]) -> Outcome:
    """Tune for five rows."""
    stopwatch = Scripted(*laps)
    return tuner().tune(5, SHIPPED, tried, stopwatch=stopwatch, progress=lambda: None)


def test_the_fastest_takes_the_place() -> None:
    """Times are of one of the three layers; the noise is what shipped tiles differ by."""
    found = tune((FIRST, SECOND), cycle((3.0, 3.03)), repeat(2.4), repeat(2.7))
    assert (True, FIRST) == (found.wins, found.best)
    assert (1.005, 0.8) == pytest.approx((found.shipped_ms, found.best_ms))
    assert 0.01 == pytest.approx(found.noise)
    assert (2, 0, ()) == (found.candidates, found.not_compiled, found.wrong)


def test_less_than_the_noise_is_no_gain() -> None:
    """Two in a hundred faster, where the shipped tiles differ from themselves by five."""
    found = tune((FIRST,), cycle((1.0, 1.05)), repeat(1.0))
    assert (False, FIRST) == (found.wins, found.best)


def test_luck_in_the_heats_does_not_count() -> None:
    """What is fast while all candidates run, and no faster alone, is not kept."""
    lucky = chain(repeat(0.5, HEATS), repeat(1.0))
    assert not tune((FIRST,), repeat(1.0), lucky).wins


def test_a_wrong_result_and_what_is_refused_are_left_out() -> None:
    """The one is named, the other counted; neither is timed."""
    found = tune((WRONG, REFUSED, SECOND), repeat(1.0), repeat(0.1), repeat(0.9))
    assert (SECOND, True) == (found.best, found.wins)
    assert (1, 1, (WRONG,)) == (found.candidates, found.not_compiled, found.wrong)


def test_without_a_candidate_the_shipped_tiles_stay() -> None:
    """They are timed all the same."""
    found = tune((REFUSED,), repeat(3.0))
    assert (None, None, False) == (found.best, found.best_ms, found.wins)
    assert 1.0 == pytest.approx(found.shipped_ms)


def test_shipped_tiles_that_do_not_run_are_told() -> None:
    """Nothing can be compared with them."""
    with pytest.raises(
        RunError, match=r"shipped tiles for 5 rows do not run here: ValueError: no room$"
    ):
        tuner().tune(5, REFUSED, (), stopwatch=Scripted(), progress=lambda: None)


def test_a_device_without_memory_refuses_no_tiles() -> None:
    """It ends the run, though torch's error is of the kind that a compiler raises."""
    clock = Scripted(repeat(1.0))
    with pytest.raises(torch.OutOfMemoryError):
        tuner(error=torch.OutOfMemoryError).tune(
            5, SHIPPED, (REFUSED,), stopwatch=clock, progress=lambda: None
        )


def test_progress_is_of_candidates_and_rounds() -> None:
    """As many calls as the bar is long."""
    heard: list[None] = []
    clock = Scripted(repeat(1.0), repeat(1.0))
    tuner().tune(
        1, SHIPPED, (FIRST, REFUSED), stopwatch=clock, progress=partial(heard.append, None)
    )
    assert 2 + HEATS + FINALS == len(heard)


def test_the_layers_exceed_the_cache_but_not_the_model() -> None:
    """A row reads 2 experts of 3 * 8 * 6 float32 values a layer: 3 caches are 10 layers' of it."""
    cache = 10 * 2 * 3 * 8 * 6 * 4 // 3
    assert [10, 4, 3] == [
        len(tuner(bytes_, shape=shape)._layers)
        for bytes_, shape in ((cache, DEEP), (0, DEEP), (cache, SHAPE))
    ]


def rounds(ratios: Sequence[float], noise: float = 0.0) -> list[Round]:
    """Return rounds in which the candidate takes a part of the shipped tiles' time."""
    return [Round(1.0, (ratio * (1 + noise / 2),), 1.0 + noise) for ratio in ratios]


@pytest.mark.parametrize(("lost", "expected"), [(0, True), (1, True), (2, False)])
def test_one_lost_round_of_the_final_is_forgiven(lost: int, *, expected: bool) -> None:
    """P(at most one of 15 | as fast) = 16 / 2^15; two are lost with 121 / 2^15."""
    assert expected == is_faster(rounds([1.5] * lost + [0.9] * (FINALS - lost)))


@given(
    st.lists(st.floats(0.5, 1.5), min_size=FINALS, max_size=FINALS),
    st.floats(0, 0.2),
    st.floats(1e-3, 1e3),
)
def test_the_decision_knows_no_unit(ratios: list[float], noise: float, unit: float) -> None:
    """Milliseconds or seconds: the same; and a candidate that gains less than the noise loses."""
    final = rounds(ratios, noise)
    scaled = [
        Round(one.first * unit, (one.candidates[0] * unit,), one.last * unit) for one in final
    ]
    middle = sorted(ratios)[FINALS // 2]
    if abs(1 - middle - noise) > 1e-9 and not any(abs(ratio - 1) < 1e-9 for ratio in ratios):
        assert is_faster(final) == is_faster(scaled)
        lost = sum(ratio >= 1 for ratio in ratios)
        assert is_faster(final) == (lost <= 1 and 1 - middle > noise)
