"""`lpbench bench-engine`: how fast the engine is, against what the device allows."""

from typing import Annotated

import typer

from lpbench.bench.spec import SIZES_ON_CPU, SIZES_ON_GPU, RunSpec
from lpbench.cli.options import (
    GpuMemory,
    Json,
    Kernels,
    LoadFormat,
    Model,
    NoProgress,
    Output,
    Quiet,
    Seed,
)

_DEFAULTS = RunSpec()


def _listed(counts: tuple[int, ...]) -> str:
    return ",".join(map(str, counts))


def bench_engine(
    *,
    model: Model = _DEFAULTS.model,
    load_format: LoadFormat = _DEFAULTS.load_format,
    routing: Annotated[
        str | None,
        typer.Option(
            help="model | calibrated | uniform. Default: model for a checkpoint, else calibrated.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Decodes of a pass, one size after another.",
            show_default=f"{_listed(SIZES_ON_GPU.batches)}; "
            f"on a CPU {_listed(SIZES_ON_CPU.batches)}",
        ),
    ] = None,
    context_len: Annotated[
        int | None,
        typer.Option(
            help="Tokens in the KV cache of each decode at the first pass.",
            show_default=f"{SIZES_ON_GPU.context_len}; on a CPU {SIZES_ON_CPU.context_len}",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Prompt tokens of a pass that is one whole prompt.",
            show_default=f"{_listed(SIZES_ON_GPU.prompts)}; "
            f"on a CPU {_listed(SIZES_ON_CPU.prompts)}",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Passes of each size that are timed; a p90 needs 64.",
            show_default=str(SIZES_ON_GPU.repeats),
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu | cuda | cuda:N.", show_default="cuda where present")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32 | bfloat16 | mxfp4.", show_default="float32 on cpu, bfloat16 on cuda"
        ),
    ] = None,
    kernels: Kernels = _DEFAULTS.kernels,
    gpu_memory_utilization: GpuMemory = _DEFAULTS.gpu_memory_utilization,
    seed: Seed = _DEFAULTS.seed,
    output: Output = None,
    json: Json = None,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Time passes of one size against the device's roofline, and say where their time goes.

    Passes of decodes alone, and of one whole prompt: time, host time, bytes and
    FLOPs, the least they can take at the peaks measured here at the start, and
    the kernels of one more pass under the profiler.

    Exit codes: 0 ok, 1 the run failed, 2 bad input, 77 the device is absent,
    130 interrupted.
    """
    from lpbench.bench.sizes import choose_sizes
    from lpbench.bench.speed import run_speed
    from lpbench.cli.output import open_store, show_record
    from lpbench.cli.render import progress_bar
    from lpbench.report.speed import speed_notes, speed_tables

    sizes = choose_sizes(
        device, batch=batch, context_len=context_len, prompt=prompt, repeats=repeats
    )
    spec = RunSpec(
        model=model,
        load_format=load_format,
        routing=routing,
        device=device,
        dtype=dtype,
        kernels=kernels,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
    )
    with progress_bar(shown=not (quiet or no_progress)) as progress:
        record = run_speed(spec, sizes, lambda: open_store(output, json), progress)
    show_record(record, speed_tables(record), speed_notes(record), json=json, quiet=quiet)
