"""What every meter is: it says whether it can measure here, and measures over windows.

Owns: the protocol and the plain values that cross it.
Must not know: any vendor library, schedules, how a window's work is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from lpbench.record.schema import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Whether a meter can measure here; where it cannot, why, and what would mend it.

    Attributes:
        meter: the meter's name, as `--meter` takes it.
        available: whether it can measure here and now.
        code: the reason as a record's reason code, such as "no_driver"; None where available.
        reason: the reason as one sentence; None where available.
        fix: what the user can do about it, as one sentence; None where available.
        facts: what the probe learned: versions, device names, periods.
    """

    meter: str
    available: bool
    code: str | None = None
    reason: str | None = None
    fix: str | None = None
    facts: Mapping[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold a meter that is not available to a code, a reason and a fix."""
        missing = None in (self.code, self.reason, self.fix)
        assert self.available != (not missing), self


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a meter found over one window.

    Attributes:
        start_ns: the window's first edge on the monotonic clock (`time.monotonic_ns`).
        stop_ns: its last edge. A meter may move its edges outward to where it can read exactly.
        readings: by metric name, each with its own validity; the record's `pass` is filled in
            by the pass that opened the window.
        series: raw samples by name, one row a sample, for the run's `samples/` folder.
    """

    start_ns: int
    stop_ns: int
    readings: Mapping[str, Reading]
    series: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)


class Meter(Protocol):
    """Measures over windows, one at a time."""

    name: str

    def probe(self) -> Capability:
        """Return whether it can measure here, without side effects; never raises."""

    def start(self) -> None:
        """Open a window; returns when its first edge is fixed.

        Raises:
            UnavailableError: the meter cannot measure here.
        """

    def stop(self) -> Measurement:
        """Close the window; returns when its last edge is fixed.

        A fault of the instrument in mid-window is no exception: the readings are invalid or
        absent, with its code.
        """

    def close(self) -> None:
        """Let go of the instrument; may be called twice. A later `start` takes hold of it again."""
