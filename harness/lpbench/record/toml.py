"""TOML: a user's file read, or refused in one line; values written so that tomllib reads them back.

Owns: the messages for a file that cannot be read; the text of numbers, strings, lists of strings
and one level of tables.
Must not know: what the values mean.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from lpbench.errors import InputError

DIGITS = 4
"""Digits of a number that was measured or fitted: more would not come out again."""


def read_toml(path: Path, *, what: str) -> dict[str, object]:
    """Return the document of a file; `what` says whose file a message is of.

    Raises:
        InputError: there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{what} file {path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, not TOML, or too deep
        raise InputError(f"{what} file {path} cannot be read: {error}") from None


def rounded(value: float) -> float:
    """Return a measured number to as many digits as are worth writing."""
    return float(f"{value:.{DIGITS}g}")


def to_toml(values: Mapping[str, object]) -> str:
    """Return a document: the plain values first, then a table for every mapping.

    What is None is left out.
    """
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lines = list(_lines(plain))
    for key, table in tables.items():
        lines += ["", f"[{key}]", *_lines(table)]
    return "\n".join(lines) + "\n"


def _lines(values: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in values.items() if value is not None]


def _value(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_value, value))}]"
    assert isinstance(value, int | float), value
    if isinstance(value, int):
        return repr(value)
    short = f"{value:.{DIGITS}g}"  # 8.714e+10 reads better than 87140000000.0
    return short if "e" in short and float(short) == value else repr(value)
