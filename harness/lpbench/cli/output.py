"""Where results go: the run's folder, a file, stdout.

Owns: what --output, --json and --quiet mean.
Must not know: how a table is drawn, what is in a record.
"""

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from lpbench.cli.render import console, print_table
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore, check_writable, write_atomically
from lpbench.report.table import Table

STDOUT = "-"


def open_store(output: Path | None, json: str | None) -> RunStore:
    """Claim the places the record goes to.

    Raises:
        InputError: one cannot be written.
    """
    return RunStore(output=output, json=Path(json) if json and json != STDOUT else None)


def show_record(
    record: Record, tables: Sequence[Table], said: Sequence[str], *, json: str | None, quiet: bool
) -> None:
    """Print the tables and what is said of them, or the record alone with `--json -`."""
    if json == STDOUT:
        sys.stdout.write(record.to_json())
        return
    for table in tables:
        print_table(table)
    if quiet:
        return
    for line in said:
        console().print(line)


def check_new_toml(path: Path, *, option: str, taken: Collection[str]) -> None:
    """Check that a TOML file can be made, whose name is what it will be called by.

    Raises:
        InputError: it is there already, ends otherwise, is named as one that ships, or cannot be
            written.
    """
    if path.suffix != ".toml":
        raise InputError(f"{option} {path}: accepted: a file name that ends in .toml")
    if path.stem in taken:
        raise InputError(f"{option} {path}: {path.stem!r} is one that ships; name it otherwise")
    if os.path.lexists(path):
        raise InputError(f"{option} {path} is there already; name a new file")
    check_writable(path)


def check_new_routing(path: Path, *, executor: str) -> None:
    """Check that a run's routing can be kept in a file.

    Raises:
        InputError: nothing is routed, the name would not be known as one, or it cannot be written.
    """
    if executor != "torch":
        raise InputError(f"--record-routing: with --executor {executor} nothing is routed")
    if path.suffix != ".npz":
        raise InputError(f"--record-routing {path}: accepted: a file name that ends in .npz")
    check_writable(path)


def check_trace(path: Path, *, suffix: str) -> None:
    """Check that a trace can be written; the name's end keeps it from replacing anything else.

    Raises:
        InputError: its name ends otherwise, or it cannot be written.
    """
    if path.suffix != suffix:
        raise InputError(f"--output {path}: accepted: a file name that ends in {suffix}")
    check_writable(path)


def write_text(target: str, text: str) -> None:
    """Write to a file, or to stdout for "-".

    Raises:
        RunError: the file cannot be written.
    """
    if target == STDOUT:
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text)
