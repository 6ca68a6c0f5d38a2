"""Verdicts over records: what users try, and what must never come out of it."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from lpbench.analysis.verdict import Verdict
from lpbench.analysis.versus import compare_arms_of, compare_runs
from lpbench.bench.joules import ENERGY_PASS
from lpbench.errors import InputError
from lpbench.record.schema import Arm, Comparison, Reading, Record
from lpbench.testing.records import example_record
from tests.revalued import revalued, without

RECORD = example_record()
START = datetime(2026, 11, 26, tzinfo=UTC)


def timed(*, ttft: float = 400.0) -> Record:
    """Return the example record, its later arm with this mean TTFT."""
    first, second = RECORD.arms
    return example_record(arms=(first, revalued(second, ttft_ms_mean=ttft)))


def respecified(**spec: object) -> Record:
    """Return the example record with keys of its spec set."""
    return example_record(spec=RECORD.spec | spec)


def with_joules(arm: Arm, joules: float, **changes: object) -> Arm:
    """Return the arm with joules per token."""
    reading = Reading(
        value=joules, unit="J", method="measured", source="nvml: GPU", pass_=ENERGY_PASS
    ).model_copy(update=changes)
    return arm.model_copy(update={"metrics": {**arm.metrics, "joules_per_total_token": reading}})


def runs(values: Sequence[float]) -> list[Record]:
    """Return a run a value: its later arm's mean TTFT."""
    return [timed(ttft=value) for value in values]


def noisy(mean: float, *, seed: int, count: int = 8, spread: float = 0.003) -> list[Record]:
    """Return runs around a mean."""
    drawn = random.Random(seed)
    return runs([mean * math.exp(drawn.gauss(0, spread)) for _ in range(count)])


def of(verdicts: Sequence[Verdict], metric: str, candidate: str = "layered") -> Verdict:
    """Return the verdict on one metric of one arm."""
    (found,) = [one for one in verdicts if (one.metric, one.candidate) == (metric, candidate)]
    return found


def statuses(verdicts: Sequence[Verdict]) -> Mapping[str, set[str]]:
    """Return which metrics have which status."""
    found: dict[str, set[str]] = {}
    for one in verdicts:
        found.setdefault(one.status, set()).add(one.metric)
    return found


def test_a_record_is_the_same_as_itself() -> None:
    """Counts exactly, times to the last digit; what neither has is incomparable, with its code."""
    found = compare_runs([RECORD], [RECORD])
    assert {"same", "incomparable"} == set(statuses(found))
    assert ("same", "exact") == _said(of(found, "expert_bytes"))
    assert ("same", "identical") == _said(of(found, "ttft_ms_mean"))
    assert ("incomparable", "no_device") == _said(of(found, "dram_bytes_read"))


def _said(one: Verdict) -> tuple[str, str]:
    return one.status, one.reason


@pytest.mark.parametrize(("change", "expected"), [(1, "worse"), (-1, "better")])
def test_a_count_that_differs_by_one_byte_decides(change: int, expected: str) -> None:
    """One process is enough: a count has no noise."""
    first, second = RECORD.arms
    value = (second.metrics["expert_bytes"].value or 0) + change
    other = example_record(arms=(first, revalued(second, expert_bytes=value)))
    found = compare_runs([RECORD], [other])
    assert (expected, "exact") == _said(of(found, "expert_bytes"))
    assert ("same", "exact") == _said(of(found, "expert_bytes", "chunked"))


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, "same"), (1.1, "worse"), (0.9, "better"), (1.01, "undecided")]
)
def test_eight_processes_a_side_decide(factor: float, expected: str) -> None:
    """With 0.3 % of noise 10 % are seen either way, none is the same, and 1 % is on the edge."""
    found = of(compare_runs(noisy(400, seed=1), noisy(400 * factor, seed=2)), "ttft_ms_mean")
    assert (expected, "processes") == _said(found)
    assert (8, 8) == found.processes
    assert found.interval is not None
    assert found.interval[0] <= factor <= found.interval[1]
    assert found.detectable is not None
    assert 0 < found.detectable < 0.01


