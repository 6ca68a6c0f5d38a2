"""`lpbench energy`: joules per token."""

from typing import Annotated

import typer

from lpbench.bench.campaign import Campaign
from lpbench.bench.spec import RunSpec
from lpbench.cli.options import (
    Json,
    NoProgress,
    Output,
    Quiet,
    RequireCounters,
    RequireEnergy,
    choose_meters,
    refuse_measuring,
    takes_run,
)
from lpbench.errors import InputError, InvalidMeasurementError


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
    require_counters: RequireCounters = False,
    require_energy: RequireEnergy = False,
    output: Output = None,
    json: Json = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Measure the joules per token of the schedules on one workload.

    Every schedule runs in windows of the same work, 10 s or longer, in 8
    blocks forwards and back; the first one also runs against itself (A/A),
    which shows the noise. With --executor roofline nothing runs: the joules of
    the same plans are modelled, without windows.

    Exit codes: 0 ok, 1 the run failed, 2 bad input, 5 no valid windows, 77 no
    joule meter or no device, 130 interrupted.
    """
    from lpbench.bench.energy import run_energy
    from lpbench.bench.instruments import JOULE_METERS, joule_meter
    from lpbench.bench.instruments import require_counters as refuse_without_counters
    from lpbench.cli.output import open_store, show_record
    from lpbench.cli.render import progress_bar
    from lpbench.report.energy import energy_table, finding, notes

    required = {"--require-counters": require_counters, "--require-energy": require_energy}
    measuring = {"--meter": meter, "--time-budget": time_budget is not None}
    refuse_measuring(spec, measuring, required=required)
    chosen = choose_meters("joule", meter or [], known=tuple(JOULE_METERS.values()))
    if len(chosen) > 1:
        msg = f"--meter {' and '.join(chosen)}: joules of one run come from one meter"
        raise InputError(msg)
    with progress_bar(shown=not (quiet or no_progress)) as progress:
        record = run_energy(
            spec,
            Campaign(budget=time_budget),
            lambda device: joule_meter(next(iter(chosen), None), device),
            lambda: open_store(output, json),
            progress,
            require=refuse_without_counters if require_counters else lambda _: None,
        )
    show_record(
        record, [energy_table(record)], (finding(record), *notes(record)), json=json, quiet=quiet
    )
    if any(arm.metrics["joules_per_total_token"].value is None for arm in record.arms):
        msg = "a schedule has no block of valid windows; each window in the record says why"
        raise InvalidMeasurementError(msg)
