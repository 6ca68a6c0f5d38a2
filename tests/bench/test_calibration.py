"""The roofline calibrated on itself: durations that it made give its coefficients back.

The closed loop: a set of coefficients that differs from the start set makes the durations of plans
of real schedules; the fit sees the plans and the durations alone.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lpbench.bench.calibration import Calibration, calibrate
from lpbench.bench.factors import GROUPS, Factors
from lpbench.bench.loop import Limits, run_arm
from lpbench.bench.observed import ObservedArm, ObservedRun, Pass, passes_of
from lpbench.bench.replay import pass_times, replay
from lpbench.errors import InputError
from lpbench.executors.roofline.coefficients import (
    IDEAL,
    LEAST_SHARE,
    Coefficients,
    find_coefficients,
    read_coefficients,
)
from lpbench.executors.roofline.cost import Roofline
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.record.schema import Arm, Ledger, Reading, Record, Schedule, Window
from lpbench.report.calibrate import calibrate_notes
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import find_device
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.coverage import find_coverage

MODEL, DEVICE = "qwen3-30b-a3b", find_device("h200")
START = find_coefficients("kernels")

SCHEDULES = ("chunked:max_num_batched_tokens=1024", "layered:tokens_per_group=512", "whole")


def slower(table: str, factor: float, *kinds: str) -> dict[str, float]:
    """Return a table of the start set, the shares of some operators divided by a factor."""
    shares: dict[str, float] = dict(getattr(START, table))
    return {kind: one / factor if kind in kinds else one for kind, one in shares.items()}


MATRICES = ("projections", "experts", "dense", "head")
TRUE = replace(
    START,
    memory=slower("memory", 1.5, *MATRICES)
    | {"attention_decode": 0.82 / 3, "attention_prefill": 0.25},
    compute=slower("compute", 1.2, *MATRICES)
    | {"attention_decode": 0.5 / 3, "attention_prefill": 0.3},
    layer_s=45e-6,
    row_s=100e-9,
    host_s=4e-3,
)
"""Another device's kernels: each group of shares by a factor of its own."""


def requests(seed: int, *, count: int, longest: int, output: int) -> list[Request]:
    """Return prompts of 16 tokens and more, contexts before some, in order of arrival."""
    random = np.random.default_rng(seed)
    return [
        Request(
            index=index,
            prompt_tokens=int(random.integers(16, longest)),
            output_tokens=int(random.integers(2, output)),
            context_tokens=int(random.integers(0, longest)) if index % 3 == 0 else 0,
            arrival=float(index * 2),
        )
        for index in range(count)
    ]


def record(**changes: object) -> Record:
    """Return the record of a run on an H200."""
    values: dict[str, object] = {
        "lpbench_version": "0",
        "status": "complete",
        "command": "latency",
        "spec": {"model": MODEL, "dtype": "bfloat16", "executor": "torch", "routing": "uniform"},
        "spec_hash": "0",
        "environment": {"device": "cuda", "device_name": "NVIDIA H200"},
    }
    return Record.model_validate(values | changes)


def observed(
    coefficients: Coefficients,
    served: Sequence[Request],
    *,
    schedules: Sequence[str] = SCHEDULES,
    noise: Callable[[], float] = lambda: 1.0,
    name: str = "run",
) -> ObservedRun:
    """Return a run whose passes took as long as the roofline says, times the noise."""
    shape, _ = find_shape(MODEL)
    precision = PRECISIONS["bfloat16"]
    executor = RooflineExecutor(
        served,
        shape=shape,
        roofline=Roofline(shape, precision, DEVICE, coefficients),
        coverage=find_coverage("uniform", num_experts=shape.num_experts, top_k=shape.top_k),
    )
    arms = []
    for text in schedules:
        executor.start_arm(None)
        steps = run_arm(
            parse_schedule(text),
            served,
            executor,
            num_layers=shape.num_layers,
            limits=Limits(num_kv_pages=100_000, max_num_seqs=256),
        )
        passes = tuple(
            Pass(
                plan=step.plan,
                preempted=step.preempted,
                seconds=step.execution.modelled.seconds * noise(),
                distinct=None,
            )
            for step in steps
        )
        arms.append(ObservedArm(label=text, requests=tuple(served), passes=passes))
    return ObservedRun(
        name=name, record=record(), shape=shape, precision=precision, arms=tuple(arms)
    )


MIXED = requests(1, count=40, longest=6000, output=60)


def calibrated(*runs: ObservedRun, start: Coefficients = START, **options: object) -> Calibration:
    """Calibrate on an H200."""
    return calibrate(runs, device=DEVICE, start=start, name="found", **options)  # type: ignore[arg-type]


