"""`lpbench energy`: joules per token."""

from typing import Annotated

import typer

from lpbench.bench.campaign import Campaign
from lpbench.bench.spec import RunSpec
from lpbench.cli.options import Json, NoProgress, Output, Quiet, takes_run
from lpbench.errors import InputError, InvalidMeasurementError
from lpbench.registry import unknown


@takes_run
def energy(
    *,
    spec: RunSpec,
    meter: Annotated[
        list[str] | None,
        typer.Option(
            help="nvml | rapl: what measures the joules.",
            show_default="nvml on cuda, rapl on cpu",
        ),
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(help="Seconds after loading; fewer blocks fit.", show_default="8 blocks"),
    ] = None,
    output: Output = None,
    json: Json = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Measure the joules per token of the schedules on one workload.

    Every schedule runs in windows of the same work, 10 s or longer, in 8 blocks forwards and back;
    the first one also runs against itself (A/A), which shows the noise.
    Exit codes: 0 ok, 1 the run failed, 2 bad input, 5 no valid windows, 77 no joule meter or no
    device, 130 interrupted.
    """
    from lpbench.bench.energy import JOULE_METERS, run_energy
    from lpbench.cli.output import open_store, show_record
    from lpbench.cli.render import progress_bar
    from lpbench.meters.catalogue import build_meter
    from lpbench.meters.meter import Meter
    from lpbench.report.energy import energy_table, finding, notes

    chosen = _choose(meter or [], known=tuple(JOULE_METERS.values()))

    def find_meter(device: str) -> Meter:
        kind, _, index = device.partition(":")
        return build_meter(chosen or JOULE_METERS[kind], gpu=int(index or 0))

    with progress_bar(shown=not (quiet or no_progress)) as progress:
        record = run_energy(
            spec,
            Campaign(budget=time_budget),
            find_meter,
            lambda: open_store(output, json),
            progress,
        )
    show_record(
        record, [energy_table(record)], (finding(record), *notes(record)), json=json, quiet=quiet
    )
    if any(arm.metrics["joules_per_total_token"].value is None for arm in record.arms):
        msg = "a schedule has no block of valid windows; each window in the record says why"
        raise InvalidMeasurementError(msg)


def _choose(names: list[str], *, known: tuple[str, ...]) -> str | None:
    """Return the joule meter that was asked for; None where none was."""
    for name in names:
        if name not in known:
            raise InputError(unknown("joule meter", name, known=known))
    if len(names) > 1:
        msg = f"--meter {' and '.join(names)}: joules of one run come from one meter"
        raise InputError(msg)
    return names[0] if names else None
