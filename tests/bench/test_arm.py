"""What an arm's log makes of bytes over time. Its counts and sums: tests/bench/test_counts.py."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lpbench.bench import engine
from lpbench.bench.arm import ArmLog
from lpbench.bench.experiment import ArmSpec
from lpbench.bench.loop import Limits, run_arm
from lpbench.bench.traffic import run_traffic
from lpbench.executors.executor import Execution, Routed
from lpbench.executors.torch_engine import device as engine_device
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.record.schema import Arm, Record
from lpbench.record.store import RunStore
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import Device
from lpbench.shape.precision import PRECISIONS, all_expert_bytes
from tests.bench.tiny import tiny_spec

SHAPE, _ = find_shape("builtin-moe")
FP32 = PRECISIONS["float32"]
EXPERT = 4 * SHAPE.params_per_expert
DEVICE = Device(
    name="slow",
    cuda_names=("Slow GPU",),
    memory_bandwidth=1e3 * 16 * EXPERT,
    memory_bytes=10**9,
    cache_bytes=1000,
    bf16_flops=1e9,
    tdp_w=1,
    sources={},
)
"""Moves one expert of each of the 16 layers in a millisecond."""


class Clocked:
    """Routes every row to expert 0; iteration n takes `durations_ms[n]`."""

    def __init__(self, durations_ms: Sequence[float], *, device_ms: float | None) -> None:
        """Start at 1 s; the device's own clock says `device_ms` of each."""
        self._durations = list(durations_ms)
        self._device_ns = None if device_ms is None else int(device_ms * 1e6)
        self._now = 1_000_000_000

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, *, pinned: bool = False
    ) -> None:
        """Do nothing."""

    def execute(self, plan: IterationPlan, meanwhile: object = None) -> Execution:
        """Let the time pass and touch one expert a layer."""
        del meanwhile
        self._now += int(self._durations.pop(0) * 1e6)
        prompts = tuple(part.request for part in plan.prefill)
        touched = np.zeros((SHAPE.num_layers, 1 + len(prompts), SHAPE.num_experts), np.bool_)
        touched[:, 1 if prompts else 0, 0] = True
        tokens = dict.fromkeys((*plan.decodes, *prompts), 0)
        routed = Routed(touched=touched, prompts=prompts)
        return Execution(tokens=tokens, routed=routed, device_ns=self._device_ns)

    def release(self, request: int) -> None:
        """Do nothing."""

    def now_ns(self) -> int:
        """Return the time that has passed."""
        return self._now

    def wait_until_ns(self, until_ns: int) -> None:
        """Nobody arrives by seconds."""


def log(
    *durations_ms: float,
    device: Device | None = None,
    unfinished: str | None = None,
    device_ms: float | None = None,
) -> Arm:
    """Return the record of an arm: a prompt, then a decode in each further iteration."""
    policy = parse_schedule("whole")
    requests = (Request(index=0, prompt_tokens=4, output_tokens=len(durations_ms)),)
    arm = ArmSpec(typed="whole", label="whole", policy=policy)
    taken = ArmLog(arm, requests, SHAPE, precision=FP32, device=device)
    limits = Limits(num_kv_pages=10, max_num_seqs=1)
    executor = Clocked(durations_ms, device_ms=device_ms)
    for step in run_arm(policy, requests, executor, num_layers=SHAPE.num_layers, limits=limits):
        taken.observe(step)
    return taken.to_record(unfinished=unfinished)


def codes(arm: Arm) -> list[str]:
    """Return the codes of the arm's warnings."""
    return [caution.code for caution in arm.warnings]


def test_bytes_at_the_peak_are_possible() -> None:
    """An expert of each layer in a millisecond, in each iteration and in all of them."""
    arm = log(1, 1, 1, device=DEVICE)
    assert 3 * 16 * EXPERT == arm.metrics["expert_bytes"].value
    assert "valid" == arm.metrics["expert_bytes"].validity
    assert [] == codes(arm)


