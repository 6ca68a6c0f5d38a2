"""Where results go: the run's folder, a file, stdout.

Owns: what --output, --json and --quiet mean.
Must not know: how a table is drawn, what is in a record.
"""

import sys
from pathlib import Path

from lpbench.cli.render import console, print_table
from lpbench.record.schema import Record
from lpbench.record.store import RunStore, write_atomically
from lpbench.report.ledger import ledger_tables
from lpbench.report.traffic import finding, notes, traffic_table

STDOUT = "-"


def open_store(output: Path | None, json: str | None) -> RunStore:
    """Claim the places the record goes to.

    Raises:
        InputError: one cannot be written.
    """
    return RunStore(output=output, json=Path(json) if json and json != STDOUT else None)


def show_record(record: Record, *, json: str | None, quiet: bool, ledger: bool) -> None:
    """Print the table, the ledger if asked, and the finding; or the record with `--json -`."""
    if json == STDOUT:
        sys.stdout.write(record.to_json())
        return
    for table in (traffic_table(record), *(ledger_tables(record) if ledger else ())):
        print_table(table)
    if quiet:
        return
    for line in (finding(record), *notes(record)):
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
