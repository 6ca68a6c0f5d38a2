"""`lpbench sweep`: a grid of runs that can be taken up again."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpbench.cli.options import NoProgress, Quiet
from lpbench.errors import InvalidMeasurementError, RunError

if TYPE_CHECKING:
    from lpbench.bench.suite import Suite
    from lpbench.bench.summary import Row
    from lpbench.report.regime import Spot


def sweep(
    *,
    suite: Annotated[
        str, typer.Argument(help="A shipped suite (lpbench list suites) or a TOML file.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="The sweep's own folder: absent, empty, or the one to go on in.",
            show_default=False,
        ),
    ],
    workers: Annotated[
        int | None,
        typer.Option(help="Cells at a time.", show_default="one a core; 1 for the torch executor"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells again that ended in an error.")
    ] = False,
    json: Annotated[
        str | None,
        typer.Option(help="Write the summary to this file; - for stdout.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Run every cell of a suite, a grid of runs, and sum them up in one table.

    In DIR: cells/ID is a run of its own for every complete cell, failed/ID
    one that failed, summary.csv and summary.jsonl have a row per cell and
    schedule. Of a regime map also map.csv and map.svg, the map as figures
    and as a picture; the picture needs the extra `report`.

    Started again on the same DIR, a sweep that was cut short, even by
    kill -9, goes on: complete cells stay, those under way run again, those
    that failed run again with --retry-failed.

    A cell whose options do not go together, as a model and a device it does
    not fit, is refused: it is named with its reason and the others run. An
    unknown name or key, or a value out of range, ends the sweep before
    anything runs.

    Exit codes: 0 ok, refused cells included; 1 a cell failed, or the disk is
    full; 2 bad input, another suite in DIR, or no cell that can run; 5 a
    cell's measurement is void; 77 the device of all cells is absent; 130
    interrupted.
    """
    from lpbench.bench.cells import open_cells
    from lpbench.bench.keys import REGIME
    from lpbench.bench.suite import find_suite
    from lpbench.bench.summary import SUMMARY, to_lines
    from lpbench.bench.sweep import Sweep, cells_at_a_time, check_cells
    from lpbench.cli.output import STDOUT, write_text
    from lpbench.cli.render import progress_bar
    from lpbench.record.store import check_writable, write_atomically
    from lpbench.report.regime import regime_csv, spots_of
    from lpbench.report.sweep import summary_csv, summary_json

    found = find_suite(suite)
    workers = cells_at_a_time(found, workers)
    if json and json != STDOUT:
        check_writable(Path(json))
    shown = not (quiet or no_progress)
    with progress_bar(shown=shown) as progress:
        checked = check_cells(found, progress)
    with open_cells(output, found, checked.resolved) as store:
        one = Sweep(found, store, checked.refused)
        for line in filter(None, (store.caution, None if quiet else one.said)):
            sys.stderr.write(f"lpbench: {line}\n")
        try:
            with progress_bar(shown=shown, counted=True) as progress:
                one.run(workers=workers, retry_failed=retry_failed, listener=progress)
        finally:
            rows = one.rows()
            write_atomically(output / SUMMARY, to_lines(rows))
            write_atomically(output / "summary.csv", summary_csv(rows))
            if found.command == REGIME:
                write_atomically(output / "map.csv", regime_csv(spots_of(rows)))
    if found.command == REGIME and (spots := spots_of(rows)):
        drawn = _draw(spots, output / "map.svg")
        if not quiet:
            sys.stderr.write(f"lpbench: {drawn}\n")
    if json:
        write_text(json, summary_json(found.name, found.hash, rows))
    if json != STDOUT:
        _show(found, rows, quiet=quiet)
    ended = Counter(row.status for row in {row.cell: row for row in rows}.values())
    if ended["failed"]:
        msg = f"{ended['failed']} of {len(found.cells)} cells failed; see {output / 'failed'}"
        raise RunError(f"{msg}; --retry-failed runs them again")
    if ended["invalid"]:
        msg = f"what {ended['invalid']} of {len(found.cells)} cells measured proves nothing"
        raise InvalidMeasurementError(msg)


def _draw(spots: "tuple[Spot, ...]", path: Path) -> str:
    """Draw the map and return where it is, or what draws it."""
    from lpbench.record.store import write_atomically

    try:
        from lpbench.report.heatmap import heatmap_svg
    except ModuleNotFoundError:
        return f"{path.name} not drawn: pip install 'lpbench[report]' draws it"
    write_atomically(path, heatmap_svg(spots))
    return f"the map is drawn in {path}"


def _show(suite: "Suite", rows: "tuple[Row, ...]", *, quiet: bool) -> None:
    """Print the summary, or of points of the regime map the map."""
    from lpbench.bench.keys import REGIME
    from lpbench.cli.render import console, print_table
    from lpbench.report.regime import regime_notes, regime_tables, spots_of
    from lpbench.report.sweep import cell_notes, sweep_notes, sweep_tables

    spots = spots_of(rows) if suite.command == REGIME else ()
    for table in regime_tables(spots) if spots else sweep_tables(suite.name, rows):
        print_table(table)
    for line in cell_notes(rows) if quiet else sweep_notes(rows):
        console().print(line)
    for line in regime_notes(spots) if spots and not quiet else ():
        console().print(line)
