"""`lpbench list`: the catalogues."""

from typing import Annotated

import typer


def list_(
    what: Annotated[
        str, typer.Argument(help="models | devices | workloads | suites | schedules | meters")
    ],
) -> None:
    """List what is known by name: models, devices, workloads, suites, schedules, meters."""
    from lpbench.cli.render import print_table
    from lpbench.errors import InputError
    from lpbench.registry import Registry
    from lpbench.report.catalogue import (
        devices_table,
        meters_table,
        models_table,
        schedules_table,
        suites_table,
        workloads_table,
    )

    tables = Registry(
        "catalogue",
        {
            "models": models_table,
            "devices": devices_table,
            "workloads": workloads_table,
            "suites": suites_table,
            "schedules": schedules_table,
            "meters": meters_table,
        },
        error=InputError,
    )
    print_table(tables.get(what)())
