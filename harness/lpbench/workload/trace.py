"""Traces of requests in the formats they are published in.

Owns: the formats, how a file is recognised by its first line, and the one-line errors that name the
line.
Must not know: the keys of a requests.jsonl, the model.

    {"timestamp": 3000, "input_length": 512, "output_length": 20, "hash_ids": [0]}
        Mooncake: milliseconds since the trace began; what the hash ids say of shared prefixes is
        not used.
    TIMESTAMP,ContextTokens,GeneratedTokens
    2023-11-16 18:15:46.6805900,374,44
        Azure's LLM inference traces: dates, of which the first is second 0.
    num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio
    74,918,992,0.08
        Sarathi-Serve's length files, other columns ignored; Vidur's have `arrived_at`, in seconds.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from lpbench.errors import InputError
from lpbench.registry import unknown
from lpbench.workload.requests import (
    KEYS,
    Line,
    check_lines,
    parse_json,
    shown,
    whole_number,
)

MOST_LINES: Final = 1_000_000
"""Lines of a trace at most: a longer one is cut by who knows which part is meant."""

_MOST_DIGITS: Final = 18
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII)

Ticks = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write a trace down.

    Attributes:
        description: one line for people.
        arrival: key or column of the arrival.
        prompt: that of the prompt's tokens.
        output: that of the generated tokens.
        ignored: further keys that may be there; None for any.
        clock: reads an arrival as ticks, None where it is none.
        accepted: what `clock` reads, in words.
        ticks_per_second: of `clock`.
        relative: whether the first arrival is second 0.
        untimed: whether the arrival may be missing, from all lines.
    """

    description: str
    arrival: str
    prompt: str
    output: str
    ignored: tuple[str, ...] | None
    clock: Callable[[object], Ticks | None]
    accepted: str
    ticks_per_second: int
    relative: bool = False
    untimed: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys or columns that are read."""
        return (self.arrival, self.prompt, self.output)


def _number(value: object) -> Ticks | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if 0 <= value <= sys.float_info.max else None


def _decimal(value: object) -> Ticks | None:
    try:
        return _number(float(str(value)))
    except ValueError:
        return None


def _microseconds(value: object) -> Ticks | None:
    """Read a date; digits beyond the microsecond are cut off, and no offset is UTC."""
    if not _DATE.fullmatch(str(value)):
        return None
    try:
        date = datetime.fromisoformat(str(value))
    except ValueError:  # the 31st of June
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


MOONCAKE: Final = Format(
    description="Mooncake trace",
    arrival="timestamp",
    prompt="input_length",
    output="output_length",
    ignored=("hash_ids",),
    clock=_number,
    accepted="a number of milliseconds, 0 or more",
    ticks_per_second=1000,
)

AZURE: Final = Format(
    description="Azure LLM inference trace",
    arrival="TIMESTAMP",
    prompt="ContextTokens",
    output="GeneratedTokens",
    ignored=(),
    clock=_microseconds,
    accepted="a date and time such as 2023-11-16 18:15:46.680",
    ticks_per_second=1_000_000,
    relative=True,
)

LENGTHS: Final = Format(
    description="lengths of requests",
    arrival="arrived_at",
    prompt="num_prefill_tokens",
    output="num_decode_tokens",
    ignored=None,
    clock=_decimal,
    accepted="a number of seconds, 0 or more",
    ticks_per_second=1,
    untimed=True,
)

TABLES: Final = (AZURE, LENGTHS)
"""The formats of comma-separated values."""


def find_format(text: str) -> Format | None:
    """Return the format that the first line of a file shows; None for a requests.jsonl or neither.

    One key or column of a format is enough, so that what else is wrong can be said.
    """
    first = re.search(r"\S[^\n]*", text)
    if first is None:
        return None
    if first[0].startswith("{"):
        try:
            fields = parse_json(first[0], where="line 1")
        except InputError:
            return None
        if not isinstance(fields, Mapping) or any(key in fields for key in KEYS):
            return None
        return MOONCAKE if any(key in fields for key in MOONCAKE.keys) else None
    columns = set(_cells(first[0]))
    return next((one for one in TABLES if columns & set(one.keys)), None)


def parse_trace(text: str, form: Format, *, name: str) -> tuple[Line, ...]:
    """Return the requests of a trace that is called `name`, in order of arrival.

    Raises:
        InputError: no request, too many lines, or a line that is not a request of this format or
            arrives before the one before it; with the line's number.
    """
    length = text.count("\n") + (not text.endswith("\n"))
    if length > MOST_LINES:
        msg = f"{name} has {length} lines; accepted: at most {MOST_LINES}, as head -n cuts them"
        raise InputError(msg)
    lines: list[Line] = []
    first: Ticks | None = None
    last: Ticks | None = None
    for where, fields in _rows(text, form, name=name):
        now = _arrival(fields, form, where=where)
        if now is not None and last is not None and now < last:
            msg = (
                f"{where}: {form.arrival}={shown(fields[form.arrival])} is before that of the "
                "request above it; a trace is in order of arrival"
            )
            raise InputError(msg)
        last = now
        first = now if first is None else first
        since = first if form.relative and first is not None else 0
        lines.append(
            Line(
                arrival_s=None if now is None else (now - since) / form.ticks_per_second,
                prompt=whole_number(fields, form.prompt, least=1, where=where),
                output_tokens=whole_number(fields, form.output, least=1, where=where),
            )
        )
    return check_lines(lines, where=name)


def _arrival(fields: Mapping[str, object], form: Format, *, where: str) -> Ticks | None:
    if form.arrival not in fields:
        return None
    ticks = form.clock(fields[form.arrival])
    if ticks is None:
        value = shown(fields[form.arrival])
        msg = f"{where}: {form.arrival}={value} must be {form.accepted}"
        raise InputError(msg)
    return ticks


def _rows(text: str, form: Format, *, name: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield where each request stands and what it holds, every key that is needed among it."""
    header: list[str] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        if not raw.strip():
            continue
        where = f"{name} line {number}"
        if form not in TABLES:
            yield where, _object(raw, form, where=where)
        elif header:
            yield where, _row(raw, header, form, where=where)
        else:
            header = _cells(raw)
            _check_keys(header, form, where=where, kind="column")


