"""A point of the regime map: what is timed, against a count by hand; what is refused."""

import pytest

from lpbench.bench.listener import Silent
from lpbench.bench.regime import _weighted_p99, run_regime
from lpbench.bench.spec import Burst, RunSpec
from lpbench.errors import InputError, MisfitError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore


def run(burst: Burst, *, executor: str = "roofline", num_kv_pages: int | None = None) -> Record:
    """Run a point of Qwen3-30B-A3B on an H200."""
    spec = RunSpec(
        model="qwen3-30b-a3b",
        executor=executor,
        device="h200",
        burst=burst,
        schedules=burst.schedules,
        num_kv_pages=num_kv_pages,
    )
    return run_regime(spec, lambda: RunStore(output=None, json=None), Silent())


def test_times_run_from_the_prompts_arrival_to_the_last_first_token() -> None:
    """Four groups: four passes, the mean of one prompt's TTFT is their sum; nothing else counts."""
    record = run(Burst(num_decodes=4, prompt_len=2048, chunks=(2048,), groups=(1, 4)))
    whole, once, layered, adaptive = record.arms
    assert [1, 1, 4] == [arm.metrics["iterations"].value for arm in (whole, once, layered)]
    for arm in (whole, once):  # one pass: TTFT is its time, and so is every gap
        assert arm.metrics["ttft_ms_mean"].value == arm.metrics["tbt_ms_p99"].value
    assert whole.metrics["ttft_ms_mean"].value == once.metrics["ttft_ms_mean"].value
    ttft, longest = (layered.metrics[name].value for name in ("ttft_ms_mean", "tbt_ms_max"))
    assert ttft is not None
    assert longest is not None
    assert ttft / 4 <= longest < ttft / 3
    assert (adaptive.metrics["tbt_ms_p99"].value or 0) <= 50
    assert {"modelled"} == {one.method for arm in record.arms for one in arm.metrics.values()}


def test_prompts_come_in_together() -> None:
    """Two whole prompts one after the other: the mean TTFT is one and a half passes."""
    record = run(Burst(num_decodes=1, prompts=2, prompt_len=4096, chunks=(4096,)))
    chunked = record.arms[0].metrics
    mean, last = chunked["ttft_ms_mean"].value, chunked["ttft_ms_max"].value
    assert mean is not None
    assert last == pytest.approx(mean * 4 / 3, rel=0.01)


def test_without_decodes_no_gap_is_timed() -> None:
    """One pass, counted; the gap between tokens is absent and not zero."""
    metrics = run(Burst(num_decodes=0, prompt_len=512, chunks=(512,))).arms[0].metrics
    assert 1 == metrics["iterations"].value
    assert ("absent", None) == (metrics["tbt_ms_p99"].validity, metrics["tbt_ms_p99"].value)


def test_figures_of_a_schedule_that_preempts_are_not_valid() -> None:
    """A prompt of 4096 tokens by 16 takes 256 passes: decodes outgrow the four pages each has."""
    burst = Burst(num_decodes=64, prompt_len=4096, chunks=(16, 4096), groups=(1,))
    pages = 64 * (2048 // 16 + 4) + 4096 // 16
    slow, whole = run(burst, num_kv_pages=pages).arms[:2]
    assert ["preempted"] == list(slow.metrics["ttft_ms_mean"].reasons)
    assert "valid" == whole.metrics["ttft_ms_mean"].validity


def test_a_percentile_over_gaps_that_come_so_many_times() -> None:
    """Of 100 gaps one may be longer; of 99 none."""
    assert 1.0 == _weighted_p99([(1.0, 99), (2.0, 1)])
    assert 2.0 == _weighted_p99([(1.0, 98), (2.0, 1)])
    assert None is _weighted_p99([])


@pytest.mark.parametrize(
    ("burst", "says"),
    [
        (Burst(num_decodes=250, context_len=30_000), "need 470262"),
        (Burst(context_len=40_960), "leaves nothing of the 40960 positions"),
        (Burst(prompt_len=50_000), "more than the 40960 positions"),
        (Burst(num_decodes=8, prompts=8, chunks=(4,)), "could starve prompts"),
    ],
)
def test_a_point_that_does_not_fit_is_refused(burst: Burst, says: str) -> None:
    """One line; a sweep keeps such a cell apart."""
    with pytest.raises(MisfitError, match=says):
        run(burst)


@pytest.mark.parametrize(
    ("burst", "says"),
    [
        (Burst(num_decodes=-1), "num_decodes = -1 is out of range; accepted: 0 to"),
        (Burst(prompts=0), "prompts = 0 is out of range; accepted: 1 to"),
        (Burst(prompt_len=0), "prompt_len = 0"),
        (Burst(context_len=-5), "context_len = -5"),
        (Burst(tbt_budgets_ms=(0,)), "tbt_budget_ms=0 is out of range"),
    ],
)
def test_a_number_out_of_its_range_is_refused(burst: Burst, says: str) -> None:
    """One line with the accepted range; not a cell that is kept apart."""
    with pytest.raises(InputError, match=says) as caught:
        run(burst)
    assert not isinstance(caught.value, MisfitError)


def test_a_point_is_modelled_alone() -> None:
    """On torch it would take the machine's time for nothing that is measured."""
    with pytest.raises(InputError, match="accepts: roofline"):
        run(Burst(), executor="torch")
