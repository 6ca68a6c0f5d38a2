import pytest

from lpbench.meters.meter import Measurement
from lpbench.testing.nvml.scenario import Scenario
from tests.meters.nvml.faults import MIDDLE_S
from tests.meters.nvml.rig import GAP_S, Rig


def codes(rig: Rig, scenario: Scenario, *, windows: int = 1) -> tuple[str, ...]:
    """Return what the last look says, after windows of 10 s; the first look is at 1000 s."""
    found = rig.measure(scenario, meter="company", windows=windows)
    assert isinstance(found, Measurement)
    return found.readings["company"].reasons


def test_whoever_was_there_first_belongs(rig: Rig) -> None:
    """Our own process, whatever its id, and whoever else was there."""
    assert () == codes(rig, Scenario())
    assert () == codes(rig, Scenario(process_from_s=0))


@pytest.mark.parametrize(
    ("scenario", "windows"),
    [
        (Scenario(process_from_s=MIDDLE_S), 1),
        (Scenario(process_from_s=0, process_until_s=MIDDLE_S), 1),
        (Scenario(process_from_s=MIDDLE_S), 2),
        (Scenario(process_from_s=MIDDLE_S + 5 + GAP_S / 2), 2),
    ],
    ids=["came", "left", "came in an earlier window", "came between windows"],
)
def test_a_process_that_comes_or_goes_is_told(rig: Rig, scenario: Scenario, windows: int) -> None:
    """Against the first look of all, not that of the window."""
    assert ("foreign_process",) == codes(rig, scenario, windows=windows)


def test_processes_that_are_not_told_are_unknown(rig: Rig) -> None:
    """A list that cannot be had is not an empty one."""
    unsupported = ("nvmlDeviceGetComputeRunningProcesses_v3",)
    assert ("processes_unknown",) == codes(rig, Scenario(unsupported=unsupported))


def test_a_lost_gpu_is_told(rig: Rig) -> None:
    """Nothing can be said of who is there."""
    assert ("gpu_lost",) == codes(rig, Scenario(error_from_s=MIDDLE_S))
