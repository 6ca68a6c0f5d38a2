import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.meters.meter import Measurement
from lpbench.record.schema import Reading
from lpbench.testing.nvml.scenario import Scenario
from tests.meters.nvml.rig import START_S, Rig

CURVES = {
    "constant": Scenario(power=((0, 432.1),)),
    "step up at the start": Scenario(power=((START_S, 80), (START_S, 650))),
    "step down in the tail": Scenario(power=((START_S + 10.2, 650), (START_S + 10.2, 80))),
    "sawtooth": Scenario(power=((0, 100), (0.31, 700), (0.31, 100)), repeat_s=0.31),
    "slow ramp": Scenario(power=((START_S, 100), (START_S + 10, 700))),
    "pulses near the tick": Scenario(
        power=((0, 700), (0.03, 700), (0.03, 100), (0.103, 100)), repeat_s=0.103
    ),
}

knots = st.lists(st.tuples(st.floats(0, 12), st.floats(50, 700)), min_size=1, max_size=30).map(
    lambda drawn: tuple((START_S + at, watts) for at, watts in sorted(drawn))
)


def measured(rig: Rig, scenario: Scenario) -> tuple[Measurement, Reading]:
    """Return a window of 10 s and its joules."""
    found = rig.measure(scenario)
    assert isinstance(found, Measurement)
    return found, found.readings["total_gpu_energy_j"]


def truth_j(scenario: Scenario, found: Measurement) -> float:
    """Return the joules between the edges that were reported."""
    return scenario.energy_j(start_s=found.start_ns / 1e9, stop_s=found.stop_ns / 1e9)


@pytest.mark.parametrize("name", CURVES)
def test_known_curves_are_right(name: str, rig: Rig) -> None:
    """Joules of 10 s are valid, right to 0.5 % and within the uncertainty that is stated."""
    found, joules = measured(rig, CURVES[name])
    assert "valid" == joules.validity, joules.reasons
    truth = truth_j(CURVES[name], found)
    assert truth == pytest.approx(joules.value, rel=0.005)
    assert truth == pytest.approx(joules.value, abs=joules.uncertainty)


@settings(max_examples=25, deadline=None)
@given(power=knots, tick_s=st.sampled_from((0.02, 0.05, 0.1, 0.3)))
def test_drawn_curves_are_right(
    power: tuple[tuple[float, float], ...], tick_s: float, rig: Rig
) -> None:
    """Right to 0.5 %; void at most for a sensor that is late.

    A sensor at 0.1 s behind a steep curve may differ from the counter by more than 5 %.
    """
    scenario = Scenario(power=power, tick_s=tick_s)
    found, joules = measured(rig, scenario)
    truth = truth_j(scenario, found)
    assert set(joules.reasons) <= {"energy_disagreement"}
    assert truth == pytest.approx(joules.value, rel=0.005)


@settings(max_examples=15, deadline=None)
@given(power=knots, gain=st.floats(0.05, 0.85) | st.floats(1.15, 3))
def test_a_counter_that_is_off_is_never_valid(
    power: tuple[tuple[float, float], ...], gain: float, rig: Rig
) -> None:
    """A gain that is off by 15 % or more voids the window, where the sensor follows the load."""
    _, joules = measured(rig, Scenario(power=power, sensor_s=0.01, counter_gain=gain))
    assert "invalid" == joules.validity
    assert "energy_disagreement" in joules.reasons
