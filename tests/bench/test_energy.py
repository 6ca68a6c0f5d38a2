"""The energy pass: joules per unit of work, blocks, void windows, budgets, interruptions."""

from pathlib import Path

import pytest

from lpbench.bench.campaign import Campaign
from lpbench.bench.experiment import Experiment
from lpbench.bench.spec import RunSpec
from lpbench.errors import InputError, RunError, UnavailableError
from lpbench.record.schema import Arm, Comparison, Record
from lpbench.record.store import read_record
from tests.cli.command import read_lines
from tests.metered import PASS_S, WARM_UP_WINDOWS, WATTS, Job, energy_job

TOKENS, OUTPUTS, REQUESTS = 3 * (20 + 5), 3 * 5, 3
WARM_UP_PASSES = 12 + 21 * 5 + 15 * 7
"""The rehearsal, and windows of 1.05 s of each arm's own runs."""

WHOLE, LAYERED = 5, 7
"""Iterations: one prefill, or three, then each request decodes four tokens more."""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Return the pass on a fake engine."""
    return energy_job(tmp_path, monkeypatch)


def by_label(record: Record) -> dict[str, Arm]:
    """Return the arms by label."""
    return {arm.label: arm for arm in record.arms}


def per_token(record: Record) -> dict[str, Comparison]:
    """Return the comparisons of joules per token by candidate."""
    return {
        one.candidate: one for one in record.comparison if one.metric == "joules_per_total_token"
    }


def test_joules_are_divided_by_what_was_done(tmp_path: Path, job: Job) -> None:
    """200 W for 5 passes of 10 ms are 10 J a run: over 75 tokens, 15 of them output, 3 requests."""
    record = job()
    assert record == read_record(tmp_path / "run")
    metrics = by_label(record)["whole"].metrics
    joules = WATTS * WHOLE * PASS_S
    assert pytest.approx(joules / TOKENS) == metrics["joules_per_total_token"].value
    assert pytest.approx(joules / OUTPUTS) == metrics["joules_per_output_token"].value
    assert pytest.approx(joules / REQUESTS) == metrics["joules_per_request"].value
    assert pytest.approx(WATTS) == metrics["power_w_mean"].value
    assert 8 == len(metrics["joules_per_total_token"].samples)
    assert WHOLE == metrics["iterations"].value


def test_every_arm_does_the_same_work_in_windows_long_enough(job: Job) -> None:
    """The quickest schedule sets how often the workload runs: 1.05 s of 50 ms runs are 21."""
    record = job()
    assert {21} == {one.runs for arm in record.arms for one in arm.windows}
    assert all(one.duration_ms >= 1000 for arm in record.arms for one in arm.windows)
    assert [16] * 3 == [len(arm.windows) for arm in record.arms]


def test_the_baseline_runs_against_itself(job: Job) -> None:
    """The A/A arm stands beside the first one and differs from it by nothing."""
    record = job()
    assert ["whole", "whole#2", "layered:num_groups=3"] == [arm.label for arm in record.arms]
    assert ["arm", "aa", "arm"] == [arm.role for arm in record.arms]
    found = per_token(record)["whole#2"]
    assert pytest.approx((1, 1, 1)) == (found.ratio, *(found.interval or ()))


@pytest.mark.parametrize("per_second", [0.0, 0.001, -0.0002])
def test_a_steady_drift_does_not_touch_the_comparison(job: Job, per_second: float) -> None:
    """Power that creeps up or down all the time hits all arms alike: seven passes cost 1.4 x."""
    record = job(power=lambda seconds: WATTS * (1 + per_second * seconds))
    found = per_token(record)
    assert found["layered:num_groups=3"].ratio == pytest.approx(LAYERED / WHOLE, rel=2e-4)
    assert found["whole#2"].ratio == pytest.approx(1, rel=2e-4)


def test_a_void_window_takes_its_block_out(job: Job) -> None:
    """One void window: kept with its code, its block left out, and said so."""
    record = job(void=(WARM_UP_WINDOWS,))
    arm = record.arms[0]
    assert 7 == len(arm.metrics["joules_per_total_token"].samples)
    assert ("fault",) == arm.windows[0].readings["total_gpu_energy_j"].reasons
    assert ["void_windows"] == [one.code for one in arm.warnings]
    assert 7 == len(per_token(record)["layered:num_groups=3"].samples)


def test_without_a_valid_window_there_is_no_number(job: Job) -> None:
    """Every window void: the metrics are absent with the code, nothing is compared."""
    record = job(void=range(1000))
    reading = record.arms[0].metrics["joules_per_total_token"]
    assert (None, "absent", ("fault",)) == (reading.value, reading.validity, reading.reasons)
    assert {("no_valid_block",)} == {one.reasons for one in per_token(record).values()}


def test_idle_power_is_shown_apart(job: Job) -> None:
    """60 W without work, before the first block and after the last: 30 % of 200 W."""
    metrics = by_label(job(idle_watts=60))["whole"].metrics
    assert pytest.approx([60, 60]) == metrics["idle_power_w"].samples
    assert pytest.approx(0.3) == metrics["idle_share"].value
    assert pytest.approx(WATTS) == metrics["power_w_mean"].value


def test_windows_start_at_a_random_phase(job: Job) -> None:
    """The wait is in the window, for the meter's own clock starts it; the work is the same."""
    arm = job(campaign=Campaign(window=1, warm_up=0, idle=1, offset=0.1)).arms[0]
    waits = [one.duration_ms - one.runs * WHOLE * PASS_S * 1e3 for one in arm.windows]
    assert len(waits) == len({round(wait, 3) for wait in waits})
    assert all(0 <= wait <= 100 for wait in waits)