def test_sides_taken_in_turn_are_judged_pair_by_pair() -> None:
    """A machine that gets slower and slower hides 3 % from two sets, and nothing from pairs."""
    values = [400 * 1.05**at for at in range(8)]
    sides = [
        [
            one.model_copy(update={"started_at": START + timedelta(minutes=2 * at + side)})
            for at, one in enumerate(runs([value * factor for value in values]))
        ]
        for side, factor in ((0, 1.0), (1, 1.03))
    ]
    found = of(compare_runs(*sides), "ttft_ms_mean")
    assert ("worse", "in_turn") == _said(found)
    assert 1.03 == pytest.approx(found.ratio)
    assert 2 / 2**8 == found.p
    unordered = [[one.model_copy(update={"started_at": None}) for one in side] for side in sides]
    assert ("undecided", "processes") == _said(of(compare_runs(*unordered), "ttft_ms_mean"))


def test_three_samples_decide_nothing() -> None:
    """However far apart they are; the change is shown all the same."""
    found = of(compare_runs(runs([400, 401, 402]), runs([800, 801, 802])), "ttft_ms_mean")
    assert ("undecided", "too_few_processes") == _said(found)
    assert 2 < (found.ratio or 0) + 0.01


def test_identical_samples_are_the_same() -> None:
    """No variance at all is no significance."""
    found = of(compare_runs(runs([400] * 8), runs([400] * 8)), "ttft_ms_mean")
    assert ("same", "identical") == _said(found)


def test_another_machine_compares_counts_alone() -> None:
    """Its times are named as not comparable, with the key; --allow lets them be compared."""
    there = [
        one.model_copy(update={"environment": {"cpu": "another"}}) for one in noisy(400, seed=3)
    ]
    here = [one.model_copy(update={"environment": {"cpu": "one"}}) for one in noisy(400, seed=4)]
    found = compare_runs(here, there)
    assert ("incomparable", "differs: cpu") == _said(of(found, "ttft_ms_mean"))
    assert ("same", "exact") == _said(of(found, "expert_bytes"))
    allowed = compare_runs(here, there, allowed=("cpu",))
    assert "same" == of(allowed, "ttft_ms_mean").status


def test_other_arms_beside_it_compare_counts_alone() -> None:
    """Arms of one process warm each other's caches: their times are not those of another set."""
    before, after = (noisy(400, seed=seed) for seed in (3, 4))
    spec = RECORD.spec | {"schedules": ["chunked", "layered", "whole"]}
    more = [one.model_copy(update={"spec": spec}) for one in after]
    found = compare_runs(before, more)
    assert ("incomparable", "differs: schedules") == _said(of(found, "ttft_ms_mean"))
    assert ("same", "exact") == _said(of(found, "expert_bytes"))
    allowed = compare_runs(before, more, allowed=("schedules",))
    assert "same" == of(allowed, "ttft_ms_mean").status


@pytest.mark.parametrize("key", ["model", "workload_hash", "routing", "dtype", "seed"])
def test_another_experiment_is_refused_by_name(key: str) -> None:
    """Every key that differs, with both values and the way to compare nevertheless."""
    other = respecified(**{key: "another"})
    with pytest.raises(InputError, match=f"{key} is .* and 'another'.*--allow {key}"):
        compare_runs([RECORD], [other])
    assert compare_runs([RECORD], [other], allowed=(key,))


def test_a_failed_run_is_refused() -> None:
    """On either side."""
    failed = example_record(status="failed", failure="interrupted")
    for sides in (([failed], [RECORD]), ([RECORD], [failed])):
        with pytest.raises(InputError, match=r"failed \(interrupted\)"):
            compare_runs(*sides)
    with pytest.raises(InputError, match="failed"):
        compare_arms_of([failed])


def test_runs_of_different_experiments_are_no_replicates() -> None:
    """A folder must hold one experiment, of one pass, on one machine."""
    with pytest.raises(InputError, match="seed is"):
        compare_runs([RECORD, respecified(seed=7)], [RECORD])
    energy = example_record(command="energy")
    with pytest.raises(InputError, match="mixes runs of 'traffic' and 'energy'"):
        compare_runs([RECORD, energy], [RECORD])
    other = example_record(environment={"cpu": "another"})
    with pytest.raises(InputError, match="mixes runs of which cpu differ"):
        compare_arms_of([RECORD, other])
    fused = example_record(environment=RECORD.environment | {"kernels": {"layers": "triton"}})
    with pytest.raises(InputError, match="mixes runs on kernels of torch and of triton"):
        compare_arms_of([RECORD, fused])
    tiles = [{"rows": [1, None], "source": source} for source in ("shipped", "tuned")]
    runs = [
        example_record(
            environment=RECORD.environment | {"kernels": {"layers": "triton", "tiles": [one]}}
        )
        for one in tiles
    ]
    with pytest.raises(InputError, match="mixes runs on other tiles"):
        compare_arms_of(runs)


