"""`--device FILE.toml`: the roofline on a device of its own file, such as a measured CPU."""

import json
from pathlib import Path

import pytest

from tests.cli.command import BAD_INPUT, OK, CommandLine, one_line

LOAD = ("--executor", "roofline", "--num-prompts", "4", "--request-rate", "2", "--json", "-")
CPU = """
memory_bandwidth = 4.1e10
memory_bytes = 25_000_000_000
bf16_flops = 2.2e11
fp32_flops = 105e9

[sources]
"""


@pytest.fixture
def cpu(tmp_path: Path) -> Path:
    """Return the file of a CPU."""
    path = tmp_path / "mine.toml"
    path.write_text(CPU, encoding="utf-8")
    return path


def test_a_cpu_serves_without_joules(lpbench: CommandLine, cpu: Path) -> None:
    """Times are modelled; energy is absent with its reason, as no design power is known."""
    result = lpbench("latency", *LOAD, "--dtype", "float32", "--device", cpu)
    assert OK == result.code, result.err
    record = json.loads(result.out)
    assert "mine" == record["spec"]["device"]
    assert str(cpu.parent) not in result.out
    metrics = record["arms"][0]["metrics"]
    assert metrics["ttft_ms_mean"]["value"] > 0
    for name in ("total_gpu_energy_j", "joules_per_total_token", "power_w_mean"):
        reading = metrics[name]
        assert (None, "absent", ["no_design_power"]) == (
            reading["value"],
            reading["validity"],
            reading["reasons"],
        )


def test_another_file_of_that_name_is_another_device(lpbench: CommandLine, cpu: Path) -> None:
    """Records of the two do not pass for one experiment."""
    options = ("latency", *LOAD, "--dtype", "float32", "--device", cpu)
    first = json.loads(lpbench(*options).out)
    cpu.write_text(CPU.replace("4.1e10", "8.2e10"), encoding="utf-8")
    second = json.loads(lpbench(*options).out)
    assert first["spec_hash"] != second["spec_hash"]
    assert 8.2e10 == second["environment"]["device_figures"]["memory_bandwidth"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("fp32_flops = 105e9", "", "states no fp32_flops, which float32 needs"),
        ("25_000_000_000", "2_100_000_000", "1 x mine have 0 B to give"),
        ("4.1e10", '"fast"', "memory_bandwidth is 'fast'"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(
    lpbench: CommandLine, cpu: Path, old: str, new: str, says: str
) -> None:
    """One line, exit code 2."""
    cpu.write_text(CPU.replace(old, new), encoding="utf-8")
    result = lpbench("latency", *LOAD, "--dtype", "float32", "--device", cpu)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)


def test_a_file_that_is_not_there_is_refused(lpbench: CommandLine, tmp_path: Path) -> None:
    """By its path."""
    result = lpbench("latency", *LOAD, "--device", tmp_path / "none.toml")
    assert BAD_INPUT == result.code
    assert "none.toml does not exist" in one_line(result.err)
