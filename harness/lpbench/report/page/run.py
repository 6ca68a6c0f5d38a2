"""What a report is made of: runs, sweeps and reproductions, found by what lies in a folder.

Owns: what a path stands for.
Must not know: what is shown of it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from lpbench.bench.summary import SUMMARY, Row
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.record.store import find_runs, read_record
from lpbench.report.page.log import Log, read_log

REPRODUCTION = "reproduce.json"

RECORD = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A record and the lines beside it.

    Attributes:
        name: of its folder or file.
        path: where it is.
        record: it.
    """

    name: str
    path: Path
    record: Record

    def log(self) -> Log:
        """Read its lines; a record alone has none."""
        return read_log(self.path) if self.path.is_dir() else Log()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The rows of a sweep."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The paper's tables beside ours, as `lpbench reproduce` wrote them."""

    name: str
    document: dict[str, JsonValue]


Source = Run | Sweep | Reproduction


def find_sources(paths: Sequence[Path]) -> tuple[Source, ...]:
    """Return what the paths stand for, in order, each once; a folder of runs stands for all.

    Raises:
        InputError: there is nothing, it cannot be read, or it is none of these.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        for place, source in _at(path):
            found.setdefault(place.resolve(), source)
    return tuple(found.values())


def _at(path: Path) -> Iterator[tuple[Path, Source]]:
    """Yield what a path stands for, and where each lies."""
    name = path.resolve().name
    if (path / SUMMARY).is_file():
        yield path, Sweep(name=name, rows=_rows(path / SUMMARY))
    elif (path / REPRODUCTION).is_file():
        yield path, Reproduction(name=name, document=_document(path / REPRODUCTION))
    elif path.is_file() and path.name == REPRODUCTION:
        yield path.parent, Reproduction(name=path.stem, document=_document(path))
    else:
        for one in find_runs(path):
            place = one.parent if one.name == RECORD else one  # its lines lie beside it
            yield place, Run(name=place.resolve().name, path=place, record=read_record(one))


def _rows(path: Path) -> tuple[Row, ...]:
    try:
        with path.open("rb") as file:
            return tuple(map(Row.model_validate_json, file))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{path} is no summary of a sweep: {first['msg']}") from None


def _document(path: Path) -> dict[str, JsonValue]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is no JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("tables"), list):
        raise InputError(f"{path} is no reproduction: it has no tables")
    return document
