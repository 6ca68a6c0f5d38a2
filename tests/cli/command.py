"""The command line as the tests run it: in this process, or as one of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import IO, Any, TypeAlias

import pytest

from lpbench.cli.app import main
from lpbench.record.schema import Record

OK, FAILED, BAD_INPUT, REGRESSION, INCONCLUSIVE = 0, 1, 2, 3, 4
INVALID, UNAVAILABLE, INTERRUPTED = 5, 77, 130

TERMINAL_VARIABLES = (
    "CLICOLOR_FORCE",
    "COLUMNS",
    "FORCE_COLOR",
    "GITHUB_ACTIONS",
    "NO_COLOR",
    "PY_COLORS",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)
"""Variables with which a shell or a CI changes what Rich and Typer print."""

Argument: TypeAlias = str | bytes | Path
Lines: TypeAlias = Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


CommandLine: TypeAlias = Callable[..., Result]
"""Takes the arguments after `lpbench`."""


def call(*arguments: str | Path) -> Result:
    """Run `lpbench ...` in this process."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in TERMINAL_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setattr(sys, "argv", ["lpbench", *map(str, arguments)])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
            main()
    code = caught.value.code
    assert code is None or isinstance(code, int)
    return Result(code or OK, out.getvalue(), err.getvalue())


def start(
    *arguments: Argument,
    program: Sequence[str] = ("-m", "lpbench"),
    stdout: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start `python -m lpbench`, or another Python program, with these arguments."""
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        env=environment(),
    )


def run(*arguments: Argument) -> Result:
    """Run `python -m lpbench` to its end."""
    return finish(start(*arguments))


def finish(process: subprocess.Popen[str], *, timeout: float = 120) -> Result:
    """Wait for a process that `start` began."""
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return Result(process.returncode, out or "", err)


def environment() -> dict[str, str]:
    """Return this process' environment without what changes the output."""
    return {key: value for key, value in os.environ.items() if key not in TERMINAL_VARIABLES}


def one_line(err: str) -> str:
    """Return the message of an error, which must be one line."""
    assert err.startswith("lpbench: "), err
    assert err.endswith("\n"), err
    assert 1 == err.count("\n"), err
    return err.removeprefix("lpbench: ").rstrip("\n")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder, with the bytes of the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def write_lines(path: Path, *lines: Mapping[str, object]) -> Path:
    """Write JSON objects, one a line."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON objects, one a line; the last line is whole too."""
    text = path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def record_of(text: str) -> Record:
    """Return the record that a text is, and nothing besides."""
    return Record.model_validate_json(text)


def refused(lpbench: CommandLine, folder: Path, *arguments: Argument, code: int = BAD_INPUT) -> str:
    """Return the line with which `lpbench traffic` refuses, leaving `folder` as it was."""
    before = contents(folder)
    places = ("--output", folder / "run", "--json", folder / "record.json")
    result = lpbench("traffic", *arguments, *places)
    assert (code, "") == (result.code, result.out), result.err
    line = one_line(result.err)
    assert before == contents(folder)
    return line
