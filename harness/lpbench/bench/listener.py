"""Who is told how far a run is.

Owns: the protocol.
Must not know: what a run is, how progress is shown.
"""

from typing import Protocol


class Listener(Protocol):
    """Hears how far a run is."""

    def stage(self, name: str, total: float) -> None:
        """A part of the run begins; it is `total` long."""

    def advance(self, amount: float) -> None:
        """So much of the current part is done."""


class Silent:
    """Hears it and tells nobody."""

    def stage(self, name: str, total: float) -> None:
        """A part of the run begins."""

    def advance(self, amount: float) -> None:
        """So much of it is done."""
