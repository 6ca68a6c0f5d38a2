"""`lpbench latency`: requests that arrive over time."""

from dataclasses import replace
from typing import Annotated

import typer

from lpbench.bench.spec import Load, RunSpec
from lpbench.cli.options import Json, NoProgress, Output, Quiet, takes_run

_DEFAULTS = Load()


@takes_run
def latency(
    *,
    spec: RunSpec,
    request_rate: Annotated[
        float | None,
        typer.Option(
            help="Requests per second; inf for all at once. With --find-rate where it starts.",
            show_default="as the workload states, else all at once",
        ),
    ] = None,
    burstiness: Annotated[
        float, typer.Option(help="Shape of the gamma distributed gaps; 1 is a Poisson process.")
    ] = _DEFAULTS.burstiness,
    duration: Annotated[
        float | None,
        typer.Option(help="Only requests that arrive in so many seconds.", show_default="all"),
    ] = None,
    num_warmups: Annotated[
        int, typer.Option(help="First requests that are served and not measured.")
    ] = _DEFAULTS.num_warmups,
    goodput: Annotated[
        list[str] | None,
        typer.Option(
            help="ttft:MS and tbt:MS, repeatable: what a request must keep, every gap of it.",
            show_default=False,
        ),
    ] = None,
    find_rate: Annotated[
        bool,
        typer.Option(
            "--find-rate",
            help="Find the highest rate at which 90 % of the requests keep --goodput.",
        ),
    ] = False,
    output: Output = None,
    json: Json = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Serve requests that arrive over time and say how long each waited.

    With --executor roofline nothing runs: the schedules carry out the same
    plans on a virtual clock, for models and devices that are not here.

    With --find-rate every schedule is served at rates of its own, up and down
    from --request-rate (1), until the highest one is known to 1 %. At each rate
    the lengths and the shape of the gaps are the same; --duration then says how
    many requests are drawn. Arms at different rates compare by their rate alone.

    Exit codes: 0 ok, 1 the run failed, 2 bad input, 77 the device is absent,
    130 interrupted.
    """
    from lpbench.analysis.slo import parse_slo
    from lpbench.bench.latency import run_latency
    from lpbench.cli.output import open_store, show_record
    from lpbench.cli.render import progress_bar
    from lpbench.report.latency import latency_notes, latency_table
    from lpbench.report.spread import spread_tables

    load = Load(
        request_rate=request_rate,
        burstiness=burstiness,
        duration_s=duration,
        num_warmups=num_warmups,
        slo=tuple(parse_slo(goodput or ()).items()),
        find_rate=find_rate,
    )
    with progress_bar(shown=not (quiet or no_progress)) as progress:
        record = run_latency(replace(spec, load=load), lambda: open_store(output, json), progress)
    tables = (latency_table(record), *(() if quiet else spread_tables(record)))
    show_record(record, tables, latency_notes(record), json=json, quiet=quiet)
