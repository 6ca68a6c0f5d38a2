"""The lines beside a record, as far as a page draws them.

Owns: how many lines at most, what is said of those that are left out.
Must not know: what is drawn of them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lpbench.bench.logged import Iteration, Served, read_lines
from lpbench.errors import InputError

MOST_ITERATIONS, MOST_REQUESTS = 20_000, 20_000
"""Lines of a schedule that are drawn."""

Line = TypeVar("Line", Iteration, Served)


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


def _whole(path: Path, kind: type[Line], most: int, notes: list[str]) -> Iterator[Line]:
    """Yield the whole lines of a file, so many of every schedule; notes say what is left out."""
    if not path.exists():
        return
    damaged, seen = 0, Counter[str]()
    try:
        for _, line in read_lines(path, kind):
            if line is None:
                damaged += 1
                continue
            seen[line.arm] += 1
            if seen[line.arm] <= most:
                yield line
    except InputError as error:
        notes.append(f"{error}.")
    for arm, count in seen.items():
        if count > most:
            notes.append(f"{path.name}: of {arm} the first {most} of {count} lines are drawn.")
    if damaged:
        notes.append(f"{path.name}: {damaged} damaged lines are left out.")
