"""`lpbench traffic`: the main job."""

from pathlib import Path
from typing import Annotated

import typer

from lpbench.bench.spec import DEFAULT_MODEL, DEFAULT_SCHEDULES, DEFAULT_WORKLOAD, RunSpec

MEASUREMENT_INVALID = 5
_DEFAULTS = RunSpec()


def traffic(
    *,
    model: Annotated[
        str, typer.Option(help="Catalogue name (lpbench list models) or checkpoint folder.")
    ] = DEFAULT_MODEL,
    load_format: Annotated[
        str, typer.Option(help="auto | dummy: dummy draws the weights from the seed.")
    ] = _DEFAULTS.load_format,
    routing: Annotated[
        str | None,
        typer.Option(
            help="model | calibrated | uniform. Default: model for a checkpoint, else calibrated.",
            show_default=False,
        ),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME[:key=value,...], repeatable; the first is the baseline.",
            show_default=" and ".join(DEFAULT_SCHEDULES),
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option(help="Catalogue name or TOML file.", show_default=DEFAULT_WORKLOAD),
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(help="A requests.jsonl, one request a line.", show_default=False)
    ] = None,
    num_prompts: Annotated[
        int | None,
        typer.Option(help="Only the first N requests, or N equal ones.", show_default="all"),
    ] = None,
    input_len: Annotated[
        int | None,
        typer.Option(help="Prompt tokens of equal requests, all at once.", show_default=False),
    ] = None,
    output_len: Annotated[
        int | None, typer.Option(help="Output tokens of equal requests.", show_default=False)
    ] = None,
    executor: Annotated[
        str, typer.Option(help="What carries the plans out: torch.")
    ] = _DEFAULTS.executor,
    device: Annotated[
        str | None,
        typer.Option(help="cpu | cuda | cuda:N.", show_default="cuda where present"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 | bfloat16.", show_default="bfloat16 on cuda, float32 on cpu"),
    ] = None,
    max_num_seqs: Annotated[
        int, typer.Option(help="Admitted and unfinished requests at most.")
    ] = _DEFAULTS.max_num_seqs,
    num_kv_pages: Annotated[
        int | None,
        typer.Option(help="KV pages of 16 tokens.", show_default="what the memory allows"),
    ] = None,
    gpu_memory_utilization: Annotated[
        float,
        typer.Option(help="Share of a GPU's memory to use, for KV pages too; nothing on a CPU."),
    ] = _DEFAULTS.gpu_memory_utilization,
    seed: Annotated[
        int, typer.Option(help="Of weights, prompt ids and routing draws.")
    ] = _DEFAULTS.seed,
    output: Annotated[
        Path | None,
        typer.Option(help="The run's own folder: absent or empty.", show_default=False),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(help="Write the record to this file; - for stdout.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option(help="Print the table alone.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
) -> None:
    """Run the schedules on one workload and count what they read of the expert weights.

    Without options: a small built-in MoE on a built-in workload, chunked against layered prefill.
    Exit codes: 0 ok, 1 the run failed, 2 bad input, 5 the schedules computed different things,
    77 device absent, 130 interrupted.
    """
    from lpbench.bench.traffic import run_traffic
    from lpbench.cli.output import open_store, show_record
    from lpbench.cli.render import progress_bar

    spec = RunSpec(
        model=model,
        load_format=load_format,
        routing=routing,
        schedules=tuple(schedule) if schedule else DEFAULT_SCHEDULES,
        workload=workload,
        requests=requests,
        num_prompts=num_prompts,
        input_len=input_len,
        output_len=output_len,
        executor=executor,
        device=device,
        dtype=dtype,
        max_num_seqs=max_num_seqs,
        num_kv_pages=num_kv_pages,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
    )
    with progress_bar(shown=not (quiet or no_progress)) as progress:
        record = run_traffic(spec, lambda: open_store(output, json), progress)
    show_record(record, json=json, quiet=quiet)
    if record.audit is not None and not record.audit.is_sound:
        raise typer.Exit(MEASUREMENT_INVALID)
