"""Red or not, over processes: what must go red, and what must not."""

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from lpbench.analysis.regression import Regressions, confirmed, regressions
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.testing.records import example_record
from tests.revalued import revalued, without

METRICS = ("ttft_ms_mean", "tbt_ms_mean", "tpot_ms_mean", "e2e_ms_mean")
RECORD = example_record()
START = datetime(2026, 11, 26, tzinfo=UTC)


def runs(
    factor: float = 1.0, *, seed: int = 0, count: int = 6, spread: float = 0.01
) -> list[Record]:
    """Return runs whose later arm takes `factor` times as long, with noise by process."""
    drawn = random.Random(seed)
    found = []
    for _ in range(count):
        luck = math.exp(drawn.gauss(0, spread))
        first, second = RECORD.arms
        values = {
            name: factor * luck * math.exp(drawn.gauss(0, spread / 4)) * 100 for name in METRICS
        }
        others = dict.fromkeys(METRICS, luck * 100)
        arms = (revalued(first, **others), revalued(second, **values))
        found.append(example_record(arms=arms))
    return found


def red(found: Regressions) -> set[tuple[str, str]]:
    """Return what is red."""
    return {(one.arm, one.metric) for one in found.changes if one.is_red}


def test_what_got_slower_is_red() -> None:
    """10 % in every time of one arm, and nothing in the other."""
    found = regressions(runs(seed=1), runs(1.1, seed=2))
    assert 2 * len(METRICS) == len(found.changes)
    assert {("layered", name) for name in METRICS} == red(found)


def test_sets_taken_in_turn_are_judged_pair_by_pair() -> None:
    """On a machine that gets slower and slower 10 % are red in pairs alone."""
    slower = [1.1**at for at in range(6)]
    sides = []
    for side, factor in ((0, 1.0), (1, 1.1)):
        values = [
            runs(factor * luck, count=1, spread=1e-4, seed=at)[0] for at, luck in enumerate(slower)
        ]
        starts = [START + timedelta(minutes=2 * at + side) for at in range(6)]
        sides.append(
            [
                one.model_copy(update={"started_at": start})
                for one, start in zip(values, starts, strict=True)
            ]
        )
    found = regressions(*sides)
    assert found.in_turn
    assert {("layered", name) for name in METRICS} == red(found)
    unordered = [one.model_copy(update={"started_at": None}) for one in sides[1]]
    at_a_stretch = regressions(sides[0], unordered)
    assert not at_a_stretch.in_turn
    assert set() == red(at_a_stretch)


@pytest.mark.parametrize("name", ["goodput", "output_token_throughput"])
def test_of_rates_a_drop_is_red(name: str) -> None:
    """10 % fewer, for sure; 10 % more are not. None at all is no rate, and said so."""
    before, fewer, more = (
        [_with_rate(run, name, value) for run in runs(seed=seed)]
        for seed, value in ((1, 4.0), (2, 3.6), (3, 4.4))
    )
    assert {("layered", name)} == red(regressions(before, fewer))
    assert set() == red(regressions(before, more))
    none = [_with_rate(run, name, 0) for run in runs(seed=1)]
    assert (("layered", name, "zero"),) == regressions(before, none).void


def _with_rate(record: Record, name: str, value: float) -> Record:
    """Return a run whose later arm has a rate, with noise of its TTFT."""
    first, second = record.arms
    noise = (second.metrics[METRICS[0]].value or 0) / 100
    reading = second.metrics[METRICS[0]].model_copy(update={"value": value * noise, "unit": "1/s"})
    later = second.model_copy(update={"metrics": {**second.metrics, name: reading}})
    return example_record(arms=(first, later))


def test_what_got_faster_or_stayed_is_not() -> None:
    """Better is no regression, and noise is none."""
    assert set() == red(regressions(runs(seed=1), runs(0.9, seed=2)))
    assert set() == red(regressions(runs(seed=1), runs(seed=2)))


def test_a_change_within_delta_is_not_red() -> None:
    """Half a per cent for sure is the same."""
    found = regressions(runs(seed=1, spread=1e-4), runs(1.005, seed=2, spread=1e-4))
    assert set() == red(found)


