"""`lpbench calibrate`: the roofline's coefficients, fitted to measured runs."""

from pathlib import Path
from typing import Annotated

import typer

from lpbench.bench.spec import DEFAULT_COEFFICIENTS


def calibrate(
    *,
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders that traffic, energy or latency left (--output), of one device.",
            show_default=False,
        ),
    ],
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="A run that is not fitted, repeatable: errors are of it.",
            show_default="one block of ten passes in five",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="What the runs ran on: catalogue name or TOML file (lpbench doctor --measure).",
            show_default="as the records say",
        ),
    ] = None,
    coefficients: Annotated[
        str, typer.Option(help="The set to begin with: ideal, kernels, or a TOML file.")
    ] = DEFAULT_COEFFICIENTS,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint folder of a run's model, repeatable; not for catalogue models.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the set to this TOML file, a new one: --coefficients of the roofline.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fit the roofline's coefficients to measured runs, and say how well they fit.

    Exit codes: 0 ok, 2 bad input.
    """
    from lpbench.bench.calibration import calibrate as fit
    from lpbench.bench.observed import check_device, check_once, find_run_device, read_run
    from lpbench.cli.output import check_new_toml, write_text
    from lpbench.cli.render import console, print_table
    from lpbench.executors.roofline.coefficients import coefficient_names, find_coefficients
    from lpbench.record.store import find_runs
    from lpbench.report.calibrate import calibrate_notes, coefficients_table, errors_table
    from lpbench.shape.catalogue import find_shape
    from lpbench.shape.device import find_device

    if output is not None:
        check_new_toml(output, option="--output", taken=coefficient_names())
    start = find_coefficients(coefficients)
    named = None if device is None else find_device(device)
    shapes = {shape.name: shape for shape, _ in map(find_shape, model or ())}
    fitted, others = (
        [path for place in places for path in find_runs(place)] for places in (runs, held_out or ())
    )
    check_once([*fitted, *others])
    seen, unseen = ([read_run(one, shapes=shapes) for one in some] for some in (fitted, others))
    on = find_run_device(seen) if named is None else named
    check_device([*seen, *unseen], on)
    found = fit(
        seen,
        device=on,
        start=start,
        name="calibrated" if output is None else output.stem,
        held_out=unseen,
    )
    if output is not None:
        write_text(str(output), found.to_toml())
    for table in (coefficients_table(found), errors_table(found)):
        print_table(table)
    for line in calibrate_notes(found):
        console().print(line)
