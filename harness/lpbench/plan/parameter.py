"""Ranges of schedule parameters, checked when a policy is built.

Owns: the one-line messages for a parameter out of range.
Must not know: which schedule has which parameters.
"""

from collections.abc import Sequence

from lpbench.errors import InputError


def at_least(least: int, schedule: str, name: str, value: int) -> None:
    """Check an integer parameter.

    Raises:
        InputError: `value` is below `least`.
    """
    if value < least:
        msg = f"schedule {schedule!r}: {name}={value} is out of range; accepted: {least} or more"
        raise InputError(msg)


def one_of(known: Sequence[int | str], schedule: str, name: str, value: int | str) -> None:
    """Check a parameter that takes one of a few values.

    Raises:
        InputError: `value` is none of them.
    """
    if value not in known:
        accepted = ", ".join(str(entry) for entry in known)
        msg = f"schedule {schedule!r}: {name}={value} is out of range; accepted: {accepted}"
        raise InputError(msg)
