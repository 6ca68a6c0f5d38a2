"""`lpbench traffic`: the main job."""

from typing import Annotated

import typer

from lpbench.bench.spec import RunSpec
from lpbench.cli.options import Json, NoProgress, Output, Quiet, takes_run
from lpbench.errors import InvalidMeasurementError


@takes_run
def traffic(
    *,
    spec: RunSpec,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Print all bytes too: counted, modelled, measured.")
    ] = False,
    require_counters: Annotated[
        bool, typer.Option("--require-counters", help="Exit 77 unless DRAM bytes are measured.")
    ] = False,
    output: Output = None,
    json: Json = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Run the schedules on one workload and count what they read of the expert weights.

    Without options: a small built-in MoE on a built-in workload, chunked against layered prefill.
    Exit codes: 0 ok, 1 the run failed, 2 bad input, 5 the schedules computed different things, or
    what was measured is impossible or void, 77 a device or counters asked for are absent, 130
    interrupted.
    """
    from lpbench.analysis.checks import IMPOSSIBLE
    from lpbench.bench.traffic import Counters, run_traffic
    from lpbench.cli.output import open_store, show_record
    from lpbench.cli.render import progress_bar
    from lpbench.meters.catalogue import build_meter
    from lpbench.meters.meter import Meter
    from lpbench.report.ledger import ledger_tables
    from lpbench.report.traffic import finding, notes, traffic_table

    def find_counters(device: str) -> Meter | None:
        kind, _, index = device.partition(":")
        return build_meter("cupti", gpu=int(index or 0)) if kind == "cuda" else None

    counters = Counters(find=find_counters, required=require_counters)
    with progress_bar(shown=not (quiet or no_progress)) as progress:
        record = run_traffic(spec, lambda: open_store(output, json), progress, counters)
    tables = [traffic_table(record), *(ledger_tables(record) if ledger else ())]
    show_record(record, tables, (finding(record), *notes(record)), json=json, quiet=quiet)
    if record.audit is not None and not record.audit.is_sound:
        raise InvalidMeasurementError("the schedules did not compute the same; see the audit")
    for arm in record.arms:
        if any(one.code == IMPOSSIBLE for one in arm.warnings):
            raise InvalidMeasurementError(f"{arm.label}: bytes over time exceed the device's peak")
        dram = arm.metrics["dram_bytes_read"]
        if require_counters and dram.validity != "valid":
            codes = ", ".join(dram.reasons)
            msg = f"--require-counters: {arm.label} has no valid DRAM bytes ({codes})"
            raise InvalidMeasurementError(msg)
