"""A clock that a test owns: waiting takes no time, and a double in C can read it.

Owns: virtual time, the calls that are due in it, the file it is shared through.
Must not know: meters.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_NS = 1_000_000_000


@dataclass(slots=True)
class _Due:
    call: Callable[[], None]
    every_ns: int
    next_ns: int


class VirtualClock:
    """A `Clock` whose `sleep` moves time, and a `Driver` whose calls happen while it does."""

    def __init__(self, *, start_ns: int = 0, path: Path | None = None) -> None:
        """Start at `start_ns`; share the time in the file `path` as a native int64."""
        self._shared: mmap.mmap | None = None
        if path is not None:
            path.write_bytes(bytes(8))
            with path.open("r+b") as file:
                self._shared = mmap.mmap(file.fileno(), 8)
        self._due: list[_Due] = []
        self._set(start_ns)

    def now_ns(self) -> int:
        """Return the nanoseconds that were slept, and the start."""
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        """Move time, and make the calls that fall due on the way, in order of time."""
        until = self._now_ns + round(seconds * _NS)
        while self._due and (first := min(self._due, key=lambda due: due.next_ns)).next_ns <= until:
            self._set(max(self._now_ns, first.next_ns))
            first.next_ns += first.every_ns
            first.call()
        self._set(max(self._now_ns, until))

    def drive(self, call: Callable[[], None], *, every_s: float) -> Callable[[], None]:
        """Make `call` regularly while time moves, until the returned function is called."""
        every_ns = round(every_s * _NS)
        due = _Due(call=call, every_ns=every_ns, next_ns=self._now_ns + every_ns)
        self._due.append(due)
        return lambda: self._due.remove(due)

    def _set(self, now_ns: int) -> None:
        self._now_ns = now_ns
        if self._shared is not None:
            struct.pack_into("=q", self._shared, 0, now_ns)
