"""`--device FILE.toml`: the roofline on a device of its own file, such as a measured CPU."""

import json
import re
from pathlib import Path

import pytest

from lpbench.data import data_folder
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


@pytest.mark.parametrize("rate", ["1e6", "1e21"])
@pytest.mark.parametrize("coefficients", ["ideal", "kernels"])
def test_the_slowest_and_the_quickest_device_give_finite_figures(
    lpbench: CommandLine, cpu: Path, rate: str, coefficients: str
) -> None:
    """A pass takes a tick of the clock at least, so that throughput is a number."""
    text = CPU.replace("4.1e10", rate).replace("105e9", rate).replace("25_", "25_000_000_")
    cpu.write_text(text, encoding="utf-8")
    options = ("--dtype", "float32", "--device", cpu, "--coefficients", coefficients)
    result = lpbench("latency", *LOAD, *options)
    assert OK == result.code, result.err
    metrics = json.loads(result.out)["arms"][0]["metrics"]
    assert metrics["tbt_ms_mean"]["value"] >= 1e-6


@pytest.mark.parametrize("value", ["1e-300", "9e5", "2e21", "1e300"])
def test_rates_of_no_device_are_refused(lpbench: CommandLine, cpu: Path, value: str) -> None:
    """One line with the range; so are watts and sizes of none."""
    for old, says in (
        ("4.1e10", "memory_bandwidth is"),
        ("105e9", "fp32_flops is"),
    ):
        cpu.write_text(CPU.replace(old, value), encoding="utf-8")
        line = one_line(lpbench("latency", *LOAD, "--device", cpu).err)
        assert says in line
        assert line.endswith("accepted: a number, 1e+06 to 1e+21")
    for figure, accepted in (
        ("tdp_w = 1e300", "a number, 0.001 to 1e+06"),
        ("cache_bytes = 1_000_000_000_000_000_001", "a whole number, 1 to 1e+18"),
    ):
        cpu.write_text(CPU.replace("[sources]", f"{figure}\n[sources]"), encoding="utf-8")
        assert accepted in one_line(lpbench("latency", *LOAD, "--device", cpu).err)


def test_a_link_of_nothing_is_refused(lpbench: CommandLine, tmp_path: Path) -> None:
    """Two devices would wait for it for good."""
    shipped = data_folder("workloads", "coefficients") / "kernels.toml"
    text = re.sub(r"(?m)^link = [\d.]+", "link = 0", shipped.read_text(encoding="utf-8"))
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    two = ("--tensor-parallel-size", "2", "--coefficients", path)
    result = lpbench("latency", *LOAD, *two)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert "link is 0; accepted: a number, 1e-06 to 1" in one_line(result.err)


def test_a_file_that_is_not_there_is_refused(lpbench: CommandLine, tmp_path: Path) -> None:
    """By its path."""
    result = lpbench("latency", *LOAD, "--device", tmp_path / "none.toml")
    assert BAD_INPUT == result.code
    assert "none.toml does not exist" in one_line(result.err)
