"""What NVML does not give: a value that is absent with its code, a meter that cannot work.

Owns: the plain values for absence, and how they become a Capability.
Must not know: pynvml, windows.
"""

from dataclasses import dataclass

from lpbench.errors import UnavailableError
from lpbench.meters.meter import Capability


@dataclass(frozen=True, slots=True)
class Absent:
    """A value that could not be had.

    Attributes:
        code: why, as a record's reason code: not_supported, missing_symbol, no_permission, or
            nvml_error_N with NVML's return code.
    """

    code: str


class GpuLostError(Exception):
    """The GPU fell off the bus; nothing can be read from it any more."""


class MissingError(UnavailableError):
    """A meter cannot work here."""

    def __init__(self, *, code: str, reason: str, fix: str) -> None:
        """Say why as a code and as a sentence, and what would mend it."""
        super().__init__(f"{reason}; {fix}", code=code)
        self.reason = reason
        self.fix = fix

    def capability(self, meter: str) -> Capability:
        """Return the same as what a probe answers."""
        return Capability(
            meter=meter, available=False, code=self.code, reason=self.reason, fix=self.fix
        )


def lost_gpu() -> MissingError:
    """Return the error of a GPU that is lost before a window opens."""
    return MissingError(
        code="gpu_lost", reason="the GPU is lost", fix="see the kernel's log; restart the machine"
    )
