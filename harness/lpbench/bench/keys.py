"""The keys of a suite's base and grid: fields of RunSpec, Load and Burst, as a file spells them.

Owns: their names, what their values may be, the field each of them sets.
Must not know: grids, cells, single fields but those whose text has a form of its own.

A field that is added to one of them is a key without a change here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from lpbench.analysis.slo import parse_slo
from lpbench.bench.spec import Burst, Load, RunSpec
from lpbench.errors import InputError
from lpbench.registry import LONGEST_SHOWN, unknown

LATENCY = "latency"
REGIME = "regime"
OWNERS: Mapping[str, tuple[type, ...]] = {
    LATENCY: (RunSpec, Load),
    "traffic": (RunSpec,),
    REGIME: (RunSpec, Burst),
}
COMMANDS = tuple(OWNERS)
"""What the cells of a suite may be runs of."""

_WORKLOADS = ("workload", "requests", "num_prompts", "input_len", "output_len")

MAP_KEYS = (
    *("model", "device", "tensor_parallel_size", "dtype"),
    *("num_decodes", "prompt_len", "prompts"),
)
"""What a point of the regime map always says of itself: whose map it is on, and where."""

ALIASES = {"schedules": "schedule", "duration_s": "duration"}
"""Second names of keys: those of the fields."""

_WORDS: Mapping[object, str] = {
    str: "a text",
    Path: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key and the field it sets.

    Attributes:
        owner: RunSpec, Load or Burst.
        field: of it.
        hint: the type of its values in a file, lists as tuples.
        read: makes the field's value of one.
    """

    owner: type
    field: str
    hint: Any
    read: Callable[[Any], object] = lambda value: value

    @property
    def default(self) -> object:
        """The field's value where the key is not given."""
        return getattr(self.owner(), self.field)

    def check(self, value: object, *, what: str) -> Any:  # noqa: ANN401 - of the hint's type
        """Return a value of a file as one of the hint's type.

        Raises:
            InputError: it is of another type, an empty list, or its text is not understood; `what`
                says where it stands.
        """
        try:  # as JSON: there a list may stand for a tuple, a text for a path, and nothing else
            checked = TypeAdapter(self.hint).validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError):  # TypeError: a date, which JSON has not
            raise InputError(wrong(what, value, accepted=_words(self.hint))) from None
        if checked == ():
            raise InputError(f"{what} is an empty list; give it values, or leave it out")
        try:
            self.read(checked)
        except InputError as error:
            raise InputError(f"{what}: {error}") from None
        return checked


def keys_of(command: str) -> Mapping[str, Key]:
    """Return the keys of a command's runs by name."""
    keys = {
        field: Key(owner=owner, field=field, hint=hint)
        for owner in OWNERS[command]
        for field, hint in get_type_hints(owner).items()
    }
    del keys["load"], keys["burst"]
    texts = str | tuple[str, ...]
    del keys["schedules"]
    if command == REGIME:  # its schedules follow from the burst, its workload is one
        for field in _WORKLOADS:
            del keys[field]
        return keys
    keys["schedule"] = Key(owner=RunSpec, field="schedules", hint=texts, read=_several)
    if command == LATENCY:
        keys["duration"] = keys.pop("duration_s")
        del keys["slo"]
        keys["goodput"] = Key(owner=Load, field="slo", hint=texts, read=_slo)
    return keys


def first_names(
    table: Mapping[str, object], keys: Mapping[str, Key], *, where: str
) -> dict[str, object]:
    """Return a table of a file by the first names of its keys.

    Raises:
        InputError: a key is not known, or given under two names.
    """
    found: dict[str, object] = {}
    for given, value in table.items():
        key = ALIASES.get(given, given)
        others = [command for command in COMMANDS if key in keys_of(command)]
        if key not in keys and others:
            commands = " or ".join(f'command = "{one}"' for one in others)
            raise InputError(f"{where}: {given} goes with {commands}")
        if key not in keys:
            raise InputError(f"{where}: {unknown('key', given, known=keys)}")
        if key in found:
            raise InputError(f"{where}: {key} and {given} are the same; leave out one of them")
        found[key] = value
    return found


def wrong(what: str, value: object, *, accepted: str) -> str:
    """Return the line that says a value is of a wrong type."""
    text = " ".join(repr(value).split())
    if len(text) > LONGEST_SHOWN:
        text = text[:LONGEST_SHOWN] + "..."
    return f"{what} = {text}; accepted: {accepted}"


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _slo(value: str | tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    return tuple(parse_slo(_several(value)).items())


def _words(hint: object) -> str:
    """Return what values of a type are called."""
    kind = get_origin(hint)
    if kind in (Union, UnionType):
        kinds = (one for one in get_args(hint) if one is not type(None))
        return " or ".join(dict.fromkeys(map(_words, kinds)))
    if kind is tuple:
        return f"a list of {_words(get_args(hint)[0]).removeprefix('a ')}s"
    return _WORDS.get(hint, str(hint))
