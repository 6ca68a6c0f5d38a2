"""A run made again from its record.

Owns: the way back from a record's spec to a RunSpec.
Must not know: what the new record is for.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from lpbench.bench.listener import Listener
from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import run_traffic
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore
from lpbench.shape.catalogue import model_names
from lpbench.workload.catalogue import workload_names


def rerun(record: Record, listener: Listener) -> Record:
    """Run the experiment of `record` again and return the new record, which is stored nowhere.

    Raises:
        InputError: its spec lacks something, or its model or workload is not in the catalogues.
    """
    spec = record.spec
    again = _recorded_spec(spec)
    for key, known in (("model", model_names()), ("workload", workload_names())):
        if spec[key] not in known:
            msg = (
                f"the baseline's {key} {spec[key]!r} is not in the catalogue; run it yourself and "
                "give the record: lpbench check --baseline FILE RECORD"
            )
            raise InputError(msg)
    return run_traffic(again, lambda: RunStore(output=None, json=None), listener)


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


def _recorded_spec(spec: Mapping[str, JsonValue]) -> RunSpec:
    """Return the options that lead to this spec of a record, for catalogue names.

    Raises:
        InputError: something is missing in the spec, or of a wrong type.
    """
    try:
        recorded = _Recorded.model_validate(spec)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        msg = f"the record's spec cannot be run again: {key}: {first['msg']}"
        raise InputError(msg) from None
    return RunSpec(**recorded.model_dump())
