"""Every fault of the instrument, what it is met with, and the table that shows it.

`python -m tests.meters.nvml.faults` prints: fault, true and reported joules, validity, codes.
"""

import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from lpbench.meters.meter import Capability, Measurement
from lpbench.testing.nvml.scenario import Scenario
from tests.meters.nvml.rig import START_S, Rig

BUSY = ((0.0, 600.0), (0.5, 600.0), (0.5, 200.0), (0.7, 200.0))
"""A load that comes and goes every 0.7 s."""
busy = partial(Scenario, power=BUSY, repeat_s=0.7)
"""That, with faults."""
SQUARE = ((0.0, 600.0), (0.025, 600.0), (0.025, 100.0), (0.1, 100.0))
"""A load whose period is the sensor's: one that looks at its first quarter sees six times it."""
MIDDLE_S = START_S + 5
"""In the midst of a window of 10 s."""
POWERS = ("185", "186", "nvmlDeviceGetPowerUsage")
COUNTERS = ("83", "191", "nvmlDeviceGetTotalEnergyConsumption")
EVENTS = ("74", "75", "269", "270", "271", "nvmlDeviceGetCurrentClocksEventReasons")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault and its consequence.

    Attributes:
        name: in words.
        scenario: what the double plays.
        validity: of the joules; unavailable where the meter must not start.
        codes: all of their reason codes, or the capability's one.
        work_s: seconds of work in the window.
        without: functions that the library lacks.
    """

    name: str
    scenario: Scenario
    validity: Literal["valid", "invalid", "absent", "unavailable"]
    codes: tuple[str, ...] = ()
    work_s: float = 10
    without: tuple[str, ...] = ()


FAULTS = (
    Fault(name="none", scenario=busy(), validity="valid"),
    Fault(
        name="counter stuck from the start",
        scenario=busy(stuck_from_s=START_S - 1),
        validity="absent",
        codes=("energy_counter_stuck", "energy_disagreement"),
    ),
    Fault(
        name="counter stuck in mid-window",
        scenario=busy(stuck_from_s=MIDDLE_S),
        validity="invalid",
        codes=("energy_counter_stuck", "energy_disagreement"),
    ),
    Fault(
        name="counter reset",
        scenario=busy(reset_at_s=MIDDLE_S),
        validity="invalid",
        codes=("energy_counter_reset",),
    ),
    Fault(
        name="counter 40 % low",
        scenario=busy(counter_gain=0.6),
        validity="invalid",
        codes=("energy_disagreement",),
    ),
    Fault(
        name="sensor sees 25 %, even load",
        scenario=Scenario(sensor_duty=0.25),
        validity="valid",
    ),
    Fault(
        name="sensor sees 25 %, load in step",
        scenario=Scenario(power=SQUARE, repeat_s=0.1, sensor_duty=0.25),
        validity="invalid",
        codes=("energy_disagreement",),
    ),
    Fault(
        name="1 s average power alone",
        scenario=busy(unsupported=("186",)),
        validity="valid",
    ),
    Fault(
        name="1 s average, load ends at start",
        scenario=Scenario(
            power=((0, 700), (START_S + 0.15, 700), (START_S + 0.15, 200)), unsupported=("186",)
        ),
        validity="valid",
    ),
    Fault(
        name="no power at all",
        scenario=busy(unsupported=POWERS),
        validity="invalid",
        codes=("no_cross_check",),
    ),
    Fault(
        name="energy NOT_SUPPORTED",
        scenario=busy(unsupported=(*COUNTERS, "module")),
        validity="unavailable",
        codes=("not_supported",),
    ),
    Fault(
        name="energy by its newer field alone",
        scenario=busy(unsupported=("83",)),
        validity="valid",
    ),
    Fault(
        name="energy of the module alone",
        scenario=busy(unsupported=COUNTERS),
        validity="invalid",
        codes=("module_scope",),
    ),
    Fault(
        name="missing symbols of all counters",
        scenario=busy(),
        validity="unavailable",
        codes=("missing_symbol",),
        without=("nvmlDeviceGetFieldValues", "nvmlDeviceGetTotalEnergyConsumption"),
    ),
    Fault(
        name="missing symbol of the fields",
        scenario=busy(),
        validity="valid",
        without=("nvmlDeviceGetFieldValues",),
    ),
    Fault(
        name="no list of who draws",
        scenario=busy(),
        validity="valid",
        without=("nvmlDeviceGetGraphicsRunningProcesses_v3",),
    ),
    Fault(
        name="missing symbols of newer drivers",
        scenario=busy(),
        validity="valid",
        without=("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"),
    ),
    Fault(
        name="GPU lost before the window",
        scenario=busy(error_from_s=START_S - 1),
        validity="unavailable",
        codes=("gpu_lost",),
    ),
    Fault(
        name="GPU lost in mid-window",
        scenario=busy(error_from_s=MIDDLE_S),
        validity="invalid",
        codes=("gpu_lost", "too_short"),
    ),
    Fault(
        name="reads fail for 0.2 s",
        scenario=busy(error_from_s=MIDDLE_S, error_until_s=MIDDLE_S + 0.2, error_code=10),
        validity="invalid",
        codes=("read_failed",),
    ),
    Fault(
        name="thermal slowdown of 20 ms",
        scenario=busy(thermal_at_s=MIDDLE_S + 0.01),
        validity="invalid",
        codes=("thermal_slowdown",),
    ),
    Fault(
        name="power brake of 20 ms",
        scenario=busy(hw_at_s=MIDDLE_S + 0.01),
        validity="invalid",
        codes=("hw_slowdown",),
    ),
    Fault(
        name="nobody tells of slowdowns",
        scenario=busy(unsupported=EVENTS),
        validity="invalid",
        codes=("throttle_unknown",),
    ),
    Fault(name="software power cap", scenario=busy(power_cap=True), validity="valid"),
    Fault(
        name="foreign process appears",
        scenario=busy(process_from_s=MIDDLE_S),
        validity="invalid",
        codes=("foreign_process",),
    ),
    Fault(
        name="foreign process leaves",
        scenario=busy(process_from_s=0, process_until_s=MIDDLE_S),
        validity="invalid",
        codes=("foreign_process",),
    ),
    Fault(
        name="another process all along",
        scenario=busy(process_from_s=0),
        validity="valid",
    ),
    Fault(
        name="nobody tells of processes",
        scenario=busy(unsupported=("nvmlDeviceGetComputeRunningProcesses_v3",)),
        validity="invalid",
        codes=("processes_unknown",),
    ),
    Fault(
        name="MIG",
        scenario=busy(mig=True),
        validity="unavailable",
        codes=("mig",),
    ),
    Fault(
        name="window of 5 s",
        scenario=busy(),
        validity="invalid",
        codes=("too_short",),
        work_s=5,
    ),
    Fault(
        name="counter ticks once a second",
        scenario=busy(tick_s=1),
        validity="invalid",
        codes=("too_short",),
    ),
    Fault(
        name="the same, window of 30 s",
        scenario=busy(tick_s=1),
        validity="valid",
        work_s=30,
    ),
    Fault(name="counter ticks every 20 ms", scenario=busy(tick_s=0.02), validity="valid"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was reported.

    Attributes:
        true_j: joules between the reported edges; None where no window was opened.
        reported_j: None where absent.
        validity: of the joules; unavailable where the meter did not start.
        codes: their reasons.
    """

    true_j: float | None
    reported_j: float | None
    validity: str
    codes: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether the joules are right to 0.5 %."""
        if self.true_j is None or self.reported_j is None:
            return False
        return abs(self.reported_j - self.true_j) <= 0.005 * self.true_j


def outcome_of(fault: Fault, found: Measurement | Capability) -> Outcome:
    """Return what the meter made of a fault."""
    if isinstance(found, Capability):
        codes = (str(found.code),)
        return Outcome(true_j=None, reported_j=None, validity="unavailable", codes=codes)
    reading = found.readings["total_gpu_energy_j"]
    return Outcome(
        true_j=fault.scenario.energy_j(start_s=found.start_ns / 1e9, stop_s=found.stop_ns / 1e9),
        reported_j=reading.value,
        validity=reading.validity,
        codes=reading.reasons,
    )


class Rigs:
    """One child for each set of functions that the library lacks."""

    def __init__(self, folder: Path) -> None:
        """Start none yet; build in folders below `folder`."""
        self._folder = folder
        self._rigs: dict[tuple[str, ...], Rig] = {}

    def outcome(self, fault: Fault) -> Outcome:
        """Measure one fault."""
        return outcome_of(
            fault, self.rig(fault.without).measure(fault.scenario, work_s=fault.work_s)
        )

    def rig(self, without: tuple[str, ...] = ()) -> Rig:
        """Return the child over a library that lacks these functions."""
        if without not in self._rigs:
            folder = self._folder / str(len(self._rigs))
            folder.mkdir()
            self._rigs[without] = Rig(folder, without=without)
        return self._rigs[without]

    def close(self) -> None:
        """End all children."""
        for rig in self._rigs.values():
            rig.close()


def main() -> None:
    """Print the table."""
    write = sys.stdout.write
    write(f"{'fault':34}{'true J':>9}{'reported':>10}  {'validity':12}codes\n")
    with tempfile.TemporaryDirectory() as folder:
        rigs = Rigs(Path(folder))
        for fault in FAULTS:
            found = rigs.outcome(fault)
            true = "-" if found.true_j is None else f"{found.true_j:.1f}"
            reported = "-" if found.reported_j is None else f"{found.reported_j:.1f}"
            codes = ", ".join(found.codes)
            write(f"{fault.name:34}{true:>9}{reported:>10}  {found.validity:12}{codes}\n")
            if found.validity == "valid" and not found.is_right:
                write("    WRONG AND VALID\n")
        rigs.close()


if __name__ == "__main__":
    main()
