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
    ) -> None:
        """Measure on `clock`.

        Args:
            clock: seconds since its zero are what `power` is given.
            power: watts at a time.
            void: numbers of the windows, from 0, that end invalid with code `fault`.
            absent: the meter is not there.
            lost_after: windows after which no other can be opened; None for never.
            step: seconds between the points of the integral.
        """
        self._clock = clock
        self._power = power
        self._void = frozenset(void)
        self._absent = absent
        self._lost_after = lost_after
        self._step = step
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
        void = self.windows in self._void
        self.windows += 1
        reading = Reading(
            value=self._joules(self._start_ns / 1e9, stop_ns / 1e9),
            unit="J",
            method="measured",
            source="a known curve",
            validity="invalid" if void else "valid",
            reasons=("fault",) if void else (),
            pass_="",
        )
        return Measurement(
            start_ns=self._start_ns, stop_ns=stop_ns, readings={"total_gpu_energy_j": reading}
        )

    def _joules(self, start: float, stop: float) -> float:
        """Return the integral from start to stop, by the midpoint rule."""
        count = max(1, round((stop - start) / self._step))
        width = (stop - start) / count
        return sum(self._power(start + (at + 0.5) * width) * width for at in range(count))
