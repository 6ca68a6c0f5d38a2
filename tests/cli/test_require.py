"""What a CI job requires of a machine: there, or 77 in one line before anything runs."""

from pathlib import Path

import pytest

from lpbench.bench.instruments import JOULE_METERS
from lpbench.errors import UnavailableError
from lpbench.meters.catalogue import probe_meter
from tests.cli.command import OK, UNAVAILABLE, CommandLine, one_line

SMALL = ("--num-prompts", "2", "--input-len", "16", "--output-len", "2", "--device", "cpu")


@pytest.mark.parametrize("command", ["traffic", "energy"])
def test_required_counters(lpbench: CommandLine, tmp_path: Path, command: str) -> None:
    """A CPU has no DRAM counters: reason and fix, and nothing is made."""
    result = lpbench(command, *SMALL, "--require-counters", "--output", tmp_path / "run")
    assert (UNAVAILABLE, "") == (result.code, result.out)
    expected = "--require-counters: no DRAM counters are read on cpu; fix: --device cuda"
    assert expected == one_line(result.err)
    assert not (tmp_path / "run").exists()


def test_required_energy(lpbench: CommandLine, tmp_path: Path) -> None:
    """Without the device's joule meter, likewise."""
    if probe_meter(JOULE_METERS["cpu"]).available:
        pytest.skip("rapl is there")
    result = lpbench("traffic", *SMALL, "--require-energy", "--output", tmp_path / "run")
    assert (UNAVAILABLE, "") == (result.code, result.out)
    assert "--require-energy: rapl: " in one_line(result.err)
    assert "; fix: " in one_line(result.err)
    assert not (tmp_path / "run").exists()


def test_energy_that_is_there_changes_nothing(
    lpbench: CommandLine, monkeypatch: pytest.MonkeyPatch, qwen: Path
) -> None:
    """The run goes on, and asks for the device it runs on."""
    asked: list[str] = []
    monkeypatch.setattr("lpbench.bench.instruments.require_energy", asked.append)
    result = lpbench("traffic", "--model", qwen, *SMALL, "--require-energy", "--quiet")
    assert (OK, ["cpu"]) == (result.code, asked)


def test_joules_are_required_of_the_devices_own_meter() -> None:
    """Nvml on a GPU: here it is not there, or it answers."""
    from lpbench.bench.instruments import require_energy

    if probe_meter("nvml").available:
        require_energy("cuda:0")
        return
    with pytest.raises(UnavailableError, match="--require-energy: nvml: "):
        require_energy("cuda:0")


def test_counters_are_required_of_a_gpu() -> None:
    """Cupti on a GPU: GPM, which tells no reads from writes, does not stand in."""
    from lpbench.bench.instruments import require_counters

    if probe_meter("cupti").available:
        require_counters("cuda:0")
        return
    with pytest.raises(UnavailableError, match="--require-counters: cupti: "):
        require_counters("cuda:0")
