"""The lines beside a record, as far as a page draws them.

Owns: how many lines at most, what is said of those that are left out.
Must not know: what is drawn of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lpbench.bench.logged import AnyLine, Iteration, Served, read_lines
from lpbench.errors import InputError

MOST_ITERATIONS, MOST_REQUESTS = 50_000, 50_000
"""Lines of a run that are read."""


@dataclass(frozen=True, slots=True)
class Log:
    """What was read.

    Attributes:
        iterations: by arm, in order.
        requests: by arm.
        notes: what was left out, in words; empty where nothing was.
    """

    iterations: dict[str, list[Iteration]] = field(default_factory=dict)
    requests: dict[str, list[Served]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_log(folder: Path) -> Log:
    """Return the lines of a run's folder; of a file that is not there none."""
    iterations: dict[str, list[Iteration]] = {}
    requests: dict[str, list[Served]] = {}
    notes: list[str] = []
    for one in _whole(folder / "iterations.jsonl", Iteration, MOST_ITERATIONS, notes):
        iterations.setdefault(one.arm, []).append(one)
    for each in _whole(folder / "requests.jsonl", Served, MOST_REQUESTS, notes):
        requests.setdefault(each.arm, []).append(each)
    return Log(iterations, requests, tuple(notes))


def _whole(path: Path, kind: type[AnyLine], most: int, notes: list[str]) -> Iterator[AnyLine]:
    """Yield the lines of a file that are whole; a note says what the others were."""
    if not path.exists():
        return
    damaged = 0
    try:
        lines = read_lines(path, kind)
        for _, line in islice(lines, most):
            if line is None:
                damaged += 1
            else:
                yield line
        if next(lines, None) is not None:
            notes.append(f"{path.name}: drawn are the first {most} lines.")
    except InputError as error:
        notes.append(f"{error}.")
    if damaged:
        notes.append(f"{path.name}: {damaged} damaged lines are left out.")
