"""`lpbench` on a GPU as a user runs it; what it leaves stands where the records go."""

import json
import uuid
from pathlib import Path

import pytest

from lpbench.bench.diagnosis import Diagnosis
from lpbench.meters.catalogue import probe_meter
from tests.cli.command import INVALID, OK, record_of, run

pytestmark = pytest.mark.gpu

SMALL = ("--num-prompts", "4", "--no-progress")

EXACT = ("distinct_expert_loads", "iterations", "reload_factor")
"""Counts that do not depend on the dtype."""


def test_the_built_in_job_runs_on_the_gpu(results: Path) -> None:
    """The record is complete and sound, and says what computed; counts are those of a CPU's run."""
    folder = results / f"traffic-builtin-{uuid.uuid4().hex[:8]}"
    result = run("traffic", "--device", "cuda", *SMALL, "--output", folder)
    assert OK == result.code, result.err
    record = record_of((folder / "run.json").read_text(encoding="utf-8"))
    assert "complete" == record.status
    assert record.audit is not None
    assert record.audit.is_sound
    assert ("cuda", "bfloat16") == (record.spec["device"], record.spec["dtype"])
    assert record.environment["device_name"]
    kernels = record.environment["kernels"]
    assert isinstance(kernels, dict)
    assert kernels["tf32"] is False
    again = results / f"{folder.name}-cpu"
    result = run("traffic", "--device", "cpu", *SMALL, "--output", again)
    assert OK == result.code, result.err
    on_cpu = record_of((again / "run.json").read_text(encoding="utf-8"))
    for mine, theirs in zip(record.arms, on_cpu.arms, strict=True):
        for name in EXACT:
            assert theirs.metrics[name].value == mine.metrics[name].value


@pytest.mark.parametrize("kernels", ["torch", "triton"])
def test_timed_arrivals_are_served_on_the_gpu(results: Path, kernels: str) -> None:
    """After a rehearsal, which a CPU has none of; all requests end."""
    folder = results / f"latency-{kernels}-{uuid.uuid4().hex[:8]}"
    options = ("--request-rate", "20", "--kernels", kernels, *SMALL, "--output", folder)
    result = run("latency", "--device", "cuda", *options)
    assert OK == result.code, result.err
    record = record_of((folder / "run.json").read_text(encoding="utf-8"))
    assert "complete" == record.status
    assert all(arm.metrics["ttft_ms_mean"].validity == "valid" for arm in record.arms)


def test_doctor_finds_the_gpu(results: Path) -> None:
    """Its device is listed, and the models have room there."""
    path = results / f"doctor-{uuid.uuid4().hex[:8]}.json"
    result = run("doctor", "--json", path)
    assert OK == result.code, result.err
    found = Diagnosis.model_validate(json.loads(path.read_text(encoding="utf-8")))
    assert "cuda:0" == found.machine.gpus[0].device
    assert found.machine.driver


@pytest.mark.parametrize("meter", ["cupti", "gpm", "ncu"])
def test_bytes_are_measured_by_each_meter_that_is_there(results: Path, meter: str) -> None:
    """Bytes of the device; the built-in model's layers are too small for those of the experts."""
    if not probe_meter(meter).available:
        pytest.skip(f"{meter} is not available here")
    folder = results / f"traffic-{meter}-{uuid.uuid4().hex[:8]}"
    result = run(
        "traffic", "--device", "cuda", *SMALL, "--meter", meter, "--ledger", "--output", folder
    )
    assert OK == result.code, result.err
    record = record_of((folder / "run.json").read_text(encoding="utf-8"))
    name = {
        "cupti": "dram_bytes_read",
        "gpm": "dram_bytes_gpm",
        "ncu": "expert_kernel_bytes_read",
    }[meter]
    for arm in record.arms:
        found = arm.metrics[name]
        assert found.value is not None or found.reasons, found
        assert "impossible_bandwidth" not in found.reasons


def test_energy_is_measured(results: Path) -> None:
    """One block within 180 s: joules of every window, or the codes that say why not."""
    if not probe_meter("nvml").available:
        pytest.skip("nvml is not available here")
    folder = results / f"energy-{uuid.uuid4().hex[:8]}"
    result = run(
        *("energy", "--device", "cuda", "--no-progress", "--time-budget", "180"),
        *("--output", folder),
    )
    assert result.code in (OK, INVALID), result.err
    record = record_of((folder / "run.json").read_text(encoding="utf-8"))
    assert "complete" == record.status
    assert ["arm", "aa", "arm"] == [arm.role for arm in record.arms]
    for arm in record.arms:
        for window in arm.windows:
            assert window.readings["total_gpu_energy_j"].value
