from pathlib import Path

import pytest

from lpbench.testing.nvml.scenario import Scenario


@pytest.mark.parametrize(
    ("scenario", "start_s", "stop_s", "joules"),
    [
        (Scenario(power=((0, 300),)), 2, 12, 3000),
        (Scenario(power=((5, 100),)), 2, 12, 1000),
        (Scenario(power=((4, 100), (4, 500))), 2, 12, 200 + 4000),
        (Scenario(power=((4, 100), (4, 500))), 2, 4, 200),
        (Scenario(power=((4, 100), (4, 500))), 4, 5, 500),
        (Scenario(power=((0, 0), (10, 1000))), 0, 10, 5000),
        (Scenario(power=((0, 0), (1, 100), (1, 0)), repeat_s=1), 0.5, 3.5, 150),
        (Scenario(power=((0, 0), (1, 100)), repeat_s=2), 1, 5, 300),
    ],
)
def test_true_energy(scenario: Scenario, start_s: float, stop_s: float, joules: float) -> None:
    """By hand: a constant, a level before the first knot, steps, a ramp, sawteeth."""
    assert joules == pytest.approx(scenario.energy_j(start_s=start_s, stop_s=stop_s))


def test_the_file_has_a_key_and_a_value_a_line(tmp_path: Path) -> None:
    """Knots first; flags as 0 and 1; lists in one line; what never happens is left out."""
    Scenario(power=((0, 1.5), (2, 3)), mig=True, unsupported=("83", "module")).write(
        tmp_path / "scenario"
    )
    lines = (tmp_path / "scenario").read_text().splitlines()
    assert ["knot 0 1.5", "knot 2 3"] == lines[:2]
    assert {"mig 1", "power_cap 0", "unsupported 83 module", "tick_s 0.1"} <= set(lines)
    assert not any(line.startswith(("stuck_from_s", "clock")) for line in lines)
