"""A suite: a TOML file that stands for a grid of runs, its cells.

Owns: the file, the product of its lists, the names of the cells.
Must not know: which keys there are, whether a cell can run, where it is written.

    name = "load"
    description = "one line"
    command = "latency"               # or "traffic", or "regime": a point of the regime map
    [base]                            # what all cells share
    model = "qwen3-30b-a3b"
    goodput = ["ttft:10000", "tbt:125"]
    [grid]                            # lists: every combination of their values is a cell
    schedule = ["chunked", "layered"]
    request_rate = [1.0, 1.3]

Of several [[grid]] the cells of the first come first. Paths are as on the command line: from where
it runs.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from lpbench.bench.keys import COMMANDS, LATENCY, MAP_KEYS, REGIME, Key, first_names, keys_of, wrong
from lpbench.bench.spec import Burst, Load, RunSpec
from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.record.provenance import digest
from lpbench.record.toml import read_toml
from lpbench.registry import unknown

MOST_CELLS = 10_000
"""More cells nobody means."""

_KEYS = ("name", "description", "command", "base", "grid")
_DIGITS = 8
_LONGEST_SLUG = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of the grid.

    Attributes:
        id: its number in the grid, what varies, and the start of its spec's digest: a file name.
        command: what it is a run of.
        point: its values of the keys that a grid of the suite has.
        spec: the run.
    """

    id: str
    command: str
    point: Mapping[str, JsonValue]
    spec: RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A grid of runs.

    Attributes:
        name: as stated, or the file's.
        description: one line for people.
        command: what its cells are runs of.
        cells: in the order of the grid, its last key running fastest.
    """

    name: str
    description: str
    command: str
    cells: tuple[Cell, ...]

    @property
    def hash(self) -> str:
        """Digest of everything that is run, and of the order."""
        return digest([self.command, [plain(asdict(cell.spec)) for cell in self.cells]])


def suite_names() -> tuple[str, ...]:
    """Return the names of the shipped suites."""
    return tuple(sorted(path.stem for path in data_folder("workloads", "suites").glob("*.toml")))


def find_suite(name: str) -> Suite:
    """Return the shipped suite called `name`, or that of the TOML file at this path.

    Raises:
        InputError: neither is there, or as `read_suite`.
    """
    if name in suite_names():
        return read_suite(data_folder("workloads", "suites") / f"{name}.toml")
    try:
        is_file = Path(name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_file = False
    if is_file or name.endswith(".toml"):
        return read_suite(Path(name))
    raise InputError(unknown("suite", name, known=suite_names()) + "; or give a TOML file")


def read_suite(path: Path) -> Suite:
    """Read a suite's TOML file.

    Raises:
        InputError: no such file, not TOML, a key that is not known or given twice, a value of a
            wrong type, an empty list, two cells that are the same run, or too many cells.
    """
    document = read_toml(path, what="suite")
    try:
        return _parse(document, name=path.stem)
    except InputError as error:
        raise InputError(f"suite {path.name}: {error}") from None


def plain(value: object) -> JsonValue:
    """Return a value as JSON holds it: tuples as lists, paths and infinity as texts."""
    text = json.dumps(value, default=str)
    found: JsonValue = json.loads(text, parse_constant=lambda name: str(float(name)))
    return found


def shown(value: object) -> JsonValue:
    """Return a value as results may show it: of an absolute path, which is private, the name."""
    found = plain(value)
    return Path(found).name if isinstance(found, str) and Path(found).is_absolute() else found


def _parse(document: Mapping[str, object], *, name: str) -> Suite:
    for key in document:
        if key not in _KEYS:
            raise InputError(unknown("key", key, known=_KEYS))
    command = _text(document, "command", LATENCY)
    if command not in COMMANDS:
        raise InputError(unknown("command", command, known=COMMANDS))
    keys = keys_of(command)
    base = _base(document.get("base", {}), keys)
    grids = [_grid(table, keys, where=where) for where, table in _tables(document.get("grid", {}))]
    for key in (key for grid in grids for key in grid if key in base):
        raise InputError(f"{key} is given in base and in grid; leave out one of them")
    return Suite(
        name=_text(document, "name", name),
        description=" ".join(_text(document, "description", "").split()),
        command=command,
        cells=_cells(command, keys, base=base, grids=grids),
    )


def _text(document: Mapping[str, object], key: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str):
        raise InputError(wrong(key, value, accepted="a text"))
    return value


def _tables(grid: object) -> list[tuple[str, object]]:
    """Return the tables of grids and what they are called: of [grid] one, of [[grid]] several."""
    if isinstance(grid, list) and grid:
        return [(f"grid {number}", table) for number, table in enumerate(grid, start=1)]
    return [("grid", grid)]


def _base(table: object, keys: Mapping[str, Key]) -> dict[str, object]:
    """Return what all cells share, checked."""
    if not isinstance(table, Mapping):
        raise InputError(wrong("base", table, accepted="a table"))
    values = first_names(table, keys, where="base")
    return {key: keys[key].check(value, what=f"base: {key}") for key, value in values.items()}


def _grid(table: object, keys: Mapping[str, Key], *, where: str) -> dict[str, tuple[object, ...]]:
    """Return the lists of a grid, every value checked."""
    if not isinstance(table, Mapping):
        raise InputError(wrong(where, table, accepted="a table"))
    lists: dict[str, tuple[object, ...]] = {}
    for key, values in first_names(table, keys, where=where).items():
        what = f"{where}: {key}"
        if not isinstance(values, list):
            raise InputError(wrong(what, values, accepted="a list, a cell for every value"))
        if not values:
            raise InputError(f"{what} is an empty list; give it values, or leave it out")
        lists[key] = tuple(keys[key].check(value, what=what) for value in values)
    return lists


def _cells(
    command: str,
    keys: Mapping[str, Key],
    *,
    base: Mapping[str, object],
    grids: Sequence[Mapping[str, Sequence[object]]],
) -> tuple[Cell, ...]:
    count = sum(math.prod(map(len, grid.values())) for grid in grids)
    if count > MOST_CELLS:
        raise InputError(f"the grid has {count} cells; accepted: {MOST_CELLS} at most")
    varied = tuple(dict.fromkeys(key for grid in grids for key in grid))
    if command == REGIME:
        varied = (*varied, *(key for key in MAP_KEYS if key not in varied))
    cells: dict[str, Cell] = {}
    for grid in grids:
        for values in product(*grid.values()):
            options = {**base, **dict(zip(grid, values, strict=True))}
            spec = _spec(command, keys, options)
            # A key of another grid has its default here.
            point = {key: shown(options.get(key, keys[key].default)) for key in varied}
            number = f"{len(cells) + 1:0{len(str(count))}}"
            found = digest(plain(asdict(spec)))
            if found in cells:
                said = ", ".join(f"{key}={value}" for key, value in point.items())
                first = cells[found].id.partition("-")[0]
                raise InputError(f"cells {first} and {number} are the same run ({said})")
            slug = _slug([point[key] for key in grid if len(grid[key]) > 1])
            name = "-".join(filter(None, (number, slug, found[:_DIGITS])))
            cells[found] = Cell(id=name, command=command, point=point, spec=spec)
    return tuple(cells.values())


def _spec(command: str, keys: Mapping[str, Key], options: Mapping[str, object]) -> RunSpec:
    fields: dict[type, dict[str, Any]] = {RunSpec: {}, Load: {}, Burst: {}}
    for key, value in options.items():
        fields[keys[key].owner][keys[key].field] = keys[key].read(value)
    if command == REGIME:
        burst = Burst(**fields[Burst])
        return RunSpec(**fields[RunSpec], burst=burst, schedules=burst.schedules)
    load = Load(**fields[Load]) if command == LATENCY else None
    return RunSpec(**fields[RunSpec], load=load)


def _slug(values: Sequence[JsonValue]) -> str:
    """Return what varies as a part of a file name."""
    texts = (" ".join(map(str, one)) if isinstance(one, list) else str(one) for one in values)
    return re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(texts))[:_LONGEST_SLUG].strip("-")