def test_the_record_says_how_it_was_measured(job: Job) -> None:
    """Windows, blocks and the meter's facts, beside the spec that other passes join by."""
    record = job()
    assert (1, 8) == tuple(record.protocol[key] for key in ("window", "blocks"))
    assert {"fake": {"curve": "known"}} == record.protocol["meters"]


def test_a_budget_takes_blocks_away(job: Job) -> None:
    """With 30 s in all, warm-up, idle and three blocks of 7.5 s fit; too few for an interval."""
    record = job(campaign=Campaign(window=1, blocks=8, warm_up=0, idle=1, budget=30))
    found = per_token(record)["layered:num_groups=3"]
    assert 3 == len(found.samples)
    assert (None, ("too_few_blocks",)) == (found.interval, found.reasons)


def test_windows_stay_long_enough_where_runs_get_quicker(job: Job) -> None:
    """A machine that is twice as fast after the warm-up: one block of short windows, no more."""
    record = job(engine={"speeds_up_at": WARM_UP_PASSES})
    windows = [one for arm in record.arms for one in arm.windows]
    assert {0} == {one.block for one in windows if one.duration_ms < 1000}
    runs = {block: {one.runs for one in windows if one.block == block} for block in (0, 1, 7)}
    assert {0: {21}, 1: {42}, 7: {42}} == runs
    assert 8 == record.protocol["blocks_run"]
    # The same joules a token, whatever the number of runs in a window.
    samples = record.arms[0].metrics["joules_per_total_token"].samples
    assert pytest.approx([samples[0]] * 8) == samples


def test_blocks_that_no_longer_fit_are_left_out(job: Job) -> None:
    """A machine that is half as fast from the first block on keeps its budget nevertheless."""
    campaign = Campaign(window=1, blocks=8, warm_up=0, idle=1, offset=0, budget=60)
    record = job(campaign=campaign, engine={"slows_down_at": WARM_UP_PASSES})
    last = record.windows[-1]
    assert (last.start_ms or 0) + last.duration_ms <= 60_000
    assert len({one.block for one in record.arms[0].windows}) == record.protocol["blocks_run"]


def test_a_budget_bounds_the_warm_up_too(job: Job) -> None:
    """A temperature that rises for ever ends neither the warm-up nor the budget; it is told."""
    campaign = Campaign(window=1, warm_up=1, warm_up_most=300, idle=1, budget=40)
    record = job(campaign=campaign, temperature=lambda seconds: seconds * 10)
    ended = max(window.start_ms or 0 for window in record.windows) / 1e3 + 1
    assert ended <= 40
    assert record.protocol["warm_up_flat"] is False
    assert "not_flat" in [one.code for one in record.arms[0].warnings]
    assert 1 <= len(per_token(record)["layered:num_groups=3"].samples)


