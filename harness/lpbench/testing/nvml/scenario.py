"""What the NVML double plays: a power curve, the instruments on it, and their faults.

Owns: the scenario's fields, the file they are handed over in, and the truth of its power curve.
Must not know: the C source, meters.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

SCENARIO_VARIABLE = "LPBENCH_NVML_DOUBLE"
"""The environment variable that names the scenario's file; the double reads it at nvmlInit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A GPU as the double plays it; all times on the double's clock, None for never.

    Attributes:
        power: the curve's knots as (seconds, watts), in order, linear in between, level outside;
            two knots at one time are a step.
        repeat_s: the curve's period; 0 for a curve that does not repeat.
        tick_s: how often the energy counter is refreshed; 0 for always.
        sensor_s: how often instantaneous power is refreshed, above 0; it is a mean over ...
        sensor_duty: ... this share of the time between, the first part of it.
        counter_gain: what the energy counter counts of the truth.
        stuck_from_s: when the energy counter freezes.
        reset_at_s: when it starts again at 0.
        thermal_at_s: when a software thermal slowdown of 20 ms happens.
        hw_at_s: when a power brake of 20 ms happens.
        power_cap: whether the software power cap holds the clocks down throughout.
        process_from_s: when a second process is on the GPU ...
        process_until_s: ... and when it leaves.
        error_from_s: when every call fails ...
        error_until_s: ... until here ...
        error_code: ... with this nvmlReturn_t: 15 for a GPU that is lost, 10 for a timeout.
        unsupported: what answers NOT_SUPPORTED: functions by name, fields by number (in the
            GPU's scope), "module" for all fields in the module's, which is 100 W more.
        mig: whether the GPU is partitioned.
        no_gpm: whether the part is too old for GPM.
        dram_utilisation: of the peak DRAM bandwidth, as GPM sees it.
        gpus: how many there are, all alike.
        clock: the file a VirtualClock shares; None for the real monotonic clock.
    """

    power: tuple[tuple[float, float], ...] = ((0, 300),)
    repeat_s: float = 0
    tick_s: float = 0.1
    sensor_s: float = 0.1
    sensor_duty: float = 1
    counter_gain: float = 1
    stuck_from_s: float | None = None
    reset_at_s: float | None = None
    thermal_at_s: float | None = None
    hw_at_s: float | None = None
    power_cap: bool = False
    process_from_s: float | None = None
    process_until_s: float | None = None
    error_from_s: float | None = None
    error_until_s: float | None = None
    error_code: int = 15
    unsupported: tuple[str, ...] = ()
    mig: bool = False
    no_gpm: bool = False
    dram_utilisation: float = 0
    gpus: int = 1
    clock: Path | None = None

    def write(self, path: Path) -> None:
        """Write the file that `SCENARIO_VARIABLE` names: a key and its value a line."""
        lines = [f"knot {seconds!r} {watts!r}" for seconds, watts in self.power]
        for key in fields(self):
            value = getattr(self, key.name)
            if key.name == "power" or value is None or value == ():
                continue
            if isinstance(value, tuple):
                value = " ".join(value)
            lines.append(f"{key.name} {int(value) if isinstance(value, bool) else value}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def energy_j(self, *, start_s: float, stop_s: float) -> float:
        """Return the true joules between two times: the integral of `power`, knot by knot."""
        return self._energy_until(stop_s) - self._energy_until(start_s)

    def _energy_until(self, seconds: float) -> float:
        if not self.repeat_s:
            return self._curve_j(seconds)
        periods, rest = divmod(seconds, self.repeat_s)
        return periods * self._curve_j(self.repeat_s) + self._curve_j(rest)

    def _curve_j(self, seconds: float) -> float:
        """Return the joules from 0 within one period; both knots of a step are kept."""
        at, watts = (np.array(column, dtype=float) for column in zip(*self.power, strict=True))
        keep = (at >= 0) & (at <= seconds)
        first, final = (float(np.interp(edge, at, watts)) for edge in (0.0, seconds))
        times = np.concatenate(([0.0], at[keep], [seconds]))
        return float(np.trapezoid(np.concatenate(([first], watts[keep], [final])), times))
