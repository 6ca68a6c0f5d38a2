"""`lpbench traffic`: the main job."""

from pathlib import Path
from typing import Annotated

import typer

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
from lpbench.errors import InvalidMeasurementError


@takes_run
def traffic(
    *,
    spec: RunSpec,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Print all bytes too: counted, modelled, measured.")
    ] = False,
    meter: Annotated[
        list[str] | None,
        typer.Option(
            help="cupti | gpm | ncu, repeatable: what measures DRAM bytes on a GPU.",
            show_default="cupti, or gpm where that is not available",
        ),
    ] = None,
    require_counters: RequireCounters = False,
    require_energy: RequireEnergy = False,
    record_routing: Annotated[
        Path | None,
        typer.Option(
            help="Keep the experts of every row in this .npz, for --executor roofline --routing.",
            show_default=False,
        ),
    ] = None,
    output: Output = None,
    json: Json = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Run the schedules on one workload and count what they read of the expert weights.

    Without options: a small built-in MoE on a built-in workload, chunked
    against layered prefill. On a GPU its DRAM bytes are measured besides.
    With --executor roofline nothing runs: the same plans, modelled.

    Exit codes: 0 ok, 1 the run failed, 2 bad input, 5 the schedules computed
    different things or what was measured is impossible or void, 77 a device or
    meter asked for is absent, 130 interrupted.
    """
    from lpbench.analysis.checks import IMPOSSIBLE
    from lpbench.bench.dram import READINGS
    from lpbench.bench.instruments import BY_WINDOW, COUNTER_METERS, gpu_counters
    from lpbench.bench.instruments import require_energy as refuse_without_joules
    from lpbench.bench.traffic import run_traffic
    from lpbench.cli.output import check_new_routing, open_store, show_record
    from lpbench.cli.render import progress_bar
    from lpbench.report.ledger import ledger_tables
    from lpbench.report.measured import measured_notes, measured_tables
    from lpbench.report.traffic import finding, notes, traffic_table

    required = {"--require-counters": require_counters, "--require-energy": require_energy}
    refuse_measuring(spec, {"--meter": meter}, required=required)
    if record_routing is not None:
        check_new_routing(record_routing, executor=spec.executor)
    names = choose_meters("counter", meter or [], known=COUNTER_METERS)
    with progress_bar(shown=not (quiet or no_progress)) as progress:
        record = run_traffic(
            spec,
            lambda: open_store(output, json),
            progress,
            gpu_counters(names, required=require_counters),
            require=refuse_without_joules if require_energy else lambda _: None,
            record_routing=record_routing,
        )
    tables = [
        traffic_table(record),
        *measured_tables(record),
        *(ledger_tables(record) if ledger else ()),
    ]
    said = (finding(record), *measured_notes(record), *notes(record))
    show_record(record, tables, said, json=json, quiet=quiet)
    if record.audit is not None and not record.audit.is_sound:
        raise InvalidMeasurementError("the schedules did not compute the same; see the audit")
    for arm in record.arms:
        if any(one.code == IMPOSSIBLE for one in arm.warnings):
            raise InvalidMeasurementError(f"{arm.label}: bytes over time exceed the device's peak")
        for name in (names or BY_WINDOW[:1]) if require_counters else ():
            void = [arm.metrics[one] for one in READINGS[name] if arm.metrics[one].reasons]
            if void:
                codes = ", ".join(dict.fromkeys(code for one in void for code in one.reasons))
                msg = f"--require-counters: {arm.label} has no valid bytes by {name} ({codes})"
                raise InvalidMeasurementError(msg)
