"""The errors of the world outside, each with the exit code the command line gives it.

Owns: one base class and one class per exit code.
Must not know: who raises them or how they are printed.
Broken invariants of our own are `assert`; everything a user can mend is one of these, with a
message of one line that says what is wrong, the value, and the accepted range or the fix.
"""

from typing import ClassVar

INTERRUPTED = 130
"""Exit code of what was interrupted, by Ctrl-C or SIGTERM: the user's will and no error."""


class LpbenchError(Exception):
    """Base of every error that ends a command with one clear line instead of a traceback."""

    exit_code: ClassVar[int] = 1


class RunError(LpbenchError):
    """The run itself failed (exit 1)."""


class NotWrittenError(RunError):
    """A file could not be written: the disk is full, or the like (exit 1)."""


class InputError(LpbenchError, ValueError):
    """Usage, bad input or input that cannot be compared (exit 2)."""

    exit_code: ClassVar[int] = 2


class MisfitError(InputError):
    """Options that are good by themselves and do not go together: a model and a device (exit 2).

    A sweep keeps such a cell of its grid apart and goes on.
    """


class InvalidMeasurementError(LpbenchError):
    """The run is done, but what it measured proves nothing (exit 5)."""

    exit_code: ClassVar[int] = 5


class UnavailableError(LpbenchError):
    """The machine lacks something that was asked for (exit 77).

    Attributes:
        code: the reason as a record's reason code.
    """

    exit_code: ClassVar[int] = 77

    def __init__(self, message: str, *, code: str = "unavailable") -> None:
        """Say what is lacking in one line, and as a code."""
        super().__init__(message)
        self.code = code
