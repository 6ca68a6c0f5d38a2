"""The meters over the NVML double: real pynvml in a process of its own, scenario after scenario.

LD_LIBRARY_PATH is read when a process starts, so the meters run in a child; it answers as many
scenarios as it is asked, on a clock that takes no time, in milliseconds each.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from lpbench.meters.meter import Capability, Measurement, Meter
from lpbench.meters.nvml.absent import MissingError
from lpbench.meters.nvml.company import Company
from lpbench.meters.nvml.gpm import GpmMeter
from lpbench.meters.nvml.meter import NvmlMeter
from lpbench.meters.nvml.readings import measured
from lpbench.testing.clocks import VirtualClock
from lpbench.testing.nvml.build import build_nvml_double
from lpbench.testing.nvml.scenario import SCENARIO_VARIABLE, Scenario

START_S = 1000.0
"""Where the clock stands when a meter is started, in seconds."""

GAP_S = 5.0
"""Between two windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the child is asked: to probe, or to measure so many seconds of work, so often."""

    meter: str
    work_s: float | None
    windows: int = 1


ORDER = TypeAdapter(Order)
ANSWER: TypeAdapter[Measurement | Capability] = TypeAdapter(Measurement | Capability)


class Rig:
    """A child that measures, until it is closed."""

    def __init__(self, folder: Path, *, without: Sequence[str] = ()) -> None:
        """Build the double in `folder`, without some of its functions, and start the child."""
        build_nvml_double(folder, without=without)
        self._folder = folder
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(folder),
            SCENARIO_VARIABLE: str(folder / "scenario"),
            "CUDA_VISIBLE_DEVICES": "0",
        }
        self._child = subprocess.Popen(
            [sys.executable, __file__, str(folder / "clock")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the child."""
        self._child.communicate()

    def measure(
        self, scenario: Scenario, *, work_s: float = 10, meter: str = "nvml", windows: int = 1
    ) -> Measurement | Capability:
        """Return what the meter found over the last window of `work_s` seconds of the scenario.

        `GAP_S` lies between two windows. A capability says why it could not start.
        """
        return self._ask(scenario, Order(meter=meter, work_s=work_s, windows=windows))

    def probe(self, scenario: Scenario, *, meter: str = "nvml") -> Capability:
        """Return the meter's capability."""
        found = self._ask(scenario, Order(meter=meter, work_s=None))
        assert isinstance(found, Capability)
        return found

    def _ask(self, scenario: Scenario, order: Order) -> Measurement | Capability:
        replace(scenario, clock=self._folder / "clock").write(self._folder / "scenario")
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(ORDER.dump_json(order).decode() + "\n")
        self._child.stdin.flush()
        return ANSWER.validate_json(self._child.stdout.readline())


def answer(order: Order, clock: VirtualClock) -> Measurement | Capability:
    """Carry out one order; the clock stands at 1000 s when the meter starts."""
    clock.sleep(START_S - clock.now_ns() / 1e9)
    meter = make_meter(order.meter, clock)
    if order.work_s is None:
        return meter.probe()
    for _ in range(order.windows - 1):
        in_window(meter, clock, order.work_s)
        clock.sleep(GAP_S)
    found = in_window(meter, clock, order.work_s)
    meter.close()
    return found


def in_window(meter: Meter, clock: VirtualClock, work_s: float) -> Measurement | Capability:
    """Return one window, or why it could not be opened."""
    try:
        meter.start()
    except MissingError as missing:
        return missing.capability(meter.name)
    clock.sleep(work_s)
    return meter.stop()


class CompanyMeter:
    """Looks who is on the GPU at both edges of its windows."""

    name = "company"

    def __init__(self, clock: VirtualClock) -> None:
        """Look at nothing yet."""
        self._company = Company()
        self._clock = clock
        self._start_ns = 0

    def probe(self) -> Capability:
        """Return that it is there."""
        return Capability(meter=self.name, available=True)

    def start(self) -> None:
        """Look once."""
        self._start_ns = self._clock.now_ns()
        self._company.look()

    def stop(self) -> Measurement:
        """Look again; the codes are those against a reading of nothing."""
        reading = measured(0, unit="1", source=self.name, reasons=self._company.look())
        return Measurement(
            start_ns=self._start_ns, stop_ns=self._clock.now_ns(), readings={self.name: reading}
        )

    def close(self) -> None:
        """Let go."""
        self._company.close()


def make_meter(name: str, clock: VirtualClock) -> Meter:
    """Return the meter on the virtual clock."""
    if name == "company":
        return CompanyMeter(clock)
    return NvmlMeter(clock=clock, driver=clock) if name == "nvml" else GpmMeter(clock=clock)


def serve(path: Path) -> None:
    """Answer orders, one JSON a line, until the end of input."""
    for line in sys.stdin:
        found = answer(ORDER.validate_json(line), VirtualClock(path=path))
        sys.stdout.write(ANSWER.dump_json(found, by_alias=True).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
