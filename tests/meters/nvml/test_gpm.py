import pytest

from lpbench.meters.meter import Measurement
from lpbench.testing.nvml.scenario import Scenario
from tests.meters.nvml.faults import COUNTERS, MIDDLE_S, Rigs
from tests.meters.nvml.rig import Rig

PEAK = 2 * 2619e6 * 5120 / 8
"""Bytes a second of the double, which is an H100 SXM: NVIDIA's data sheet says 3.35 TB/s."""


def window(rig: Rig, scenario: Scenario) -> Measurement:
    """Return what a window of 10 s came to."""
    found = rig.measure(scenario, meter="gpm")
    assert isinstance(found, Measurement)
    return found


def test_utilisation_becomes_bytes(rig: Rig) -> None:
    """42 % of the peak for 10 s, with half a per cent of the peak left open."""
    found = window(rig, Scenario(dram_utilisation=0.42)).readings
    assert 3.35e12 == pytest.approx(PEAK, rel=0.001)
    ratio, moved = found["dram_bandwidth_utilisation"], found["dram_bytes_gpm"]
    assert (0.42, "ratio", "valid", 0.005) == (
        ratio.value,
        ratio.unit,
        ratio.validity,
        ratio.uncertainty,
    )
    assert 0.42 * PEAK * 10 == pytest.approx(moved.value)
    assert 0.005 * PEAK * 10 == pytest.approx(moved.uncertainty)


def test_a_part_before_hopper_has_none(rig: Rig) -> None:
    """The device says that it does not support GPM."""
    found = rig.probe(Scenario(no_gpm=True), meter="gpm")
    assert (False, "not_supported") == (found.available, found.code)
    assert "Hopper" in str(found.reason)


def test_an_old_driver_lacks_the_symbol(rigs: Rigs) -> None:
    """A library without GPM's functions says missing_symbol."""
    found = rigs.rig(("nvmlGpmQueryDeviceSupport",)).probe(Scenario(), meter="gpm")
    assert "missing_symbol" == found.code


@pytest.mark.parametrize(
    ("scenario", "validity", "reasons"),
    [
        (Scenario(dram_utilisation=1.2), "invalid", ("impossible_bandwidth",)),
        (Scenario(process_from_s=MIDDLE_S), "invalid", ("foreign_process",)),
        (Scenario(error_from_s=MIDDLE_S), "absent", ("gpu_lost",)),
        (Scenario(unsupported=("nvmlGpmSampleGet",)), "absent", ("not_supported",)),
        (Scenario(unsupported=("nvmlGpmMetricsGet",)), "absent", ("not_supported",)),
    ],
)
def test_faults_void_the_window(
    scenario: Scenario, validity: str, reasons: tuple[str, ...], rig: Rig
) -> None:
    """More than the peak, another process, a lost GPU, a refusal: never a valid number."""
    for reading in window(rig, scenario).readings.values():
        assert (validity, reasons) == (reading.validity, reading.reasons)


def test_an_unknown_peak_leaves_the_utilisation(rig: Rig) -> None:
    """Without the bus width there are no bytes, but the share stands."""
    found = window(
        rig, Scenario(dram_utilisation=0.5, unsupported=("nvmlDeviceGetMemoryBusWidth",))
    ).readings
    assert (0.5, "valid") == (
        found["dram_bandwidth_utilisation"].value,
        found["dram_bandwidth_utilisation"].validity,
    )
    assert ("not_supported",) == found["dram_bytes_gpm"].reasons


def test_gpm_needs_no_energy_counter(rig: Rig) -> None:
    """A GPU whose energy is NOT_SUPPORTED still tells its bandwidth."""
    assert rig.probe(Scenario(unsupported=(*COUNTERS, "module")), meter="gpm").available