def test_intervals_are_simultaneous() -> None:
    """Eight of them: each is wider than one alone would be."""
    both = regressions(runs(seed=1), runs(seed=2))
    (alone,) = [
        one
        for one in regressions(_only(runs(seed=1)), _only(runs(seed=2))).changes
        if one.metric == METRICS[0]
    ]
    (together,) = [one for one in both.changes if (one.arm, one.metric) == ("layered", METRICS[0])]
    assert together.effect.high / together.effect.low > alone.effect.high / alone.effect.low


def _only(records: list[Record]) -> list[Record]:
    """Return the runs with one metric of their later arm."""
    found = []
    for record in records:
        _, second = record.arms
        kept = {METRICS[0]: second.metrics[METRICS[0]]}
        found.append(example_record(arms=(second.model_copy(update={"metrics": kept}),)))
    return found


def test_a_red_is_confirmed_by_another_set_of_runs_or_not() -> None:
    """Bad luck does not come twice."""
    first = regressions(runs(seed=1), runs(1.1, seed=2)).changes
    again = regressions(runs(seed=1), runs(1.1, seed=3)).changes
    luck = regressions(runs(seed=1), runs(seed=3)).changes
    assert len(METRICS) == len(confirmed(first, again))
    assert () == confirmed(first, luck)
    assert () == confirmed(first, ())


def test_what_the_baseline_has_and_a_run_has_not_is_void() -> None:
    """It proves nothing, and is named; what the baseline lacks is not asked for."""
    mine = runs(1.1, seed=2)
    first, second = mine[3].arms
    poorer = revalued(second, ttft_ms_mean=None)
    mine[3] = example_record(arms=(first, poorer))
    found = regressions(runs(seed=1), mine)
    codes = ", ".join(poorer.metrics["ttft_ms_mean"].reasons) or "not_recorded"
    assert (("layered", "ttft_ms_mean", codes),) == found.void
    assert ("layered", "ttft_ms_mean") not in red(found)
    assert () == regressions(mine, runs(seed=1)).void


def test_another_instrument_is_void() -> None:
    """Times of another clock are no times of the baseline's."""
    mine = runs(seed=2)
    first, second = mine[0].arms
    reading = second.metrics["ttft_ms_mean"].model_copy(update={"source": "another clock"})
    other = second.model_copy(update={"metrics": {**second.metrics, "ttft_ms_mean": reading}})
    mine[0] = example_record(arms=(first, other))
    found = regressions(runs(seed=1), mine)
    assert (("layered", "ttft_ms_mean", "differs: source"),) == found.void


def test_nothing_to_gate_is_refused() -> None:
    """Green over no figure would be a lie."""
    bare = [
        example_record(arms=tuple(without(arm, *METRICS) for arm in RECORD.arms)) for _ in range(6)
    ]
    with pytest.raises(InputError, match="no time, rate or joule that is valid in every run"):
        regressions(bare, runs())


def test_false_reds_are_rare() -> None:
    """120 campaigns without a change, noise by process of 3 %: fewer than one in a hundred."""
    reds = sum(
        bool(red(regressions(runs(seed=2 * at, spread=0.03), runs(seed=2 * at + 1, spread=0.03))))
        for at in range(120)
    )
    assert reds <= 1


@pytest.mark.parametrize("count", [1, 5])
def test_six_runs_a_side_are_the_fewest(count: int) -> None:
    """Either side; the line says how to make them."""
    for sides in ((runs(count=count), runs()), (runs(), runs(count=count))):
        with pytest.raises(InputError, match=rf"has {count} runs; .* as --num-runs 6 makes them"):
            regressions(*sides)


def test_another_machine_is_refused() -> None:
    """Times and joules are of the hardware that the baseline names."""
    there = [one.model_copy(update={"environment": {"cpu": "another"}}) for one in runs()]
    with pytest.raises(InputError, match="times, rates and joules need the same cpu"):
        regressions(runs(), there)


def test_another_pass_is_refused() -> None:
    """Energy is not compared with traffic."""
    energy = [one.model_copy(update={"command": "energy"}) for one in runs()]
    with pytest.raises(InputError, match="the passes are 'traffic' and 'energy'"):
        regressions(runs(), energy)
