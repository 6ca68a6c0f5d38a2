"""`lpbench energy`: what it refuses, and the whole way over a double of NVML."""

import functools
import os
import shutil
from pathlib import Path

import pytest

from lpbench.bench.campaign import Campaign
from lpbench.bench.instruments import JOULE_METERS
from lpbench.meters.catalogue import probe_meter
from lpbench.meters.clocks import HostClock
from lpbench.record.store import read_record
from lpbench.testing.meters import FakeMeter
from lpbench.testing.nvml.build import build_nvml_double
from lpbench.testing.nvml.scenario import SCENARIO_VARIABLE, Scenario
from tests.cli.command import (
    BAD_INPUT,
    INVALID,
    OK,
    UNAVAILABLE,
    CommandLine,
    Result,
    finish,
    one_line,
    read_lines,
    start,
)

WATTS = 300
SMALL = ("--num-prompts", "2", "--input-len", "16", "--output-len", "2", "--device", "cpu")

QUICK = """
import functools
from lpbench.bench.campaign import Campaign
from lpbench.cli import energy
from lpbench.cli.app import main
from lpbench.meters.nvml import validity
energy.Campaign = functools.partial(Campaign, window=0.3, blocks=1, warm_up=0, idle=0.3)
validity.MIN_WINDOW_S = 0.2
main()
"""
"""The command with short windows, and a meter that accepts them."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--meter", "nvlm"), "did you mean 'nvml'?"),
        (("--meter", "cupti"), "known: nvml, rapl"),
        (("--meter", "nvml", "--meter", "rapl"), "--meter nvml and rapl"),
        (("--time-budget", "30"), "take 114 s at least"),
        (("--time-budget", "nan"), "--time-budget nan"),
        (("--schedule", "chunkd"), "did you mean 'chunked'?"),
    ],
)
def test_bad_input(
    lpbench: CommandLine, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    """One line, exit code 2, and nothing is made."""
    result = lpbench("energy", *SMALL, *options, "--output", tmp_path / "run")
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert message in one_line(result.err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("meter", ["nvml", "rapl"])
def test_a_meter_that_is_not_there(lpbench: CommandLine, tmp_path: Path, meter: str) -> None:
    """Exit 77 with the reason and the fix, whether asked for or the device's own."""
    if probe_meter(meter).available:
        pytest.skip(f"{meter} is there")
    options = () if meter == JOULE_METERS["cpu"] else ("--meter", meter)
    result = lpbench("energy", *SMALL, *options, "--output", tmp_path / "run")
    assert (UNAVAILABLE, "") == (result.code, result.out)
    assert f"no joules from {meter}: " in one_line(result.err)
    assert not (tmp_path / "run").exists()


def metered(tmp_path: Path, scenario: Scenario) -> Result:
    """Run the command over the double of NVML; its record goes to `run`."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler for the double of NVML")
    library = build_nvml_double(tmp_path)
    scenario.write(tmp_path / "scenario")
    added = {"LD_LIBRARY_PATH": str(library.parent), SCENARIO_VARIABLE: str(tmp_path / "scenario")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in added.items():
            patch.setitem(os.environ, name, value)
        options = ("--meter", "nvml", "--output", tmp_path / "run")
        return finish(start("energy", *SMALL, *options, program=("-c", QUICK)))


def test_joules_from_the_double_end_to_end(tmp_path: Path) -> None:
    """300 W all along: the record is complete, its joules are watts times seconds.

    As exact as it says: a tick is seen late where the machine is busy.
    """
    result = metered(tmp_path, Scenario(power=((0, WATTS),), tick_s=0.005))
    assert OK == result.code, result.err
    record = read_record(tmp_path / "run")
    assert ("complete", "energy") == (record.status, record.command)
    assert ["arm", "aa", "arm"] == [arm.role for arm in record.arms]
    for arm in record.arms:
        assert pytest.approx(WATTS, rel=0.05) == arm.metrics["power_w_mean"].value
        reading = arm.metrics["joules_per_total_token"]
        assert ("valid", "nvml: NVIDIA H100 (double)") == (reading.validity, reading.source)
        for window in arm.windows:
            joules = window.readings["total_gpu_energy_j"]
            truth = WATTS * window.duration_ms / 1e3
            assert joules.value == pytest.approx(truth, abs=joules.uncertainty)
            assert "energy" == joules.pass_
    series = tmp_path / "run" / "samples"
    assert any(series.iterdir())
    lines = read_lines(next(series.iterdir()))
    assert {"arm", "block", "window", "sample"} == set(lines[0])
    assert [*range(8)] == sorted({line["window"] for line in lines})
    assert {"idle"} == {window.name for window in record.windows}
    starts = [window.start_ms or 0 for arm in record.arms for window in arm.windows]
    first, last = (window.start_ms or 0 for window in record.windows)
    assert all(0 < first < start < last for start in starts)
    assert {arm.label for arm in record.arms if arm.role == "arm"} == {
        line["arm"] for line in read_lines(tmp_path / "run" / "iterations.jsonl")
    }
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_void_windows_prove_nothing(
    lpbench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A meter whose every window is void: they are kept with their code; exit 5."""
    void = FakeMeter(HostClock(), lambda _: WATTS, void=range(1000))
    monkeypatch.setattr("lpbench.bench.instruments.build_meter", lambda *_, **__: void)
    quick = functools.partial(Campaign, window=0.01, blocks=1, warm_up=0, idle=0.01, offset=0)
    monkeypatch.setattr("lpbench.cli.energy.Campaign", quick)
    result = lpbench("energy", *SMALL, "--output", tmp_path / "run")
    assert INVALID == result.code
    assert "no block of valid windows" in one_line(result.err)
    codes = {
        window.readings["total_gpu_energy_j"].reasons
        for arm in read_record(tmp_path / "run").arms
        for window in arm.windows
    }
    assert {("fault",)} == codes