def test_known_coefficients_come_back() -> None:
    """Without noise every coefficient is told, and all are right to 0.2 % or 2 %."""
    found = calibrated(observed(TRUE, MIXED))
    assert {""} == {one.why for one in found.told if not one.name.endswith("_power")}
    assert pytest.approx(TRUE.memory, rel=2e-3) == found.coefficients.memory
    assert pytest.approx(TRUE.compute, rel=2e-3) == found.coefficients.compute
    for name in ("layer_s", "row_s", "host_s"):
        assert getattr(found.coefficients, name) == pytest.approx(getattr(TRUE, name), rel=0.02)
    assert all(abs(one.total) < 1e-3 and one.median < 1e-3 for one in found.held_out)


def test_noise_stays_within_the_stated_errors() -> None:
    """5 % of noise and a stall in every fiftieth pass: truth within four standard errors."""
    random = np.random.default_rng(5)
    noisy = observed(
        TRUE,
        MIXED,
        noise=lambda: float(np.exp(random.normal(0, 0.05))) * (8 if random.random() < 0.02 else 1),
    )
    found = calibrated(noisy)
    for one in found.told:
        if one.error is not None:
            table, _, kind = one.name.partition(".")
            truth = getattr(TRUE, table)
            assert abs(one.value - (truth[kind] if kind else truth)) <= 4 * one.error, one
    (every,) = (one for one in found.held_out if one.what == "all passes")
    # The median of the size of a normal variable is 0.674 deviations.
    assert every.median == pytest.approx(0.674 * 0.05, rel=0.25)


def test_the_written_set_is_read_back() -> None:
    """The file holds the coefficients, and where each is from."""
    found = calibrated(observed(TRUE, MIXED))
    entry = tomllib.loads(found.to_toml())
    assert found.coefficients == read_coefficients(entry, name="found")
    assert "memory.experts fitted" in entry["sources"]["memory"]
    assert (
        "idle_power assumed, as in kernels: fewer than 2 windows with valid joules"
        == (entry["sources"]["idle_power"])
    )
    assert entry["sources"]["runs"].startswith(f"run: lpbench latency, {MODEL} in bfloat16")
    assert "passes without prefill: median error 0." in entry["sources"]["held_out"]


def test_what_the_passes_do_not_show_is_assumed() -> None:
    """Decodes behind one context: prefill attention keeps its start value, and says so."""
    alike = [
        Request(index=at, prompt_tokens=1, output_tokens=12, context_tokens=2048, arrival=2.0 * at)
        for at in range(64)
    ]
    run = observed(TRUE, alike, schedules=("whole",))
    decodes = tuple(one for one in run.arms[0].passes if not one.plan.prefill)
    found = calibrated(replace(run, arms=(replace(run.arms[0], passes=decodes),)))
    told = {one.name: one for one in found.told}
    assert "nothing depends on it" == told["compute.attention_prefill"].why
    assert told["layer_s"].why.startswith("not told from")
    assert START.compute["attention_prefill"] == found.coefficients.compute["attention_prefill"]
    assert all(one.median < 0.01 for one in found.held_out)


def test_errors_on_another_regime_are_larger() -> None:
    """Fitted on chats, held out on documents: what prefill costs there was never seen."""
    chats = observed(TRUE, requests(2, count=60, longest=40, output=40), schedules=("chunked",))
    documents = observed(
        TRUE, requests(3, count=8, longest=30_000, output=4), schedules=("chunked",), name="other"
    )
    within, across = calibrated(chats), calibrated(chats, held_out=[documents])
    assert max(one.median for one in within.held_out) < 0.01
    (every,) = (one for one in across.held_out if one.what == "all passes")
    assert sum(1 for _ in passes_of([documents])) == every.count
    assert every.median > 0.05
    assert "runs that were not fitted: other" == across.how


