"""`lpbench trace`: a recorded run as a Perfetto file."""

from pathlib import Path
from typing import Annotated

import typer

from lpbench.cli.options import NoProgress

SUFFIX = ".pftrace"


def trace(
    run: Annotated[Path, typer.Argument(help="A run's folder, as --output DIR leaves it.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            help=f"The file, whose name ends in {SUFFIX}; one that is there is replaced.",
            show_default=f"RUN/trace{SUFFIX}",
        ),
    ] = None,
    most_iterations: Annotated[
        int,
        typer.Option(help="Iterations drawn at most: of each arm the first, in equal shares."),
    ] = 200_000,
    no_progress: NoProgress = False,
) -> None:
    """Write what happened in a run, and when, as a file for ui.perfetto.dev.

    Of every arm, from its own zero: iterations and the segments in them,
    tiles by layers, each request's life (queue, prefill, tokens, preemption),
    expert bytes, decodes and prompt tokens as counters. Where it was measured,
    power in the windows of an energy campaign, DRAM bandwidth in those of a
    counter pass.

    What a run has not recorded gets no track. A failed run is drawn as far as
    it went. Needs the extra `trace`.

    Exit codes: 0 written, 1 the disk is full, 2 no run with iterations, 77
    the extra is not installed.
    """
    from lpbench.cli.output import check_trace
    from lpbench.cli.render import console, progress_bar
    from lpbench.errors import InputError, UnavailableError
    from lpbench.record.store import find_runs, open_atomically, read_record
    from lpbench.units import format_bytes

    try:
        from lpbench.report.trace.draw import draw_run
    except ModuleNotFoundError as error:
        msg = f"package {error.name!r} is not installed: pip install 'lpbench[trace]' brings it"
        raise UnavailableError(msg) from None
    if most_iterations < 1:
        raise InputError(
            f"--most-iterations {most_iterations} is out of range; accepted: 1 or more"
        )
    found = find_runs(run)
    if len(found) > 1:
        raise InputError(f"{run} holds {len(found)} runs; give one of them, such as {found[0]}")
    record = read_record(found[0])
    folder = found[0] if found[0].is_dir() else found[0].parent
    output = output or folder / f"trace{SUFFIX}"
    check_trace(output, suffix=SUFFIX)
    with (
        progress_bar(shown=not no_progress) as progress,
        open_atomically(output) as file,
    ):
        drawn = draw_run(folder, record, file, most_iterations=most_iterations, listener=progress)
    arms = ", ".join(f"{number} of {label}" for label, number in drawn.iterations.items())
    said = console()
    said.print(f"{output}: {format_bytes(output.stat().st_size)}, iterations: {arms}")
    for note in drawn.notes:
        said.print(note)
    said.print("Open it in ui.perfetto.dev: it is read in the browser and sent nowhere.")
