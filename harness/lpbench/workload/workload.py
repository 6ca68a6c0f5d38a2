"""A workload by name: a TOML file, a requests file, a trace, or lengths given on the command line.

Owns: where the lines of a workload come from, and the catalogue of shipped workloads.
Must not know: the model.

    name = "mixed"
    description = "one line"
    [[requests]]              # the keys of requests.jsonl, and:
    count = 4                 # so many times (default 1)
    every = 2                 # iterations from one to the next (default 0)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lpbench.errors import InputError
from lpbench.record.toml import read_toml
from lpbench.workload.requests import Line, check_lines, parse_line, parse_requests, read_text
from lpbench.workload.trace import find_format, parse_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests with a name.

    Attributes:
        name: the catalogue name, or the file's own name without its folder.
        description: one line for people.
        lines: the requests as stated.
    """

    name: str
    description: str
    lines: tuple[Line, ...]

    def first(self, num_prompts: int) -> "Workload":
        """Return the workload with its first `num_prompts` requests.

        Raises:
            InputError: there are fewer.
        """
        if num_prompts > len(self.lines):
            msg = (
                f"--num-prompts {num_prompts} is more than the {len(self.lines)} requests of "
                f"workload {self.name!r}"
            )
            raise InputError(msg)
        return replace(self, lines=self.lines[:num_prompts])


MOST_REQUESTS = 1_000_000
"""Requests that one entry or option may stand for."""


def uniform(*, num_prompts: int, input_len: int, output_len: int) -> Workload:
    """Return equal requests that all arrive at once, with prompt ids drawn from the seed."""
    line = Line(prompt=input_len, output_tokens=output_len)
    return Workload(
        name=f"{num_prompts}x{input_len}+{output_len}",
        description="equal requests, all at once",
        lines=(line,) * num_prompts,
    )


def from_requests(path: Path) -> Workload:
    """Return the workload of a requests.jsonl, or of a trace in a format of `workload.trace`.

    Raises:
        InputError: as `read_requests`, and as `parse_trace` for what its first line says is one.
    """
    text, name = read_text(path), path.name
    form = find_format(text)
    if form is None:
        lines = parse_requests(text, name=name)
        return Workload(name=name, description="requests file", lines=lines)
    lines = parse_trace(text, form, name=name)
    return Workload(name=name, description=form.description, lines=lines)


def read_workload(path: Path) -> Workload:
    """Read a workload's TOML file.

    Raises:
        InputError: no such file, not TOML, or an entry that is not a request.
    """
    document = read_toml(path, what="workload")
    entries = document.get("requests")
    if not isinstance(entries, list):
        msg = f"workload {path.name}: has no [[requests]]"
        raise InputError(msg)
    lines: list[Line] = []
    for number, entry in enumerate(entries, start=1):
        lines += _repeat(entry, where=f"{path.name} request {number}")
    return Workload(
        name=str(document.get("name", path.name)),
        description=str(document.get("description", "")),
        lines=check_lines(lines, where=path.name),
    )


def _repeat(entry: object, *, where: str) -> list[Line]:
    if not isinstance(entry, Mapping):
        msg = f"{where}: expected a table, got {entry!r}"
        raise InputError(msg)
    fields = dict(entry)
    count, every = fields.pop("count", 1), fields.pop("every", 0)
    counted = type(count) is int and 1 <= count <= MOST_REQUESTS
    if not counted or type(every) is not int or not 0 <= every <= MOST_REQUESTS:
        msg = (
            f"{where}: count={_brief(count)} and every={_brief(every)} must be whole numbers, 1 "
            f"and 0 or more, at most {MOST_REQUESTS}"
        )
        raise InputError(msg)
    line = parse_line(fields, where=where)
    if not every:
        return [line] * count
    if line.arrival_s is not None:
        msg = f"{where}: every={every} counts iterations; use arrival_iteration"
        raise InputError(msg)
    first = line.arrival_iteration or 0
    return [replace(line, arrival_iteration=first + i * every) for i in range(count)]


def _brief(value: object) -> str:
    """Return a value on one line, however it is spelt."""
    return " ".join(str(value).split())
