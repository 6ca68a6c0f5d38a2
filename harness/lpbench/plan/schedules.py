"""The schedules by name, and the text form `name:key=value,key=value`.

Owns: the registry of schedules and the parser of their parameters.
Must not know: what a schedule does.
"""

import inspect
from collections.abc import Callable
from typing import get_args

from lpbench.errors import InputError
from lpbench.plan.adaptive import adaptive
from lpbench.plan.chunked import Chunked
from lpbench.plan.layered import Layered, hybrid
from lpbench.plan.policy import Policy
from lpbench.plan.whole import Whole
from lpbench.registry import Registry, unknown

SCHEDULES: Registry[Callable[..., Policy]] = Registry(
    "schedule",
    {
        "whole": Whole,
        "chunked": Chunked,
        "layered": Layered,
        "hybrid": hybrid,
        "adaptive": adaptive,
    },
    error=InputError,
)


def parse_schedule(text: str) -> Policy:
    """Return the policy that `text` describes, as in `layered:tokens_per_group=256`.

    Raises:
        InputError: unknown schedule or parameter, a parameter given twice, without a value, not a
            whole number where one is due, or out of range.
    """
    name, _, rest = text.strip().partition(":")
    build = SCHEDULES.get(name)
    known = parameters(name)
    given: dict[str, int | str] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in known:
            raise InputError(unknown(f"parameter of schedule {name!r}:", key, known=known))
        if key in given or not equals or not value:
            msg = f"schedule {name!r}: {part!r} must be key=value, each key once"
            raise InputError(msg)
        given[key] = _value(name, key, value, kind=known[key])
    return build(**given)


def parameters(name: str) -> dict[str, type]:
    """Return the parameters of schedule `name` and their types, int or str.

    Raises:
        InputError: unknown schedule.
    """
    found = inspect.signature(SCHEDULES.get(name)).parameters.values()
    return {
        parameter.name: next(iter(get_args(parameter.annotation)), parameter.annotation)
        for parameter in found
    }


def _value(schedule: str, key: str, value: str, *, kind: type) -> int | str:
    if kind is str:
        return value
    try:
        return int(value)
    except ValueError:
        msg = f"schedule {schedule!r}: {key}={value!r} is not a whole number"
        raise InputError(msg) from None