def test_a_baseline_that_differs_from_itself_is_told(job: Job) -> None:
    """Power that knows whose turn it is: the A/A arm's interval leaves out none."""

    def gain(window: int) -> float:
        return 1.01 if (window - WARM_UP_WINDOWS) % 6 in (1, 4) else 1

    record = job(gain=gain)
    again = next(arm for arm in record.arms if arm.role == "aa")
    assert ["aa_not_null"] == [one.code for one in again.warnings]
    assert [] == [one.code for one in record.arms[0].warnings]


def test_others_on_the_gpu_are_told(job: Job) -> None:
    """Two processes all along void nothing, but the joules are not the run's alone."""
    (said,) = job(processes=2).arms[0].warnings
    assert ("shared_gpu", True) == (said.code, said.message.startswith("2 processes are on"))
    assert [] == list(job(processes=1).arms[0].warnings)


def test_what_ran_is_logged_once(tmp_path: Path, job: Job) -> None:
    """Every schedule's iterations and requests, of the rehearsal."""
    job()
    for name in ("iterations", "requests"):
        lines = read_lines(tmp_path / "run" / f"{name}.jsonl")
        assert {"whole", "layered:num_groups=3"} == {line["arm"] for line in lines}
    assert REQUESTS * 2 == len(read_lines(tmp_path / "run" / "requests.jsonl"))


def test_idle_windows_are_in_the_record(job: Job) -> None:
    """Before the first block and after the last, with all that the meter read."""
    record = job(idle_watts=60)
    first, last = record.windows
    assert ("idle", 0, "energy") == (first.name, first.runs, first.pass_)
    assert pytest.approx(60) == first.readings["total_gpu_energy_j"].value
    starts = [window.start_ms or 0 for arm in record.arms for window in arm.windows]
    assert (first.start_ms or 0) < min(starts) < max(starts) < (last.start_ms or 0)


def test_a_budget_without_room_is_refused(tmp_path: Path, job: Job) -> None:
    """Less than one block: refused with what it takes, before anything is made."""
    with pytest.raises(InputError, match=r"--time-budget 7 s holds no block.* take 9 s at least"):
        job(campaign=Campaign(window=1, warm_up=0, idle=1, budget=7))
    assert not (tmp_path / "run").exists()


def test_without_a_meter_nothing_runs(tmp_path: Path, job: Job) -> None:
    """An absent meter ends it with its reason and fix, before anything is made."""
    with pytest.raises(UnavailableError, match="no joules from fake: there is no fake; make one"):
        job(absent=True)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_campaign_keeps_its_windows(tmp_path: Path, job: Job) -> None:
    """Ctrl-C in the second block: the record is marked failed and holds the windows there were."""
    with pytest.raises(KeyboardInterrupt):
        job(engine={"fails_at": 1500})
    record = read_record(tmp_path / "run")
    assert ("failed", "interrupted") == (record.status, record.failure)
    assert sum(len(arm.windows) for arm in record.arms) > 0


def test_a_meter_that_is_lost_ends_the_run_as_failed(tmp_path: Path, job: Job) -> None:
    """It was there at the start, so this is no absent capability: exit 1, the windows kept."""
    with pytest.raises(RunError, match="fake measures no longer: the fake is lost"):
        job(lost_after=10)
    record = read_record(tmp_path / "run")
    assert ("failed", "RunError") == (record.status, record.failure)
    assert 10 - WARM_UP_WINDOWS == sum(len(arm.windows) for arm in record.arms)


def test_an_engine_that_is_not_there(job: Job) -> None:
    """A device that is missing is found before the store is opened."""

    def missing(self: object, spec: RunSpec, experiment: Experiment) -> None:
        del self, spec, experiment
        raise UnavailableError("device 'cuda' is not there")

    with pytest.raises(UnavailableError, match="cuda"):
        job(engine={"__init__": missing})
