import json
import sys
from itertools import pairwise

import pytest

from lpbench.meters.meter import Measurement
from lpbench.meters.nvml.meter import NvmlMeter
from lpbench.testing.nvml.scenario import Scenario
from tests.meters.nvml.rig import GAP_S, START_S, Rig


def window(rig: Rig, scenario: Scenario, *, work_s: float = 10) -> Measurement:
    """Return what a window came to."""
    found = rig.measure(scenario, work_s=work_s)
    assert isinstance(found, Measurement)
    return found


def test_a_probe_says_what_a_record_needs_and_no_identifier(rig: Rig) -> None:
    """Device, driver, modes and limit are facts; the UUID is not."""
    found = rig.probe(Scenario(gpus=2))
    expected = {
        "device": "NVIDIA H100 (double)",
        "num_gpus": 2,
        "driver": "0.0 (double)",
        "ecc": True,
        "persistence": True,
        "power_limit_w": 700.0,
        "energy_field": 83,
        "energy_scope": "gpu",
        "power": "instantaneous power",
    }
    assert found.available
    assert expected == found.facts
    assert "GPU-" not in json.dumps(dict(found.facts))


@pytest.mark.parametrize("meter", ["nvml", "gpm"])
def test_without_pynvml_a_probe_says_how_to_get_it(
    meter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import fails: no_pynvml, with pip's line as the fix."""
    from lpbench.meters.nvml.gpm import GpmMeter

    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = (NvmlMeter() if meter == "nvml" else GpmMeter()).probe()
    assert (False, "no_pynvml") == (found.available, found.code)
    assert "pip install nvidia-ml-py" == found.fix


@pytest.mark.parametrize(
    ("code", "expected"),
    [(12, "no_driver"), (9, "no_driver"), (18, "driver_mismatch"), (4, "no_permission")],
)
def test_without_a_driver_a_probe_says_why(
    code: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML's codes at the start become ours, each with a reason and a fix."""
    import pynvml  # type: ignore[import-untyped]

    def fail() -> None:
        raise pynvml.NVMLError(code)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    found = NvmlMeter().probe()
    assert expected == found.code
    assert found.reason
    assert found.fix


def test_mean_power_is_energy_over_the_window(rig: Rig) -> None:
    """At 300 W the mean is 300 W, by the counter and by the sensor alike."""
    found = window(rig, Scenario())
    seconds = (found.stop_ns - found.start_ns) / 1e9
    assert 300 == pytest.approx(found.readings["gpu_power_w_mean"].value, rel=1e-3)
    assert 300 * seconds == pytest.approx(found.readings["gpu_energy_by_power_j"].value, rel=1e-6)


def test_edges_are_ticks_outside_the_work(rig: Rig) -> None:
    """Ticks come at multiples of 0.1 s: both edges are some, to half a poll, around the work."""
    found = window(rig, Scenario(), work_s=10.03)
    for edge_ns in (found.start_ns, found.stop_ns):
        assert 0 == pytest.approx((edge_ns / 1e8 + 0.5) % 1 - 0.5, abs=0.0051)
    tail = found.readings["energy_window_tail_s"].value
    assert tail is not None
    assert 0 < tail <= 0.1
    assert 10.03 <= (found.stop_ns - found.start_ns) / 1e9 <= 10.03 + 0.1 + tail


@pytest.mark.parametrize("tick_s", [0.02, 0.1, 0.25, 1.0])
def test_the_tick_period_is_found(tick_s: float, rig: Rig) -> None:
    """The counter's period is found within its stated uncertainty."""
    period = window(rig, Scenario(tick_s=tick_s), work_s=1).readings["energy_tick_period_s"]
    assert period.uncertainty is not None
    assert 0.002 >= period.uncertainty
    assert tick_s == pytest.approx(period.value, abs=period.uncertainty)


def test_the_surroundings_are_read(rig: Rig) -> None:
    """Limit, clocks, temperatures and power cap, in their units, under a capped load of 600 W."""
    found = window(rig, Scenario(power=((0, 600),), power_cap=True)).readings
    expected = {
        "gpu_power_limit_w": (700.0, "W"),
        "sw_power_cap_share": (1.0, "ratio"),
        "sm_clock_mhz_min": (1980, "MHz"),
        "sm_clock_mhz_mean": (1980, "MHz"),
        "sm_clock_mhz_max": (1980, "MHz"),
        "memory_clock_mhz_mean": (2619, "MHz"),
        "gpu_temperature_c_first": (70, "degC"),
        "gpu_temperature_c_last": (70, "degC"),
        "memory_temperature_c_last": (45, "degC"),
    }
    assert expected == {name: (found[name].value, found[name].unit) for name in expected}


def test_event_reasons_are_differenced_over_the_window(rig: Rig) -> None:
    """A brake and a thermal slowdown of 20 ms each, as the driver's counters have them."""
    found = window(rig, Scenario(hw_at_s=START_S + 5, thermal_at_s=START_S + 6)).readings
    assert 2e7 == found["event_hw_power_brake"].value
    assert 2e7 == found["event_sw_thermal_slowdown"].value
    assert 0 == found["event_hw_thermal_slowdown"].value
    assert "nvml: NVIDIA H100 (double), field 271" == found["event_hw_power_brake"].source
    unsupported = window(rig, Scenario(unsupported=("271",))).readings["event_hw_power_brake"]
    assert (None, ("not_supported",)) == (unsupported.value, unsupported.reasons)


@pytest.mark.parametrize(("process_from_s", "expected"), [(None, 1), (0, 2), (START_S + 5, 2)])
def test_processes_are_counted(rig: Rig, process_from_s: float | None, expected: int) -> None:
    """The most at one look; those that were there all along void nothing."""
    found = window(rig, Scenario(process_from_s=process_from_s)).readings
    assert expected == found["gpu_processes"].value
    came = process_from_s is not None and process_from_s > START_S
    assert came == ("foreign_process" in found["total_gpu_energy_j"].reasons)


def test_processes_that_are_not_told_are_no_number(rig: Rig) -> None:
    """A list that cannot be had is not an empty one."""
    unsupported = ("nvmlDeviceGetComputeRunningProcesses_v3",)
    found = window(rig, Scenario(unsupported=unsupported)).readings["gpu_processes"]
    assert (None, ("not_supported",)) == (found.value, found.reasons)


def test_what_is_not_given_is_absent_with_its_code(rig: Rig) -> None:
    """A GPU without a memory sensor or clocks still measures energy."""
    found = window(rig, Scenario(unsupported=("82", "nvmlDeviceGetClockInfo"))).readings
    for name in ("memory_temperature_c_first", "sm_clock_mhz_mean", "memory_clock_mhz_max"):
        assert (None, ("not_supported",)) == (found[name].value, found[name].reasons)
    assert "valid" == found["total_gpu_energy_j"].validity


def test_average_power_is_named_as_the_source(rig: Rig) -> None:
    """A record says which power the energy was checked with."""
    found = window(rig, Scenario(unsupported=("186",))).readings["gpu_energy_by_power_j"]
    assert "nvml: NVIDIA H100 (double) (average power)" == found.source


def test_series_show_counter_power_and_state(rig: Rig) -> None:
    """Power every 50 ms or finer, the state at least twice a second, a brake in its counter."""
    series = window(rig, Scenario(hw_at_s=START_S + 5)).series
    energy_at = [row[0] for row in series["nvml_energy_j"]]
    clock_at = [row[0] for row in series["nvml_sm_clock_mhz"]]
    assert 0.0501 >= max(b - a for a, b in pairwise(energy_at))
    assert 0.5 >= max(b - a for a, b in pairwise(clock_at))
    assert {300.0} == {row[1] for row in series["nvml_power_w"]}
    assert {0.0, 2e7} == {row[1] for row in series["nvml_event_counter_271"]}


def test_windows_follow_each_other(rig: Rig) -> None:
    """One meter measures again after a window; so does one that could not start before."""
    assert not rig.probe(Scenario(mig=True)).available
    first, second = (window(rig, Scenario()).readings["total_gpu_energy_j"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("leaves", [False, True])
def test_a_process_that_comes_or_goes_between_windows_is_seen(rig: Rig, *, leaves: bool) -> None:
    """Who belongs is settled when the first window opens, and holds for all that follow."""
    between = START_S + 10 + GAP_S / 2
    scenario = (
        Scenario(process_from_s=0, process_until_s=between)
        if leaves
        else Scenario(process_from_s=between)
    )
    found = rig.measure(scenario, windows=2)
    assert isinstance(found, Measurement)
    joules = found.readings["total_gpu_energy_j"]
    assert ("invalid", ("foreign_process",)) == (joules.validity, joules.reasons)
    sound = rig.measure(Scenario(process_from_s=0), windows=3)
    assert isinstance(sound, Measurement)
    assert "valid" == sound.readings["total_gpu_energy_j"].validity
