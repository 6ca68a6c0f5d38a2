"""A run made again from its record.

Owns: the way back from a record's spec to a RunSpec.
Must not know: what the new record is for.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from lpbench.analysis.comparable import whose_kernels
from lpbench.bench.experiment import RECORDED
from lpbench.bench.latency import run_latency, run_modelled
from lpbench.bench.listener import Listener
from lpbench.bench.spec import Load, RunSpec
from lpbench.bench.traffic import run_traffic
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore
from lpbench.shape.catalogue import model_names
from lpbench.workload.catalogue import workload_names

DEFAULTS = RunSpec()

_YOURSELF = "run it yourself and give the record: lpbench check --baseline FILE RECORD"


def rerun(record: Record, listener: Listener) -> Record:
    """Run the experiment of `record` again and return the new record, which is stored nowhere.

    Raises:
        InputError: its spec lacks something, its model or workload is not in the catalogues, or it
            is of a campaign of measurements.
    """
    spec = record.spec
    if record.command == "engine":
        raise InputError(
            f"the baseline timed the engine's passes, which takes its time; {_YOURSELF}"
        )
    again = _recorded_spec(spec, has_load=record.command == "latency")
    again = replace(again, kernels=whose_kernels(record))
    if record.command == "energy" and again.executor != "roofline":
        msg = "the baseline measured joules, which takes its time"
        raise InputError(f"{msg}; {_YOURSELF}")
    if again.load is not None and again.load.duration_s is not None:
        raise InputError(f"of the baseline's requests --duration cut some away; {_YOURSELF}")
    if again.routing == RECORDED:
        raise InputError(f"the baseline's routing is that of a file; {_YOURSELF}")
    for key, known in (("model", model_names()), ("workload", workload_names())):
        if spec[key] not in known:
            msg = f"the baseline's {key} {spec[key]!r} is not in the catalogue; {_YOURSELF}"
            raise InputError(msg)

    def nowhere() -> RunStore:
        return RunStore(output=None, json=None)

    if record.command == "latency":
        return run_latency(again, nowhere, listener)
    if again.executor == "roofline":
        return run_modelled(record.command, again, nowhere, listener)
    return run_traffic(again, nowhere, listener)


class _RecordedLoad(BaseModel):
    """The part of a record's spec that says how requests arrived in seconds."""

    model_config = ConfigDict(extra="ignore", strict=True)

    request_rate: Annotated[float | None, Field(strict=False)]
    burstiness: Annotated[float, Field(strict=False)]
    duration_s: float | None
    num_warmups: int
    slo: dict[str, float]
    find_rate: bool = False

    def to_load(self) -> Load:
        """Return the options that lead to it."""
        slo = tuple((key.removesuffix("_ms"), most) for key, most in self.slo.items())
        return Load(**(self.model_dump() | {"slo": slo}))


class _PredictedBy(BaseModel):
    """The part of a record's spec that says whose times a schedule planned by."""

    model_config = ConfigDict(extra="ignore", strict=True)

    device: str
    tensor_parallel_size: int
    coefficients: str


class _Recorded(BaseModel):
    """The part of a record's spec that options decide."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str
    routing: str
    schedules: Annotated[tuple[str, ...], Field(strict=False)]
    workload: str
    num_prompts: int
    device: str
    dtype: str
    max_num_seqs: int
    num_kv_pages: int
    seed: int
    executor: Literal["torch", "roofline"] = "torch"
    tensor_parallel_size: int = DEFAULTS.tensor_parallel_size
    coefficients: str = DEFAULTS.coefficients
    predicted_by: _PredictedBy | None = None


def _recorded_spec(spec: Mapping[str, JsonValue], *, has_load: bool) -> RunSpec:
    """Return the options that lead to this spec of a record, for catalogue names.

    Raises:
        InputError: something is missing in the spec, or of a wrong type.
    """
    try:
        recorded = _Recorded.model_validate(spec)
        load = _RecordedLoad.model_validate(spec).to_load() if has_load else None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        msg = f"the record's spec cannot be run again: {key}: {first['msg']}"
        raise InputError(msg) from None
    options = recorded.model_dump(exclude={"predicted_by"})
    if recorded.predicted_by is not None:
        by = recorded.predicted_by.model_dump()
        options |= by | {"device": recorded.device, "predict_by": by["device"]}
    return RunSpec(**options, load=load)
