"""The job that times passes: which passes, what is kept of each, and what a failure leaves."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from lpbench.analysis.metrics import SPEED_METRICS
from lpbench.bench.loop import Step
from lpbench.bench.spec import Sizes
from lpbench.bench.speed import run_speed
from lpbench.bench.timed import ABOVE_BOUND, CALLS, HOST_COMPUTES, MS, SizeLog
from lpbench.executors.executor import Execution, Routed
from lpbench.executors.roofline.coefficients import IDEAL
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.queues import Settled
from lpbench.record.schema import Record, Schedule
from lpbench.record.store import RunStore, read_record
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import Device
from lpbench.shape.precision import PRECISIONS
from tests.bench.fakes import Quiet
from tests.bench.tiny import tiny_spec

SIZES = Sizes(batches=(3, 1), context_len=7, prompts=(20,), repeats=4)
KV_BYTES = 4 * 4 * 2 * 16
"""Of a token of the tiny model in float32: four layers, a key and a value of 16 values."""


def device(rate: float = 1e15) -> Device:
    """Return a device whose peaks are as told."""
    return Device(
        name="told",
        cuda_names=(),
        memory_bandwidth=rate,
        memory_bytes=1,
        bf16_flops=rate,
        fp32_flops=rate,
        sources=dict.fromkeys(("memory_bandwidth", "bf16_flops", "fp32_flops"), "told"),
    )


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Record]:
    """Return the job on a tiny model."""
    (tmp_path / "model").mkdir()

    def run(listener: Quiet | None = None, rate: float = 1e15) -> Record:
        return run_speed(
            tiny_spec(tmp_path / "model"),
            SIZES,
            lambda: RunStore(output=tmp_path / "run", json=None),
            listener or Quiet(),
            measure=lambda _: device(rate),
        )

    return run


def passes(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of passes.jsonl."""
    text = (folder / "run" / "passes.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_size_is_an_arm_of_timed_passes(tmp_path: Path, job: Callable[..., Record]) -> None:
    """In the order given, with every metric; each timed pass is a line, and medians are theirs."""
    record = job()
    assert record == read_record(tmp_path / "run")
    assert ("complete", "engine") == (record.status, record.command)
    labels = ["decode:3", "decode:1", "prefill:20"]
    assert labels == [arm.label for arm in record.arms]
    lines = passes(tmp_path)
    assert [label for label in labels for _ in range(4)] == [line["arm"] for line in lines]
    for arm in record.arms:
        mine = [line for line in lines if line["arm"] == arm.label]
        assert list(SPEED_METRICS) == list(arm.metrics)
        units = {name: metric.unit for name, metric in SPEED_METRICS.items()}
        assert units == {name: one.unit for name, one in arm.metrics.items()}
        for name, key in (
            ("pass_ms_median", "wall_ms"),
            ("bound_ms", "bound_ms"),
            ("pass_bytes", "bytes"),
        ):
            assert median(line[key] for line in mine) == arm.metrics[name].value
        assert ("too_few_samples",) == arm.metrics["pass_ms_p90"].reasons
        assert (HOST_COMPUTES,) == arm.metrics["host_ms_median"].reasons
        assert "valid" == arm.metrics["roofline_share"].validity


def test_decodes_are_alone_and_their_contexts_grow_by_a_token(
    tmp_path: Path, job: Callable[..., Record]
) -> None:
    """From pass to pass a decode reads one key more, and else but the experts it touches."""
    job()
    experts = 4 * (3 * 32 * 32)
    for label, decodes in (("decode:3", 3), ("decode:1", 1)):
        lines = [line for line in passes(tmp_path) if line["arm"] == label]
        rest = [line["bytes"] - experts * sum(line["distinct_experts"]) for line in lines]
        assert [decodes * KV_BYTES] * 3 == [after - before for before, after in pairwise(rest)]
        most = min(8, 2 * decodes)
        assert all(2 <= one <= most for line in lines for one in line["distinct_experts"])


def test_a_prompt_is_the_same_pass_every_time(tmp_path: Path, job: Callable[..., Record]) -> None:
    """Whole, from an empty cache: the same experts, bytes and FLOPs."""
    job()
    lines = [line for line in passes(tmp_path) if line["arm"] == "prefill:20"]
    assert 1 == len({(tuple(one["distinct_experts"]), one["bytes"], one["flops"]) for one in lines})


def test_one_more_pass_is_profiled(job: Callable[..., Record]) -> None:
    """Its operators take some of its time, the longest first, each so often."""
    for arm in job().arms:
        timed, profile = arm.windows
        assert (4, 1) == (timed.iterations, profile.iterations)
        times = [one.value or 0 for name, one in profile.readings.items() if name.startswith(MS)]
        assert sorted(times, reverse=True) == times
        assert 0 < sum(times) < profile.duration_ms
        assert 0 < (profile.readings[f"{CALLS}aten::mm"].value or 0)


def test_the_peaks_are_in_the_record(job: Callable[..., Record]) -> None:
    """As measured, with what they are from."""
    (window,) = job().windows
    expected = {"memory_bandwidth": (1e15, "B/s"), "flop_rate": (1e15, "FLOP/s")}
    assert expected == {name: (one.value, one.unit) for name, one in window.readings.items()}
    assert {"told"} == {one.source for one in window.readings.values()}


def test_nothing_is_faster_than_its_bound(job: Callable[..., Record]) -> None:
    """Where a pass is, the share stands with a reason against it."""
    for arm in job(rate=1e6).arms:
        share = arm.metrics["roofline_share"]
        assert 1 < (share.value or 0)
        assert ("invalid", (ABOVE_BOUND,)) == (share.validity, share.reasons)


class Impatient(Quiet):
    """Interrupts after so many advances."""

    def __init__(self, most: int) -> None:
        """Take how many."""
        super().__init__()
        self._left = most

    def advance(self, amount: float) -> None:
        """Count down."""
        super().advance(amount)
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_what_was_done(tmp_path: Path, job: Callable[..., Record]) -> None:
    """The size that was finished is valid, the one under way is not."""
    measured, loaded, one_size = 1, 1, 3 + 4
    with pytest.raises(KeyboardInterrupt):
        job(Impatient(measured + loaded + one_size + 3 + 1))
    record = read_record(tmp_path / "run")
    assert ("failed", "interrupted") == (record.status, record.failure)
    first, second = (arm.metrics["pass_ms_median"] for arm in record.arms)
    assert "valid" == first.validity
    assert ("invalid", ("arm_unfinished",)) == (second.validity, second.reasons)
    assert 4 + 2 == len(passes(tmp_path))


def test_an_interrupt_before_anything_is_timed(tmp_path: Path, job: Callable[..., Record]) -> None:
    """No folder is made for a run that never began."""
    with pytest.raises(KeyboardInterrupt):
        job(Impatient(1))
    assert not (tmp_path / "run").exists()


def test_a_device_with_a_clock_times_the_pass_and_the_host_apart() -> None:
    """Planned at 10 ms, launched at 12, done at 30; the device took 16 of it."""
    shape, _ = find_shape("builtin-moe")
    roofline = Roofline(shape, PRECISIONS["bfloat16"], device(), IDEAL)
    touched = np.zeros((shape.num_layers, 1, shape.num_experts), np.bool_)
    touched[:, 0, :8] = True
    step = Step(
        iteration=5,
        start_ns=10_000_000,
        stop_ns=30_000_000,
        arrived=(),
        preempted=(),
        plan=IterationPlan(decodes=(0,), prefill=()),
        execution=Execution(
            tokens={0: 1},
            routed=Routed(touched=touched, prompts=()),
            device_ns=16_000_000,
            launched_ns=12_000_000,
        ),
        settled=Settled(admitted=(), sampled=(0,), finished=()),
    )
    log = SizeLog("decode:1", roofline)
    for _ in range(64):
        log.observe(step, starts={0: 9})
    found = log.to_record(Schedule(name="whole", params={})).metrics
    assert (16, 16, 20, 2) == tuple(
        found[name].value
        for name in ("pass_ms_median", "pass_ms_p90", "wall_ms_median", "host_ms_median")
    )
    assert "CUDA events" == found["pass_ms_median"].source
    assert 16 * 8 * 2 * shape.params_per_expert == found["pass_expert_bytes"].value
