"""`lpbench reproduce`: the paper's tables and figures beside what is modelled here."""

from pathlib import Path
from typing import Annotated

import typer

from lpbench.cli.options import NoProgress, Quiet


def reproduce(
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="Names such as table-6 or fig-3.", show_default="all"),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for reproduce.json and cells.csv: absent or empty.", show_default=False
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(
            help="Write the cells to this file as JSON; - for stdout.", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one a core")
    ] = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Put the paper's tables and figures beside what follows from bytes and FLOPs.

    Every figure of ours is modelled, by one set of coefficients for all of
    them. Beside each reported figure stands ours and the ratio, OFF where they
    are more than 25 % apart; of each table it is said whether ours follows,
    and why. A re-run of the authors' code by others is among the tables.

    Exit codes: 0 ok, whatever the verdicts; 1 a run failed; 2 bad input; 130
    interrupted.
    """
    from lpbench.analysis.agreement import agree
    from lpbench.analysis.reported import find_paper_tables
    from lpbench.bench.pool import pick_workers
    from lpbench.bench.reproduction import about
    from lpbench.bench.reproduction import reproduce as run
    from lpbench.cli.output import STDOUT, open_store, write_text
    from lpbench.cli.render import console, print_table, progress_bar
    from lpbench.record.store import write_atomically
    from lpbench.report.reproduce import (
        agreement_tables,
        closing_notes,
        heading,
        table_notes,
        to_csv,
        to_json,
        verdict_line,
    )

    wanted = find_paper_tables(tables or ())
    workers = pick_workers(workers)
    open_store(output, json)  # refuses what cannot be written
    with progress_bar(shown=not (quiet or no_progress), counted=True) as progress:
        ours = run(wanted, workers=workers, listener=progress)
    agreements = [
        agree(table, found.readings, cautions=found.cautions)
        for table in wanted
        for found in (ours[table.name],)
    ]
    document = to_json(agreements, about=about())
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(output / "cells.csv", to_csv(agreements))
        write_atomically(output / "reproduce.json", document)
    if json:
        write_text(json, document)
    if json == STDOUT:
        return
    say = console()
    for found in agreements:
        say.print(heading(found))
        for table in agreement_tables(found):
            print_table(table)
        for line in (verdict_line(found), *(() if quiet else table_notes(found))):
            say.print(line)
        say.print()
    for line in () if quiet else closing_notes(agreements):
        say.print(line)