def _object(raw: str, form: Format, *, where: str) -> Mapping[str, object]:
    fields = parse_json(raw, where=where)
    if not isinstance(fields, Mapping):
        msg = f"{where}: expected an object, got {shown(fields)}"
        raise InputError(msg)
    _check_keys(list(fields), form, where=where, kind="key")
    return fields


def _row(raw: str, header: list[str], form: Format, *, where: str) -> Mapping[str, object]:
    cells = _cells(raw)
    if len(cells) != len(header):
        msg = f"{where}: has {len(cells)} cells; expected {len(header)}, as many as columns"
        raise InputError(msg)
    fields: dict[str, object] = dict(zip(header, cells, strict=True))
    for key in (form.prompt, form.output):
        cell = str(fields[key])
        if cell.isascii() and cell.isdigit() and len(cell) <= _MOST_DIGITS:
            fields[key] = int(cell)
    return fields


def _check_keys(found: list[str], form: Format, *, where: str, kind: str) -> None:
    """Hold the columns, or a line's keys, to those of a format."""
    needed = form.keys[1:] if form.untimed else form.keys
    times = Counter(found)
    for key in form.keys:
        if times[key] > 1 or (not times[key] and key in needed):
            what = "stands more than once" if times[key] else "is missing"
            msg = f"{where}: {kind} {key} {what}; expected one each of {', '.join(needed)}"
            raise InputError(msg)
    if form.ignored is not None:
        known = (*form.keys, *form.ignored)
        for key in found:
            if key not in known:
                raise InputError(f"{where}: " + unknown(kind, key, known=known))


def _cells(raw: str) -> list[str]:
    """Return the cells of a line; a byte order mark, which spreadsheets write, is none."""
    return [cell.strip() for cell in raw.removeprefix("\ufeff").split(",")]
