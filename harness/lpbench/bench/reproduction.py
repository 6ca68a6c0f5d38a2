"""The runs of ours that stand beside the paper's tables, each made once.

Owns: which run a cell asks for, how it is made, what of it the cell takes.
Must not know: what was reported, verdicts, how anything is shown.

One set of coefficients is behind every cell; no file names another.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import JsonValue

from lpbench import __version__
from lpbench.analysis.metrics import AT_SLO as RATE_AT_SLO
from lpbench.analysis.reported import AT_SLO, Cell, PaperTable
from lpbench.bench.breakdown import operator_seconds
from lpbench.bench.capacity import at_rate
from lpbench.bench.keys import LATENCY, first_names, keys_of
from lpbench.bench.latency import run_latency
from lpbench.bench.listener import Listener, Silent
from lpbench.bench.pool import run_jobs
from lpbench.bench.prediction import model_device
from lpbench.bench.preview import preview
from lpbench.bench.spec import DEFAULT_COEFFICIENTS, DEFAULT_MODELLED_DTYPE, Load, RunSpec
from lpbench.errors import LpbenchError
from lpbench.executors.roofline.coefficients import find_coefficients
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Caution, Reading
from lpbench.record.store import RunStore
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS
from lpbench.units import MILLISECONDS, RATIO
from lpbench.workload.coverage import ExpectedCoverage, find_coverage

KINDS = ("served", "prompt", "coverage")
"""What a run of a table may be: requests over time, one prompt alone, a batch of decodes."""

SCALES: Mapping[tuple[str, str], float] = {
    ("B", "GB"): 1e-9,
    ("B", "TB"): 1e-12,
    ("J", "mJ"): 1e3,
    ("ms", "s"): 1e-3,
    ("ratio", "%"): 1e2,
}
"""From a metric's unit to a table's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run.

    Attributes:
        kind: of `KINDS`.
        spec: its options.
        decodes: rows of a batch of decodes; 0 for other kinds.
    """

    kind: str
    spec: RunSpec
    decodes: int = 0

    @property
    def is_search(self) -> bool:
        """Whether it is many runs, of which one is kept."""
        return self.spec.load is not None and self.spec.load.find_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a job.

    Attributes:
        readings: by metric.
        num_prompts: requests that they are of.
        ranks: devices that share the model.
        cautions: what to know before trusting them.
    """

    readings: Mapping[str, Reading]
    num_prompts: int
    ranks: int
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What stands beside a table.

    Attributes:
        readings: by the name of a cell, in its unit.
        cautions: what to know of them, but that they are modelled, which all are.
    """

    readings: Mapping[str, Reading]
    cautions: tuple[str, ...]


def about() -> dict[str, JsonValue]:
    """Return what a reproduction rests on: the code, and the one set of coefficients."""
    coefficients = find_coefficients(DEFAULT_COEFFICIENTS)
    figures = asdict(coefficients) | {"ridge": str(coefficients.ridge)}
    return {
        "lpbench_version": __version__,
        "coefficients_hash": digest(figures),
        "environment": environment({"coefficients": figures}),
    }


def reproduce(tables: Sequence[PaperTable], *, workers: int, listener: Listener) -> dict[str, Ours]:
    """Return ours for every table, by its name.

    Args:
        tables: what is reproduced.
        workers: processes.
        listener: hears how many runs are done.

    Raises:
        LpbenchError: a run failed.
    """
    wanted = {
        (table.name, cell.name): _job(table, cell) for table in tables for cell in table.cells
    }
    jobs = sorted(dict.fromkeys(wanted.values()), key=lambda job: not job.is_search)
    listener.stage("reproduce", len(jobs))
    done: dict[Job, Done] = {}
    with closing(run_jobs(work, jobs, workers=workers)) as ended:
        for job, result in ended:
            if isinstance(result, LpbenchError):
                raise result
            done[job] = result
            listener.advance(1)
    return {
        table.name: ours_beside(
            table, {cell.name: done[wanted[table.name, cell.name]] for cell in table.cells}
        )
        for table in tables
    }


def ours_beside(table: PaperTable, done: Mapping[str, Done]) -> Ours:
    """Return what stands beside a table.

    Args:
        table: what was reported.
        done: by the name of a cell, what came of its run.
    """
    said = (
        f"ours, {cell.run}: {caution.message}"
        for cell in table.cells
        for caution in done[cell.name].cautions
        if caution.code != "modelled"
    )
    return Ours(
        readings={cell.name: _ours(cell, done[cell.name]) for cell in table.cells},
        cautions=tuple(dict.fromkeys(said)),
    )


def work(job: Job) -> Done:
    """Do one job."""
    return {"served": _serve, "prompt": _prefill, "coverage": _cover}[job.kind](job)


def _job(table: PaperTable, cell: Cell) -> Job:
    options = table.options(cell.run)
    kind = str(options.pop("kind", "served"))
    decodes = options.pop("decodes", 0)
    assert kind in KINDS, (table.name, kind)
    assert isinstance(decodes, int), (table.name, decodes)
    spec = read_spec(options, where=f"{table.name}: {cell.run}")
    load = spec.load
    assert load is not None, table.name
    if cell.at == AT_SLO:
        spec = replace(spec, load=replace(load, find_rate=True))
    elif (rate := load.request_rate if cell.at is None else float(cell.at)) is not None:
        spec = at_rate(spec, rate)
    return Job(kind=kind, spec=spec, decodes=decodes)


def read_spec(options: Mapping[str, object], *, where: str) -> RunSpec:
    """Return the run that options stand for, spelled as in a suite.

    Raises:
        InputError: a key is not known, or its value is not of its type.
    """
    keys = keys_of(LATENCY)
    fields: dict[type, dict[str, Any]] = {RunSpec: {}, Load: {}}
    for name, value in first_names(options, keys, where=where).items():
        key = keys[name]
        fields[key.owner][key.field] = key.read(key.check(value, what=f"{where}: {name}"))
    return RunSpec(**fields[RunSpec], load=Load(**fields[Load]))


def _serve(job: Job) -> Done:
    record = run_latency(job.spec, lambda: RunStore(output=None, json=None), Silent())
    count = record.spec["num_prompts"]
    assert isinstance(count, int), count
    (arm,) = record.arms
    return Done(
        readings=arm.metrics,
        num_prompts=count,
        ranks=job.spec.tensor_parallel_size,
        cautions=arm.warnings,
    )


def _prefill(job: Job) -> Done:
    """Serve one prompt alone, and take its passes apart."""
    served = _serve(job)
    spec = job.spec
    shape, _ = find_shape(spec.model)
    assert spec.input_len is not None, spec
    steps = preview(
        spec.schedules[0],
        shape,
        prompt_tokens=spec.input_len,
        num_decodes=0,
        precision=PRECISIONS[spec.dtype or DEFAULT_MODELLED_DTYPE],
    )
    modelling = model_device(spec, shape, device=spec.device)
    seconds = operator_seconds(
        (step.plan for step in steps),
        modelling.roofline,
        _coverage(spec, shape),
        num_layers=shape.num_layers,
    )
    times = {
        f"{kind}_ms": _modelled(1e3 * value, MILLISECONDS, modelling.source)
        for kind, value in seconds.items()
    }
    return replace(served, readings={**served.readings, **times})


def _cover(job: Job) -> Done:
    shape, _ = find_shape(job.spec.model)
    share = _coverage(job.spec, shape).distinct(job.decodes) / shape.num_experts
    reading = _modelled(share, RATIO, f"{job.spec.routing} routing in expectation")
    return Done(
        readings={"expert_coverage": reading},
        num_prompts=job.decodes,
        ranks=job.spec.tensor_parallel_size,
    )


def _coverage(spec: RunSpec, shape: ModelShape) -> ExpectedCoverage:
    assert spec.routing is not None, spec
    return find_coverage(spec.routing, num_experts=shape.num_experts, top_k=shape.top_k)


def _modelled(value: float, unit: str, source: str) -> Reading:
    return Reading(value=value, unit=unit, method="modelled", source=source, pass_=LATENCY)


def _ours(cell: Cell, done: Done) -> Reading:
    """Return the reading of a cell, in its unit; absent as the rate is that it should be at."""
    reading = done.readings[cell.metric]
    rate = done.readings.get(RATE_AT_SLO) if cell.at == AT_SLO else None
    if rate is not None and rate.validity == "absent":
        reading = rate.model_copy(update={"unit": reading.unit})
    scale = 1.0 if reading.unit == cell.unit else SCALES[reading.unit, cell.unit]
    scale /= {"": 1, "request": done.num_prompts, "rank": done.ranks}[cell.per]
    value = None if reading.value is None else reading.value * scale
    uncertainty = None if reading.uncertainty is None else reading.uncertainty * scale
    return reading.model_copy(
        update={"value": value, "unit": cell.unit, "uncertainty": uncertainty}
    )
