"""Writing and reading records: whole, or marked failed, never half there.

Owns: the run's folder, atomic writes, the messages for a file that cannot be written or read.
Must not know: what is in a record.

A run's folder holds run.json from the first moment on, marked failed; it is replaced when the run
is complete. A run that is killed therefore leaves a record that says so.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import BinaryIO, Self, cast

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from lpbench.errors import InputError, NotWrittenError, RunError
from lpbench.record.schema import SCHEMA_VERSION, Record


class RunStore:
    """Where one run is written: its folder, a JSON file, both or neither."""

    def __init__(self, *, output: Path | None, json: Path | None) -> None:
        """Check that the run can be written, before it starts; nothing is made yet.

        Args:
            output: the run's own folder: absent or empty.
            json: where the record goes besides.

        Raises:
            InputError: a folder that is not empty, no folder, or not writable.
        """
        if output is not None:
            _check_folder(output)
        if json is not None:
            check_writable(json)
        self._output = output
        self._json = json
        self._lines: dict[str, LineFile] = {}
        self._is_ours = False

    def write(self, record: Record) -> None:
        """Write the record, replacing what was written before.

        Raises:
            RunError: the disk is full, or the like, or another run has taken the folder meanwhile.
        """
        if self._output is not None:
            _make_folder(self._output)
            path = self._output / "run.json"
            if self._is_ours:
                write_atomically(path, record.to_json())
            else:
                _claim(path)
                try:
                    write_atomically(path, record.to_json())
                except RunError:
                    path.unlink(missing_ok=True)  # an empty file is no record
                    raise
                self._is_ours = True
        if self._json is not None:
            write_atomically(self._json, record.to_json())

    def lines(self, name: str) -> "LineFile":
        """Return a file of the run's folder that is written line by line, such as a log.

        A name may have a folder before it, such as samples/power.jsonl.

        Without a folder the lines go nowhere.
        """
        if name not in self._lines:
            path = None if self._output is None else self._output / name
            if path is not None and path.parent != self._output:
                _make_folder(path.parent)
            self._lines[name] = LineFile(path)
        return self._lines[name]

    def __enter__(self) -> Self:
        """Open nothing: files open with their first line."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every line file."""
        for lines in self._lines.values():
            lines.close()


class LineFile:
    """JSON objects, one a line, each written whole."""

    def __init__(self, path: Path | None) -> None:
        """Create the file at `path`; None writes nowhere."""
        self._path = path
        self._file: int | None = None

    def append(self, values: Iterable[Mapping[str, JsonValue]]) -> None:
        """Write `values`, one a line.

        Raises:
            RunError: the disk is full, or the like; the lines of this call are taken back.
        """
        if self._path is None:
            return
        text = b"".join(to_json(value) + b"\n" for value in values)
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
            before = os.fstat(self._file).st_size
            try:
                if os.write(self._file, text) < len(text):
                    os.ftruncate(self._file, before)
                    raise _not_written(self._path, "no space left on device")
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, before)
                raise
        except OSError as error:
            raise _not_written(self._path, error.strerror) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that is there only when all of it is.

    Raises:
        RunError: the disk is full, or the like; the file is as it was before.
    """
    temporary: Path | None = None
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            yield cast("BinaryIO", file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _not_written(path, error.strerror) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text in UTF-8.

    Raises:
        RunError: the disk is full, or the like; the file is as it was before.
    """
    with open_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append_text(path: Path, text: str) -> None:
    """Append to a file that others append to as well.

    Raises:
        RunError: the disk is full, or the like.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text.encode(errors="backslashreplace").decode())
    except OSError as error:
        raise _not_written(path, error.strerror) from error


def read_record(path: Path) -> Record:
    """Read a record: a run.json, or the folder that holds it.

    Raises:
        InputError: no such file, not JSON, another schema version, or not a record.
    """
    try:
        file = path / "run.json" if path.is_dir() else path
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"record {path} does not exist"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"record {path} cannot be read: {error}"
        raise InputError(msg) from None
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        _refuse_version(path, text)
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        msg = f"{path} is no record of schema version {SCHEMA_VERSION}: {place}: {first['msg']}"
        raise InputError(msg) from None


def _refuse_version(path: Path, text: str) -> None:
    """Refuse a record of another schema version as such.

    Raises:
        InputError: it is one.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or version == SCHEMA_VERSION:
        return
    fix = "update lpbench" if version > SCHEMA_VERSION else "run it again"
    msg = (
        f"{path} is of schema version {str(version)[:20]}, this lpbench reads version "
        f"{SCHEMA_VERSION}; {fix}"
    )
    raise InputError(msg) from None


def read_runs(path: Path) -> tuple[Record, ...]:
    """Read the runs of one experiment: a record, a run's folder, or a folder of such folders.

    Raises:
        InputError: as `read_record`; or the folder holds no run.
    """
    return tuple(map(read_record, find_runs(path)))


def find_runs(path: Path) -> tuple[Path, ...]:
    """Return where the runs of one experiment are: `path`, or the folders in it that hold one.

    Raises:
        InputError: a folder that cannot be read or holds no run.
    """
    try:
        is_one = not path.is_dir() or (path / "run.json").exists()
        folders = [] if is_one else sorted(one.parent for one in path.glob("*/run.json"))
    except OSError as error:
        msg = f"record {path} cannot be read: {error.strerror}"
        raise InputError(msg) from None
    if not is_one and not folders:
        raise InputError(f"{path} holds no run.json, and no folder in it does")
    return (path,) if is_one else tuple(folders)


def check_writable(path: Path) -> None:
    """Check that a file can be written, without writing it.

    Raises:
        InputError: it is a folder, or its folder is not there or not writable.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a file")
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


def _check_folder(output: Path) -> None:
    """Check that a folder is empty, or can be made."""
    try:
        if os.path.lexists(output) and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"--output {output} is not an empty folder; name a new one")
        there = next(path for path in (output, *output.absolute().parents) if path.exists())
    except OSError as error:
        raise InputError(f"--output {output} cannot be written: {error.strerror}") from None
    if not there.is_dir():
        raise InputError(f"--output {output} cannot be written: {there} is not a folder")
    try:
        with NamedTemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"--output {output} cannot be written: {error.strerror}") from None


def _claim(path: Path) -> None:
    """Take a folder by making the file at `path`, which two runs cannot both do."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise RunError(f"{path.parent} was taken by another run; name a new folder") from None
    except OSError as error:
        raise _not_written(path, error.strerror) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(folder, error.strerror) from error


def _not_written(path: Path, reason: str | None) -> NotWrittenError:
    return NotWrittenError(f"{path} could not be written: {reason}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