def test_one_iteration_above_the_peak_is_enough() -> None:
    """The arm as a whole is slow, but one iteration moved its bytes in half the time it takes."""
    arm = log(1, 0.5, 100, device=DEVICE)
    assert ["impossible_bandwidth"] == codes(arm)
    assert "in 1 iterations or windows" in arm.warnings[0].message
    for name in ("expert_bytes", "expert_bytes_prefill_marginal", "ttft_ms_mean", "tbt_ms_max"):
        found = arm.metrics[name]
        assert ("invalid", ("impossible_bandwidth",)) == (found.validity, found.reasons)
    assert "valid" == arm.metrics["distinct_expert_loads"].validity
    assert "valid" == arm.metrics["expert_bytes_modelled"].validity


def test_the_window_counts_as_well() -> None:
    """Two iterations above the peak, and so the arm."""
    arm = log(0.5, 0.5, device=DEVICE)
    assert "in 3 iterations or windows" in arm.warnings[0].message


@pytest.mark.parametrize(
    "device",
    [
        None,
        replace(DEVICE, cache_bytes=all_expert_bytes(SHAPE, FP32) // 4),
        replace(DEVICE, memory_bandwidth=1e15),
    ],
    ids=["unknown", "cached", "fast"],
)
def test_what_is_not_impossible(device: Device | None) -> None:
    """Where no peak is known, where a cache may serve the experts, and below the peak."""
    arm = log(0.5, 0.5, device=device)
    assert [] == codes(arm)
    assert "valid" == arm.metrics["expert_bytes"].validity


@pytest.mark.parametrize(("device_ms", "expected"), [(0.95, []), (0.5, ["host_bound"])])
def test_a_device_that_waits_for_the_host_is_told(device_ms: float, expected: list[str]) -> None:
    """Below nine tenths of the arm's time; the device's own clock is in the record."""
    arm = log(1, 1, device_ms=device_ms)
    assert expected == codes(arm)
    assert pytest.approx(2 * device_ms) == arm.metrics["device_ms"].value
    assert "CUDA events" == arm.metrics["device_ms"].source


def test_a_cpu_has_no_clock_of_its_own() -> None:
    """Absent, and no zero."""
    found = log(1, 1).metrics["device_ms"]
    assert (None, ("no_device",)) == (found.value, found.reasons)


def test_every_reason_against_a_number_is_kept() -> None:
    """An arm that was cut short and is impossible besides has both reasons."""
    found = log(0.5, device=DEVICE, unfinished="arm_unfinished").metrics["expert_bytes"]
    assert ("impossible_bandwidth", "arm_unfinished") == found.reasons


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Return a run of a tiny model whose device calls itself Slow GPU and moves 1 B/s."""
    facts = {"device": "cuda", "device_name": "Slow GPU"}
    monkeypatch.setattr(engine_device, "device_facts", lambda _: facts)
    slow = replace(DEVICE, memory_bandwidth=1)
    monkeypatch.setattr(engine, "match", {"Slow GPU": slow}.get)

    class Deaf:
        def stage(self, name: str, total: float) -> None:
            """Do nothing."""

        def advance(self, amount: float) -> None:
            """Do nothing."""

    return run_traffic(tiny_spec(tmp_path), lambda: RunStore(output=None, json=None), Deaf())


def test_a_run_looks_its_device_up(run: Record) -> None:
    """By the driver's name; nothing is compared with an impossible figure."""
    for arm in run.arms:
        assert "impossible_bandwidth" in codes(arm)
        assert "impossible_bandwidth" in arm.metrics["expert_bytes"].reasons
        assert arm.ledger.dram_bytes is not None
        assert ("no_device",) == arm.ledger.dram_bytes.reasons
    (ratio,) = (one for one in run.comparison if one.metric == "expert_bytes")
    assert (None, ("impossible_bandwidth",)) == (ratio.ratio, ratio.reasons)