def test_an_arm_that_is_missing_is_named() -> None:
    """On either side, whole, and the others are compared."""
    alone = example_record(arms=RECORD.arms[:1])
    for sides in (([RECORD], [alone]), ([alone], [RECORD])):
        found = compare_runs(*sides)
        assert ("incomparable", "arm_missing") == _said(of(found, "all"))
        assert "same" == of(found, "expert_bytes", "chunked").status


def test_a_metric_that_only_one_side_has_is_not_compared() -> None:
    """It is named, with what stands against it."""
    first, second = RECORD.arms
    other = example_record(arms=(first, without(second, "expert_bytes", "ttft_ms_mean")))
    found = compare_runs([RECORD], [other])
    assert ("incomparable", "not_recorded") == _said(of(found, "expert_bytes"))
    assert ("incomparable", "not_recorded") == _said(of(found, "ttft_ms_mean"))


def test_an_invalid_reading_is_not_compared() -> None:
    """Energy of void windows stands in the record, but proves nothing."""
    first, second = RECORD.arms
    void = with_joules(second, 5.0, validity="invalid", reasons=("thermal_slowdown",))
    found = compare_runs(
        [example_record(arms=(first, with_joules(second, 5.0)))],
        [example_record(arms=(first, void))],
    )
    assert ("incomparable", "thermal_slowdown") == _said(of(found, "joules_per_total_token"))


def test_another_instrument_is_not_compared() -> None:
    """Bytes of CUPTI against bytes of GPM."""
    first, second = RECORD.arms
    sides = [
        [example_record(arms=(first, with_joules(second, 5.0, source=source)))]
        for source in ("nvml: GPU", "rapl: package-0")
    ]
    found = compare_runs(*sides)
    assert ("incomparable", "differs: source") == _said(of(found, "joules_per_total_token"))


def test_the_models_own_routing_follows_rounding() -> None:
    """Counts of two runs are then compared within delta, and no longer exactly."""
    first, second = RECORD.arms
    value = second.metrics["expert_bytes"].value or 0
    spec = RECORD.spec | {"routing": "model"}
    base = example_record(spec=spec)
    for factor, expected in ((1.002, "same"), (1.2, "worse")):
        other = example_record(
            spec=spec, arms=(first, revalued(second, expert_bytes=value * factor))
        )
        found = of(compare_runs([base], [other]), "expert_bytes")
        assert (expected, "counted") == _said(found)


def test_counts_that_followed_the_clock_are_judged_over_processes() -> None:
    """Of requests that arrived in seconds: one run decides nothing, however many iterations."""
    first, second = RECORD.arms
    more = revalued(second, iterations=2 * (second.metrics["iterations"].value or 0))
    sides = [
        [example_record(command="latency", arms=(first, arm), environment={"cpu": "one"})]
        for arm in (second, more)
    ]
    assert ("undecided", "too_few_processes") == _said(of(compare_runs(*sides), "iterations"))
    alone = compare_arms_of(sides[0])
    assert ("undecided", "not_interleaved") == _said(of(alone, "expert_bytes"))
    elsewhere = [sides[1][0].model_copy(update={"environment": {"cpu": "another"}})]
    found = compare_runs(sides[0], elsewhere)
    assert ("incomparable", "differs: cpu") == _said(of(found, "iterations"))


def test_the_arms_of_one_run() -> None:
    """Counts decide; times of one run do not."""
    found = compare_arms_of([timed(ttft=200)])
    assert ("better", "exact") == _said(of(found, "expert_bytes"))
    assert ("worse", "exact") == _said(of(found, "iterations"))
    assert ("undecided", "not_interleaved") == _said(of(found, "ttft_ms_mean"))


def campaigns(*, count: int = 6, again: float | None = 1.0) -> list[Record]:
    """Return energy campaigns, a process each: the later arm takes 0.75 of the joules.

    Args:
        count: how many.
        again: what the A/A arm takes; None for no such arm.
    """
    drawn = random.Random(5)
    records = []
    for _ in range(count):
        common = 4 * math.exp(drawn.gauss(0, 0.5))
        first, second = RECORD.arms
        arms = [
            with_joules(first, common),
            with_joules(second, 0.75 * common * math.exp(drawn.gauss(0, 0.01))),
        ]
        if again is not None:
            same = first.model_copy(update={"label": "chunked#2", "role": "aa"})
            arms.append(with_joules(same, again * common * math.exp(drawn.gauss(0, 0.01))))
        records.append(example_record(command="energy", arms=tuple(arms)))
    return records


