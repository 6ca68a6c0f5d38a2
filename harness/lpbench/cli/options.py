"""The options that all runs share, declared once.

Owns: their names, help and defaults on the command line, and the RunSpec they make.
Must not know: what a command does with it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from lpbench.bench.spec import DEFAULT_MODEL, DEFAULT_SCHEDULES, DEFAULT_WORKLOAD, RunSpec
from lpbench.cli.replicas import MOST, run_replicas
from lpbench.errors import InputError, UnavailableError
from lpbench.registry import unknown

Output = Annotated[
    Path | None, typer.Option(help="The run's own folder: absent or empty.", show_default=False)
]
Json = Annotated[
    str | None,
    typer.Option(help="Write the record to this file; - for stdout.", show_default=False),
]
Quiet = Annotated[bool, typer.Option(help="Print the table alone.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
RequireCounters = Annotated[
    bool,
    typer.Option("--require-counters", help="Exit 77 unless DRAM bytes can be measured here."),
]
RequireEnergy = Annotated[
    bool, typer.Option("--require-energy", help="Exit 77 unless joules can be measured here.")
]

Model = Annotated[
    str, typer.Option(help="Catalogue name (lpbench list models) or checkpoint folder.")
]
LoadFormat = Annotated[
    str, typer.Option(help="auto | dummy: dummy draws the weights from the seed.")
]
Kernels = Annotated[str, typer.Option(help="On a GPU: torch | triton, our own fused ones.")]
GpuMemory = Annotated[
    float,
    typer.Option(help="Share of a GPU's memory to use, for KV pages too; nothing on a CPU."),
]
Seed = Annotated[int, typer.Option(help="Of weights, prompt ids and routing draws.")]

_DEFAULTS = RunSpec()


def takes_run(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of a run where `command` takes its `spec`.

    Typer reads a command's options from its signature; the result's has those of `_run_spec`, then
    `command`'s own, then how often it runs.
    """
    shared = inspect.signature(_run_spec, eval_str=True).parameters
    own = dict(inspect.signature(command, eval_str=True).parameters)
    del own["spec"]

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - as Typer passes them
        options = {name: given.pop(name) for name in shared}
        num_runs = given.pop("num_runs")
        if not 1 <= num_runs <= MOST:
            raise InputError(f"--num-runs {num_runs} is out of range; accepted: 1 to {MOST}")
        if num_runs == 1:
            command(spec=_run_spec(**options), **given)
            return
        run_replicas(num_runs, output=given["output"], json=given["json"], quiet=given["quiet"])

    replicas = inspect.signature(_num_runs, eval_str=True).parameters
    signature = inspect.Signature([*shared.values(), *own.values(), *replicas.values()])
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def _num_runs(
    *,
    num_runs: Annotated[
        int, typer.Option(help="Processes, each a run of its own in a folder of --output.")
    ] = 1,
) -> None:
    """Hold the option of `takes_run`."""


def choose_meters(kind: str, names: Sequence[str], *, known: Sequence[str]) -> tuple[str, ...]:
    """Return the meters of a kind that were asked for, each once.

    Raises:
        InputError: one is not known.
    """
    for name in names:
        if name not in known:
            raise InputError(unknown(f"{kind} meter", name, known=known))
    return tuple(dict.fromkeys(names))


def refuse_measuring(
    spec: RunSpec, options: Mapping[str, object], *, required: Mapping[str, bool]
) -> None:
    """Refuse what asks for a measurement where nothing runs.

    Args:
        spec: the run.
        options: what says how to measure, by option; nothing for one that was not given.
        required: by option, whether it was said that there must be a measurement.

    Raises:
        InputError: one says how.
        UnavailableError: one requires it.
    """
    if spec.executor != "roofline":
        return
    nothing = "with --executor roofline nothing runs, so that nothing is measured"
    for option, value in options.items():
        if value:
            raise InputError(f"{option}: {nothing}")
    for option, value in required.items():
        if value:
            raise UnavailableError(f"{option}: {nothing}; fix: --executor torch")


def _run_spec(
    *,
    model: Model = DEFAULT_MODEL,
    load_format: LoadFormat = _DEFAULTS.load_format,
    routing: Annotated[
        str | None,
        typer.Option(
            help="model | calibrated | uniform; of the roofline a file of --record-routing, too. "
            "Default: model for a checkpoint, else calibrated.",
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
        str, typer.Option(help="torch: real passes | roofline: none, on a virtual clock.")
    ] = _DEFAULTS.executor,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu | cuda | cuda:N; of the roofline a name (lpbench list devices) or TOML file.",
            show_default="cuda where present; h100-sxm",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32 | bfloat16 | mxfp4, which the engine takes with --kernels triton.",
            show_default="float32 on cpu, else bfloat16",
        ),
    ] = None,
    kernels: Kernels = _DEFAULTS.kernels,
    max_num_seqs: Annotated[
        int, typer.Option(help="Admitted and unfinished requests at most.")
    ] = _DEFAULTS.max_num_seqs,
    num_kv_pages: Annotated[
        int | None,
        typer.Option(help="KV pages of 16 tokens.", show_default="what the memory allows"),
    ] = None,
    gpu_memory_utilization: GpuMemory = _DEFAULTS.gpu_memory_utilization,
    seed: Seed = _DEFAULTS.seed,
    tensor_parallel_size: Annotated[
        int, typer.Option(help="Devices that share the model, of the roofline.")
    ] = _DEFAULTS.tensor_parallel_size,
    coefficients: Annotated[
        str, typer.Option(help="Of the roofline: ideal, kernels, or a TOML file.")
    ] = _DEFAULTS.coefficients,
    predict_by: Annotated[
        str | None,
        typer.Option(
            help="Device, by name or file, whose times the schedule adaptive plans by.",
            show_default="the roofline's own",
        ),
    ] = None,
) -> RunSpec:
    return RunSpec(
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
        kernels=kernels,
        max_num_seqs=max_num_seqs,
        num_kv_pages=num_kv_pages,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
        tensor_parallel_size=tensor_parallel_size,
        coefficients=coefficients,
        predict_by=predict_by,
    )