def test_held_out_blocks_are_not_fitted() -> None:
    """Durations of the held-out blocks change the errors on them, and no coefficient."""
    run = observed(TRUE, MIXED, schedules=("whole",))
    passes = [
        replace(one, seconds=one.seconds * (3 if at // 10 % 5 == 4 else 1))
        for at, one in enumerate(run.arms[0].passes)
    ]
    changed = replace(run, arms=(replace(run.arms[0], passes=tuple(passes)),))
    found, other = calibrated(run), calibrated(changed)
    assert found.told == other.told
    assert all(one.median == pytest.approx(2 / 3, abs=0.01) for one in other.held_out)
    assert found.seen == other.seen


def test_shares_stay_at_the_peak() -> None:
    """A device that beats its own peak, from caches: no share above 1, and nothing negative."""
    quick = observed(START, MIXED, noise=lambda: 0.7)
    found = calibrated(quick).coefficients
    assert 1 == max([*found.memory.values(), *found.compute.values()])
    assert min(found.layer_s, found.row_s, found.host_s) >= 0


def test_a_plain_roofline_can_be_the_start() -> None:
    """Ridge infinite, no overheads, shares of 1: the loop closes from there too."""
    truth = replace(
        IDEAL,
        memory=dict.fromkeys(IDEAL.memory, 0.5),
        compute=dict.fromkeys(IDEAL.compute, 0.25),
        layer_s=20e-6,
        host_s=2e-3,
    )
    found = calibrated(observed(truth, MIXED), start=IDEAL)
    assert found.coefficients.memory["experts"] == pytest.approx(0.5, rel=0.01)
    assert found.coefficients.compute["experts"] == pytest.approx(0.25, rel=0.01)
    assert all(abs(one.total) < 0.01 for one in found.held_out)


@pytest.mark.parametrize("ridge", [1.0, 2.0, np.inf])
def test_fit_and_roofline_are_one_formula(ridge: float) -> None:
    """The times that are fitted are `Roofline`'s, and their derivatives the differences'."""
    run = observed(TRUE, MIXED[:6])
    start = replace(START, ridge=ridge)
    times, work = pass_times([run], DEVICE, start)
    factors = Factors(start)
    values = factors.start * np.linspace(1.5, 3, len(factors.start))
    seconds, slopes = factors.times(times, values)
    made = factors.coefficients(values)
    roofline = Roofline(run.shape, run.precision, DEVICE, made)
    costs = [cost for arm in run.arms for cost in replay(run, arm, roofline)]
    assert seconds == pytest.approx([cost.seconds for cost in costs], rel=1e-3)  # of rounding
    assert np.concatenate(work[0]).sum(axis=0) == pytest.approx(
        [sum(cost.bytes for cost in costs), sum(cost.flops for cost in costs)]
    )
    for at, value in enumerate(values):
        step = np.zeros(len(values))
        step[at] = 1e-6 * value
        difference = factors.times(times, values + step)[0] - factors.times(times, values - step)[0]
        assert slopes[:, at] == pytest.approx(difference / (2e-6 * value), rel=1e-3, abs=1e-9)


def test_counted_experts_are_taken_as_they_were() -> None:
    """One expert a layer instead of many: its bytes and no more."""
    run = observed(TRUE, MIXED[:6], schedules=("whole",))
    few = tuple(replace(one, distinct=(1,) * run.shape.num_layers) for one in run.arms[0].passes)
    counted = replace(run, arms=(replace(run.arms[0], passes=few),))
    roofline = Roofline(run.shape, run.precision, DEVICE, START)
    expected, found = (
        [cost.bytes for cost in replay(one, one.arms[0], roofline)] for one in (run, counted)
    )
    layers, expert = run.shape.num_layers, roofline.operators.expert_bytes
    touched = [cost.distinct for cost in replay(run, run.arms[0], roofline)]
    assert found == pytest.approx(
        [
            before - (distinct - layers) * expert
            for before, distinct in zip(expected, touched, strict=True)
        ]
    )


def test_too_few_passes_are_refused() -> None:
    """One line with how many there must be."""
    with pytest.raises(InputError, match=r"passes are too few to fit; accepted: 50 or more"):
        calibrated(observed(TRUE, MIXED[:2], schedules=("whole",)))


def test_every_operator_has_its_factor() -> None:
    """Each share of each table moves with exactly one factor."""
    members = [one for group in GROUPS for one in group.members]
    expected = {(table, kind) for table in ("memory", "compute") for kind in START.memory}
    assert expected == set(members)
    assert len(members) == len(set(members))


def metered(run: ObservedRun, powers: tuple[float, float, float], *, runs: int = 3) -> ObservedRun:
    """Return the run with windows of energy, drawn as the shares of the design power say."""
    assert DEVICE.tdp_w is not None
    _, work = pass_times([run], DEVICE, START)
    arms = []
    for arm, done in zip(run.arms, work[0], strict=True):
        moved, computed = done.sum(axis=0)
        seconds = runs * sum(one.seconds for one in arm.passes)
        busy = (
            seconds,
            runs * moved / DEVICE.memory_bandwidth,
            runs * computed / DEVICE.bf16_flops,
        )
        joules = DEVICE.tdp_w * sum(a * b for a, b in zip(powers, busy, strict=True))
        window = energy_window("measured", seconds, joules, runs=runs)
        arms.append(
            Arm(
                label=arm.label,
                schedule=Schedule(name="whole", params={}),
                plan_hash=arm.label,
                metrics={},
                windows=tuple(window.model_copy(update={"block": at}) for at in range(6)),
                ledger=Ledger(counted_bytes=None, modelled_bytes=None),
            )
        )
    idle = energy_window("idle", 10.0, 10.0 * DEVICE.tdp_w * powers[0], runs=0)
    changes = {"command": "energy", "windows": (idle, idle), "arms": tuple(arms)}
    return replace(run, record=run.record.model_copy(update=changes))


def energy_window(name: str, seconds: float, joules: float, *, runs: int) -> Window:
    """Return a window of measured joules."""
    reading = Reading(value=joules, unit="J", method="measured", source="fake", pass_="energy")  # noqa: S106 - a pass over the workload
    return Window(
        name=name,
        pass_="energy",  # noqa: S106 - a pass over the workload
        iterations=1,
        duration_ms=seconds * 1e3,
        runs=runs,
        readings={"total_gpu_energy_j": reading},
    )


@pytest.mark.parametrize("start", [START, IDEAL], ids=lambda one: str(one.name))
def test_measured_joules_give_the_shares_of_power(start: Coefficients) -> None:
    """Windows of prefill and of decodes, and idle ones: all three come back, from zero too."""
    decoding = [
        Request(index=at, prompt_tokens=16, output_tokens=40, context_tokens=2048)
        for at in range(16)
    ]
    powers = (0.1, 0.55, 0.7)
    found = calibrated(
        metered(observed(TRUE, MIXED), powers),
        metered(observed(TRUE, decoding, schedules=("whole",), name="decodes"), powers),
        start=start,
    )
    made = found.coefficients
    assert pytest.approx(powers, rel=1e-3) == (
        made.idle_power,
        made.memory_power,
        made.compute_power,
    )
    (joules,) = (one for one in found.held_out if one.what == "joules of windows")
    assert joules.count == 4  # one block in five, of each arm
    assert joules.median < 1e-3


def test_decodes_that_are_alike_tell_nothing_apart() -> None:
    """From the plain roofline: no overflow on the way, and the times are met."""
    alike = [
        Request(index=at, prompt_tokens=1, output_tokens=40, context_tokens=2048)
        for at in range(16)
    ]
    found = calibrated(observed(TRUE, alike, schedules=("whole",) * 3), start=IDEAL)
    assert any(one.why.startswith("not told from") for one in found.told)
    assert all(one.median < 0.01 for one in found.held_out)


def test_one_window_of_joules_is_too_few() -> None:
    """It was measured, and is not said not to have been."""
    run = metered(observed(TRUE, MIXED), (0.1, 0.5, 0.7))
    window, _ = run.record.windows
    arms = tuple(one.model_copy(update={"windows": ()}) for one in run.record.arms)
    record = run.record.model_copy(update={"windows": (window,), "arms": arms})
    found = calibrated(replace(run, record=record))
    whys = {one.why for one in found.told if one.name.endswith("_power")}
    assert {"fewer than 2 windows with valid joules"} == whys


def test_a_share_that_fell_a_hundredfold_is_doubted() -> None:
    """Passes that take a thousand times as long wait for something; those of twice do not."""
    slow, usual = (
        calibrated(observed(START, MIXED, noise=lambda factor=factor: factor))  # type: ignore[misc]
        for factor in (1000.0, 2.0)
    )
    fallen = {one.name for one in slow.told if one.has_fallen}
    assert "memory.experts" in fallen
    assert all("." in name for name in fallen)
    said = tomllib.loads(slow.to_toml())["sources"]["memory"]
    assert "which fell by more than 100: it stands for something else" in said
    assert not any(one.has_fallen for one in usual.told)
    assert any("memory.experts" in note and "fell" in note for note in calibrate_notes(slow))
    assert not any(" fell by more than " in note for note in calibrate_notes(usual))


def test_shares_stay_where_they_can_be_read_back() -> None:
    """From a start of small shares on, and ten thousand times as slow."""
    small = replace(
        START,
        memory=dict.fromkeys(START.memory, 1e-5),
        compute=dict.fromkeys(START.compute, 1e-5),
    )
    found = calibrated(observed(small, MIXED, noise=lambda: 1e4), start=small)
    read = read_coefficients(tomllib.loads(found.to_toml()), name="found")
    assert LEAST_SHARE <= min([*read.memory.values(), *read.compute.values()])


def test_power_is_assumed_where_the_device_states_none() -> None:
    """Shares of an unknown design power cannot be told."""
    run = metered(observed(TRUE, MIXED), (0.1, 0.5, 0.7))
    found = calibrate([run], device=replace(DEVICE, tdp_w=None), start=START, name="found")
    powers = [one for one in found.told if one.name.endswith("_power")]
    assert {"the device states no tdp_w"} == {one.why for one in powers}
    assert START.idle_power == found.coefficients.idle_power
    assert all(one.what != "joules of windows" for one in found.held_out)