def test_the_arms_of_six_runs() -> None:
    """Paired inside each process: what processes have in common cancels."""
    found = of(compare_arms_of(campaigns()), "joules_per_total_token")
    assert ("better", "processes", 2 / 64) == (*_said(found), found.p)
    assert found.interval is not None
    assert found.interval[0] <= 0.75 <= found.interval[1]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (campaigns(again=None), "no_noise"),
        (campaigns(again=1.2), "aa_not_null"),
        (campaigns(count=5), "too_few_processes"),
    ],
    ids=["no A/A arm", "the A/A arm differs", "five runs"],
)
def test_the_arms_of_runs_that_prove_nothing(records: list[Record], expected: str) -> None:
    """A quarter less is no verdict where the first arm's difference from itself is not known."""
    found = of(compare_arms_of(records), "joules_per_total_token")
    assert ("undecided", expected) == _said(found)


def test_counts_that_differ_between_replicates_are_not_exact() -> None:
    """The first run's would stand for all of them."""
    first, second = RECORD.arms
    odd = example_record(arms=(first, revalued(second, expert_bytes=1.0)))
    for found in (compare_runs([RECORD, odd], [RECORD]), compare_arms_of([RECORD, odd])):
        assert ("undecided", "not_deterministic") == _said(of(found, "expert_bytes"))


def blocks(
    ratio: float, interval: tuple[float, float] | None, noise: tuple[float, float] | None
) -> Record:
    """Return a record of an energy campaign: joules of two arms, by blocks, and an A/A arm."""
    first, second = (with_joules(arm, 5.0) for arm in RECORD.arms)
    second = with_joules(second, 5.0 * ratio)
    again = first.model_copy(update={"label": "chunked#2", "role": "aa"})

    def compared(label: str, edges: tuple[float, float] | None) -> Comparison:
        return Comparison(
            metric="joules_per_total_token",
            baseline="chunked",
            candidate=label,
            ratio=ratio,
            interval=edges,
            samples=(ratio,) * 8,
        )

    return example_record(
        command="energy",
        arms=(first, again, second),
        comparison=(compared("chunked#2", noise), compared("layered", interval)),
    )


@pytest.mark.parametrize(
    ("ratio", "interval", "noise", "expected"),
    [
        (0.90, (0.89, 0.91), (0.99, 1.01), ("better", "blocks")),
        (1.10, (1.09, 1.11), (0.99, 1.01), ("worse", "blocks")),
        (1.001, (0.995, 1.005), (0.996, 1.004), ("same", "blocks")),
        (1.001, (0.995, 1.005), (0.98, 1.01), ("undecided", "below_noise")),
        (1.005, (0.98, 1.02), (0.99, 1.01), ("undecided", "blocks")),
        (0.90, (0.89, 0.91), (0.8, 1.01), ("undecided", "below_noise")),
        (0.90, (0.89, 0.91), (1.02, 1.03), ("undecided", "aa_not_null")),
        (0.90, (0.89, 0.91), None, ("undecided", "no_noise")),
        (0.90, None, (0.99, 1.01), ("undecided", "too_few_blocks")),
    ],
)
def test_the_arms_of_one_campaign(
    ratio: float,
    interval: tuple[float, float] | None,
    noise: tuple[float, float] | None,
    expected: tuple[str, str],
) -> None:
    """By its blocks, beyond the A/A arm's noise alone, and labelled as of this process."""
    found = of(compare_arms_of([blocks(ratio, interval, noise)]), "joules_per_total_token")
    assert expected == _said(found)
    assert found.within_process == (interval is not None)


def test_the_repetition_is_no_candidate() -> None:
    """The A/A arm shows the noise and is compared with nobody."""
    found = compare_arms_of([blocks(0.9, (0.89, 0.91), (0.99, 1.01))])
    assert {"layered"} == {one.candidate for one in found}


def test_one_arm_has_nothing_to_be_compared_with() -> None:
    """Said in one line; so for none."""
    with pytest.raises(InputError, match="no two arms to compare: chunked"):
        compare_arms_of([example_record(arms=RECORD.arms[:1])])
    with pytest.raises(InputError, match="no two arms to compare: none"):
        compare_arms_of([example_record(arms=())])


def test_zero_has_no_ratio() -> None:
    """Nothing is divided by it."""
    found = of(compare_runs(runs([0.0] * 6), runs([1.0] * 6)), "ttft_ms_mean")
    assert ("undecided", "zero") == _said(found)
