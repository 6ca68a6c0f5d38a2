"""The keys of a config.json, read with their types.

Owns: what counts as absent, the ranges of numbers, the one line with which a value is refused.
Must not know: which keys there are, what they mean.
"""

import sys
from collections.abc import Mapping
from reprlib import repr as brief
from typing import NoReturn

from lpbench.errors import InputError

MOST = 1 << 24
"""No count in a config.json is larger; what is, would not be caught before memory runs out."""


class Keys:
    """The keys of a config, read with their types; null is absent, as in transformers."""

    def __init__(self, values: Mapping[str, object], *, name: str, where: str = "") -> None:
        """Read `values` of the model `name`; `where` stands before a key in messages."""
        self._values = values
        self._name = name
        self._where = where

    def get(self, key: str) -> object:
        """Return the value as it stands; None where it is absent."""
        return self._values.get(key)

    def fail(self, what: str) -> NoReturn:
        """Refuse the config with the model's name and `what`."""
        raise InputError(f"model {self._name!r}: {what}")

    def refuse(self, key: str, accepted: str) -> NoReturn:
        """Refuse the value of a key, and say what is accepted."""
        self.fail(f"{self._where}{key} is {brief(self.get(key))}; accepted: {accepted}")

    def integer(
        self, *keys: str, least: int = 1, most: int = MOST, default: int | None = None
    ) -> int:
        """Return the first of `keys` that is there: names of one whole number in a range."""
        key = next((key for key in keys if self.get(key) is not None), keys[0])
        value = self._there(key, default)
        accepted = f"a whole number, {least} to {most}"
        if most == MOST and (not isinstance(value, int) or value <= most):
            accepted = f"a whole number, {least} or more"
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(key, accepted)
        if not least <= value <= most:
            self.refuse(key, accepted)
        return value

    def number(self, key: str, *, default: float | None = None, least: float = 0) -> float:
        """Return a finite number above 0, not below `least`."""
        value = self._there(key, default)
        accepted = f"a number, {least:g} or more" if least else "a number above 0"
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.refuse(key, accepted)
        if not 0 < value <= sys.float_info.max or value < least:
            self.refuse(key, accepted)
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._there(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def inner(self, key: str) -> Mapping[str, object]:
        """Return an object."""
        value = self.get(key)
        if not isinstance(value, Mapping):
            self.refuse(key, "an object")
        return value

    def within(self, values: Mapping[str, object], *, where: str) -> "Keys":
        """Return a reader of an object inside this one, called `where` in messages."""
        return Keys(values, name=self._name, where=where)

    def demand(self, key: str, *, accepted: object, why: str = "") -> None:
        """Refuse any value but the one that is computed with, which is the default."""
        if self._there(key, accepted) != accepted:
            self.refuse(key, f"{accepted!r}{why}")

    def _there(self, key: str, default: object) -> object:
        value = self.get(key)
        value = default if value is None else value
        if value is None:
            self.fail(f"config.json has no {self._where}{key}")
        return value
