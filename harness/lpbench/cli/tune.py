"""`lpbench tune`: the fastest tiles of the expert kernels on this GPU, for later runs."""

from typing import Annotated

import typer

from lpbench.bench.spec import DEFAULT_MODEL
from lpbench.cli.options import Model, NoProgress


def tune(
    *,
    model: Model = DEFAULT_MODEL,
    dtype: Annotated[str, typer.Option(help="bfloat16 | mxfp4.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="cuda | cuda:N.")] = "cuda",
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Rows of a batch, powers of two; a batch takes the tiles of the next one.",
            show_default="1,2,4 and so on to 8192",
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(help="Write the findings to this file; - for stdout.", show_default=False),
    ] = None,
    no_progress: NoProgress = False,
) -> None:
    """Tune the tiles of the expert kernels (--kernels triton) for this GPU, model and Triton.

    Drawn weights serve, whatever the model. What is faster than the shipped
    tiles goes to expert-tiles.json in $LPBENCH_CACHE, else in lpbench of
    $XDG_CACHE_HOME or ~/.cache; runs take it from there and say so in their
    record. Expect a few minutes: about a hundred kernels are compiled. What
    was finished is kept when it is interrupted.

    Exit codes: 0 ok, 1 it failed, 2 bad input, 77 the device is absent, 130
    interrupted.
    """
    from pathlib import Path

    from lpbench.bench.tune import run_tuning
    from lpbench.cli.output import STDOUT, write_text
    from lpbench.cli.render import console, print_table, progress_bar
    from lpbench.record.store import check_writable
    from lpbench.report.tune import tuning_notes, tuning_table

    if json and json != STDOUT:
        check_writable(Path(json))
    with progress_bar(shown=not no_progress) as progress:
        tuning = run_tuning(model, dtype=dtype, device=device, rows=rows, listener=progress)
    if json:
        write_text(json, tuning.to_json())
    if json != STDOUT:
        print_table(tuning_table(tuning))
        for line in tuning_notes(tuning):
            console().print(line)
