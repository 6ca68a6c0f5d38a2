"""Where results go: the run's folder, a file, stdout.

Owns: what --output, --json and --quiet mean.
Must not know: how a table is drawn, what is in a record.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from lpbench.cli.render import console, print_table
from lpbench.record.schema import Record
from lpbench.record.store import RunStore, write_atomically
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


def write_text(target: str, text: str) -> None:
    """Write to a file, or to stdout for "-".

    Raises:
        RunError: the file cannot be written.
    """
    if target == STDOUT:
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text)
