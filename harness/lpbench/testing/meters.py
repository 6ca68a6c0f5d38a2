"""A meter of a power curve that is known.

Owns: the fake.
Must not know: any instrument.
"""

from collections.abc import Callable, Sequence

from lpbench.errors import UnavailableError
from lpbench.meters.clocks import Clock
from lpbench.meters.meter import Capability, Measurement
from lpbench.record.schema import Reading


class FakeMeter:
    """Integrates a power curve exactly over its windows; void where told."""

    name = "fake"

    def __init__(
        self,
        clock: Clock,
        power: Callable[[float], float],
        *,
        void: Sequence[int] = (),
        absent: bool = False,
        lost_after: int | None = None,
        step: float = 0.01,
        gain: Callable[[int], float] = lambda _: 1,
        temperature: Callable[[float], float] | None = None,
        processes: int | None = None,
    ) -> None:
        """Measure on `clock`.

        Args:
            clock: seconds since its zero are what `power` is given.
            power: watts at a time.
            void: numbers of the windows, from 0, that end invalid with code `fault`.
            absent: the meter is not there.
            lost_after: windows after which no other can be opened; None for never.
            step: seconds between the points of the integral.
            gain: what it counts of the truth, by number of the window.
            temperature: of the device, in degrees Celsius, at a time; None for a meter without.
            processes: on the device; None for a meter that does not tell.
        """
        self._clock = clock
        self._power = power
        self._void = frozenset(void)
        self._absent = absent
        self._lost_after = lost_after
        self._step = step
        self._gain = gain
        self._temperature = temperature
        self._processes = processes
        self._start_ns = 0
        self.windows = 0

    def probe(self) -> Capability:
        """Return that it is there, unless told otherwise."""
        if self._absent:
            return Capability(
                meter=self.name,
                available=False,
                code="no_device",
                reason="there is no fake",
                fix="make one",
            )
        return Capability(meter=self.name, available=True, facts={"curve": "known"})

    def close(self) -> None:
        """Do nothing."""

    def start(self) -> None:
        """Open a window here and now.

        Raises:
            UnavailableError: the meter was lost.
        """
        if self.windows == self._lost_after:
            raise UnavailableError("the fake is lost")
        self._start_ns = self._clock.now_ns()

    def stop(self) -> Measurement:
        """Close it; return its joules."""
        stop_ns = self._clock.now_ns()
        void, gain = self.windows in self._void, self._gain(self.windows)
        self.windows += 1
        joules = _reading(gain * self._joules(self._start_ns / 1e9, stop_ns / 1e9), unit="J")
        if void:
            joules = joules.model_copy(update={"validity": "invalid", "reasons": ("fault",)})
        readings = {"total_gpu_energy_j": joules}
        if self._temperature is not None:
            now = self._temperature(stop_ns / 1e9)
            readings["gpu_temperature_c_last"] = _reading(now, unit="degC")
        if self._processes is not None:
            readings["gpu_processes"] = _reading(self._processes, unit="1")
        return Measurement(start_ns=self._start_ns, stop_ns=stop_ns, readings=readings)

    def _joules(self, start: float, stop: float) -> float:
        """Return the integral from start to stop, by the midpoint rule."""
        count = max(1, round((stop - start) / self._step))
        width = (stop - start) / count
        return sum(self._power(start + (at + 0.5) * width) * width for at in range(count))


def _reading(value: float, *, unit: str) -> Reading:
    return Reading(value=value, unit=unit, method="measured", source="a known curve", pass_="")
