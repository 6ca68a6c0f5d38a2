"""The clocks of a measurement: monotonic for durations, realtime only to join with a vendor's.

Owns: the Clock protocol and the host's clock.
Must not know: meters, devices.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can wait."""

    def now_ns(self) -> int:
        """Return nanoseconds; only differences mean anything."""

    def sleep(self, seconds: float) -> None:
        """Return after this long on this clock."""


class HostClock:
    """The host's monotonic clock."""

    def now_ns(self) -> int:
        """Return `time.monotonic_ns`."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
