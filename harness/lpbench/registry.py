"""A table of named things, which answers an unknown name with the known ones.

Owns: lookup by name and the message for a name that is not there.
Must not know: what is registered.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Generic, TypeVar

T = TypeVar("T")

LONGEST_SHOWN = 60
"""Characters of an unknown name that a message repeats."""


def unknown(kind: str, name: str, *, known: Iterable[str]) -> str:
    """Return the one line that says a name is unknown, with the nearest and all known ones."""
    names = tuple(known)
    shown = name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + "..."
    near = get_close_matches(shown, names, n=1)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {shown!r}{guess}; known: {', '.join(names)}"


class Registry(Generic[T]):
    """Entries of one kind by name, in the order they were given."""

    def __init__(self, kind: str, entries: Mapping[str, T], *, error: type[Exception]) -> None:
        """Hold `entries`; an unknown `kind` name raises `error`."""
        self._kind = kind
        self._entries = dict(entries)
        self._error = error

    def names(self) -> tuple[str, ...]:
        """Return all names."""
        return tuple(self._entries)

    def get(self, name: str) -> T:
        """Return the entry called `name`.

        Raises:
            Exception: of the class given at construction, when there is no such name.
        """
        if name not in self._entries:
            raise self._error(unknown(self._kind, name, known=self._entries))
        return self._entries[name]
