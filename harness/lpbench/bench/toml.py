"""Values as TOML that tomllib reads back.

Owns: the text of numbers, strings, lists of strings and one level of tables.
Must not know: what the values mean.
"""

import json
from collections.abc import Mapping, Sequence

DIGITS = 4
"""Digits of a number that was measured or fitted: more would not come out again."""


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
