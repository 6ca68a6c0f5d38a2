"""How results and progress look in a terminal.

Owns: Rich tables and progress bars.
Must not know: what the numbers mean.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable

from lpbench.report.table import Table


def print_table(table: Table) -> None:
    """Draw a table on stdout, 80 columns wide where there is no terminal to ask."""
    drawn = RichTable(
        title=table.title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for at, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if at in table.left else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    console().print(drawn)


def console() -> Console:
    """Return a console on stdout, without markup or highlighting."""
    return Console(
        file=sys.stdout,
        markup=False,
        highlight=False,
        width=None if sys.stdout.isatty() else 80,
    )


class ProgressBar:
    """Hears how far a run is and draws it on stderr."""

    def __init__(self, progress: Progress) -> None:
        """Draw on `progress`."""
        self._progress = progress
        self._task: TaskID | None = None

    def stage(self, name: str, total: float) -> None:
        """A part of the run begins."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total)

    def advance(self, amount: float) -> None:
        """So much of it is done."""
        if self._task is not None:
            self._progress.advance(self._task, amount)


@contextmanager
def progress_bar(*, shown: bool, counted: bool = False) -> Iterator[ProgressBar]:
    """Show progress on stderr while a run lasts; never where stderr is no terminal.

    It is shown in percent; `counted` shows how much is done of all.
    """
    on_stderr = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn() if counted else TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=on_stderr,
        transient=True,
        disable=not (shown and on_stderr.is_terminal),
    ) as progress:
        yield ProgressBar(progress)
