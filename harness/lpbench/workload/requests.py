"""Requests as a file states them: one JSON object a line.

Owns: the keys of a request, their types and ranges, and the one-line errors that name the line.
Must not know: the model (vocabulary, context length), tokenizers, schedules.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpbench.errors import InputError
from lpbench.registry import unknown

KEYS = (
    "arrival_s",
    "arrival_iteration",
    "prompt_token_ids",
    "prompt_tokens",
    "prompt",
    "output_tokens",
    "context_tokens",
)
PROMPT_KEYS = ("prompt_token_ids", "prompt_tokens", "prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request as stated.

    Attributes:
        arrival_s: seconds, or None where not stated.
        arrival_iteration: iteration number, or None where not stated.
        prompt: token ids, a number of tokens to draw, or a text.
        output_tokens: tokens to generate.
        context_tokens: tokens in the KV cache before the prompt.
    """

    arrival_s: float | None = None
    arrival_iteration: int | None = None
    prompt: tuple[int, ...] | int | str
    output_tokens: int
    context_tokens: int = 0


def read_requests(path: Path) -> tuple[Line, ...]:
    """Read a requests.jsonl.

    Raises:
        InputError: no such file, not UTF-8, empty, or a line that is not a request; with the
            line's number.
    """
    return parse_requests(read_text(path), name=path.name)


def read_text(path: Path) -> str:
    """Read a file of requests, once: it may be a pipe.

    Raises:
        InputError: no such file, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"requests file {path} does not exist"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"requests file {path} cannot be read: {error}"
        raise InputError(msg) from None


def parse_requests(text: str, *, name: str) -> tuple[Line, ...]:
    """Check the text of a requests.jsonl that is called `name`.

    Raises:
        InputError: empty, or a line that is not a request; with the line's number.
    """
    lines = []
    for number, raw in enumerate(text.split("\n"), start=1):
        if not raw.strip():
            continue
        where = f"{name} line {number}"
        lines.append(parse_line(parse_json(raw, where=where), where=where))
    return check_lines(lines, where=name)


def parse_json(raw: str, *, where: str) -> object:
    """Decode one line.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: not JSON: {error}"
        raise InputError(msg) from None


def check_lines(lines: Sequence[Line], *, where: str) -> tuple[Line, ...]:
    """Hold the lines of one workload together.

    Raises:
        InputError: there are none, or some arrive by iteration and some in seconds.
    """
    if not lines:
        msg = f"{where} is empty; expected one request a line"
        raise InputError(msg)
    by_seconds = [line for line in lines if line.arrival_s is not None]
    by_iteration = [line for line in lines if line.arrival_iteration is not None]
    if by_seconds and by_iteration:
        msg = f"{where} mixes arrival_s and arrival_iteration; use one of them in a file"
        raise InputError(msg)
    return tuple(lines)


def parse_line(fields: object, *, where: str) -> Line:
    """Check one request.

    Args:
        fields: the decoded JSON or TOML value.
        where: what to call it in an error.

    Raises:
        InputError: not an object, an unknown or missing key, a wrong type or a value out of range.
    """
    if not isinstance(fields, Mapping):
        msg = f"{where}: expected an object, got {shown(fields)}"
        raise InputError(msg)
    for key in fields:
        if key not in KEYS:
            raise InputError(f"{where}: " + unknown("key", str(key), known=KEYS))
    if "arrival_s" in fields and "arrival_iteration" in fields:
        msg = f"{where}: has both arrival_s and arrival_iteration; use one of them"
        raise InputError(msg)
    if "output_tokens" not in fields:
        msg = f"{where}: output_tokens is missing (a whole number, 1 or more)"
        raise InputError(msg)
    return Line(
        arrival_s=_seconds(fields, where=where),
        arrival_iteration=(
            whole_number(fields, "arrival_iteration", least=0, where=where)
            if "arrival_iteration" in fields
            else None
        ),
        prompt=_prompt(fields, where=where),
        output_tokens=whole_number(fields, "output_tokens", least=1, where=where),
        context_tokens=(
            whole_number(fields, "context_tokens", least=0, where=where)
            if "context_tokens" in fields
            else 0
        ),
    )


def _prompt(fields: Mapping[str, object], *, where: str) -> tuple[int, ...] | int | str:
    given = [key for key in PROMPT_KEYS if key in fields]
    if len(given) != 1:
        what = f"has {' and '.join(given)}" if given else "has no prompt"
        msg = f"{where}: {what}; give exactly one of {', '.join(PROMPT_KEYS)}"
        raise InputError(msg)
    value = fields[given[0]]
    if given[0] == "prompt_tokens":
        return whole_number(fields, "prompt_tokens", least=1, where=where)
    if given[0] == "prompt":
        if not isinstance(value, str) or not value:
            msg = f"{where}: prompt={shown(value)} must be a text that is not empty"
            raise InputError(msg)
        if not _is_text(value):
            msg = f"{where}: prompt={shown(value)} holds half a character"
            raise InputError(msg)
        return value
    if not isinstance(value, list) or not value or not all(type(i) is int for i in value):
        msg = f"{where}: prompt_token_ids={shown(value)} must be a list of whole numbers, not empty"
        raise InputError(msg)
    return tuple(value)


def _seconds(fields: Mapping[str, object], *, where: str) -> float | None:
    value = fields.get("arrival_s")
    if "arrival_s" not in fields:
        return None
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value <= sys.float_info.max
    ):
        msg = f"{where}: arrival_s={shown(value)} must be a number of seconds, 0 or more"
        raise InputError(msg)
    return float(value)


def whole_number(fields: Mapping[str, object], key: str, *, least: int, where: str) -> int:
    """Return what a key holds, where that is a whole number of `least` or more.

    Raises:
        InputError: it is not.
    """
    value = fields[key]
    if type(value) is not int or value < least:
        msg = f"{where}: {key}={shown(value)} must be a whole number, {least} or more"
        raise InputError(msg)
    return value


def _is_text(value: str) -> bool:
    """Return whether a string holds whole characters only: JSON can spell half ones."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, cut to fit there."""
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        text = "a deeply nested value"
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - fits one line
