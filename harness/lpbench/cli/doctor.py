"""`lpbench doctor`: what can be measured here."""

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    *,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="METER (lpbench list meters), repeatable: exit 77 where it is not available.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        Path | None,
        typer.Option(
            help="Measure this CPU (some seconds) and write it to this TOML file: a --device of "
            "the roofline.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(help="Write the findings to this file; - for stdout.", show_default=False),
    ] = None,
) -> None:
    """Say what can be measured here, and for what cannot, why and the fix.

    Exit codes: 0 always, but 77 where a meter that --require names is not available.
    """
    from lpbench.bench.cpu import device_toml, measure_cpu
    from lpbench.bench.doctor import check_required, diagnose
    from lpbench.cli.output import STDOUT, check_new_toml, write_text
    from lpbench.cli.render import console, print_table
    from lpbench.meters.catalogue import METERS
    from lpbench.record.store import check_writable
    from lpbench.report.doctor import device_table, doctor_notes, doctor_tables
    from lpbench.shape.device import device_names

    required = require or []
    for name in required:
        METERS.get(name)
    if json and json != STDOUT:
        check_writable(Path(json))
    if measure is not None:
        check_new_toml(measure, option="--measure", taken=device_names())
        typer.echo("lpbench: measuring the CPU, about 10 s", err=True)
        measured = measure_cpu(name=measure.stem)
        write_text(str(measure), device_toml(measured))
        if json != STDOUT:
            print_table(device_table(measured))
    diagnosis = diagnose()
    if json:
        write_text(json, diagnosis.to_json())
    if json != STDOUT:
        for table in doctor_tables(diagnosis):
            print_table(table)
        for line in doctor_notes(diagnosis):
            console().print(line)
    check_required(diagnosis, required)
