"""How long a pass took on the device's own clock.

Owns: the pair of CUDA events around a pass.
Must not know: passes, the host's clock.
"""

import torch


class PassTimer:
    """Times one pass after another; nothing on a CPU, whose clock is the host's."""

    def __init__(self, device: torch.device) -> None:
        """Make the events, once."""
        self._events: tuple[torch.cuda.Event, ...] = ()
        if device.type == "cuda":
            self._events = tuple(torch.cuda.Event(enable_timing=True) for _ in "ab")

    def start(self) -> None:
        """Mark the pass's begin in the device's queue."""
        for event in self._events[:1]:
            event.record()

    def stop(self) -> None:
        """Mark its end."""
        for event in self._events[1:]:
            event.record()

    def elapsed_ns(self) -> int | None:
        """Return the time between both; the device has passed them. None on a CPU."""
        if not self._events:
            return None
        first, last = self._events
        milliseconds: float = first.elapsed_time(last)
        return round(milliseconds * 1e6)
