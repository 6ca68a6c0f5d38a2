"""What calls a meter regularly while its window is open.

Owns: the protocol and the thread.
Must not know: what is called.
"""

from collections.abc import Callable
from threading import Event, Thread
from typing import Protocol


class Driver(Protocol):
    """Calls regularly."""

    def drive(self, call: Callable[[], None], *, every_s: float) -> Callable[[], None]:
        """Make `call` regularly until the returned function is called; then no call runs."""


class ThreadDriver:
    """Calls from a thread of its own."""

    def drive(self, call: Callable[[], None], *, every_s: float) -> Callable[[], None]:
        """Start a thread; the returned function ends it and waits for it."""
        ended = Event()

        def loop() -> None:
            while not ended.wait(every_s):
                call()

        thread = Thread(target=loop, name="lpbench-meter", daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            thread.join()

        return end
