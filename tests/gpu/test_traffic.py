"""`lpbench traffic --device cuda` as a user runs it."""

import uuid
from pathlib import Path

import pytest

from tests.cli.command import OK, record_of, run

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
