"""What was asked for.

Owns: the options of a run and their defaults, written once.
Must not know: the machine, the files the options name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from lpbench.errors import InputError

DEFAULT_MODEL = "builtin-moe"
DEFAULT_WORKLOAD = "mixed"
DEFAULT_SCHEDULES = ("chunked", "layered")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """The options of `lpbench traffic`; None stands for a default that depends on others.

    Attributes:
        model: a catalogue name or a Hugging Face checkpoint folder.
        load_format: auto reads a checkpoint where there is one; dummy draws weights.
        routing: model, calibrated or uniform; default model for a checkpoint, calibrated else.
        schedules: as typed, the first is the baseline.
        workload: a catalogue name or a TOML file.
        requests: a requests.jsonl.
        num_prompts: the first so many requests, or how many equal ones.
        input_len: prompt tokens of equal requests.
        output_len: output tokens of equal requests.
        executor: what carries the plans out; torch: real forward passes.
        device: cpu, cuda or cuda:N; default cuda where present.
        dtype: float32 or bfloat16; default bfloat16 on cuda, float32 on cpu.
        max_num_seqs: admitted and unfinished requests at most.
        num_kv_pages: KV pages of 16 tokens; default what the memory allows.
        gpu_memory_utilization: share of a GPU's memory that may be in use, others' included.
        seed: of weights, prompt ids and routing draws.
    """

    model: str = DEFAULT_MODEL
    load_format: str = "auto"
    routing: str | None = None
    schedules: tuple[str, ...] = DEFAULT_SCHEDULES
    workload: str | None = None
    requests: Path | None = None
    num_prompts: int | None = None
    input_len: int | None = None
    output_len: int | None = None
    executor: str = "torch"
    device: str | None = None
    dtype: str | None = None
    max_num_seqs: int = 256
    num_kv_pages: int | None = None
    gpu_memory_utilization: float = 0.9
    seed: int = 0

    @classmethod
    def from_record(cls, spec: Mapping[str, JsonValue]) -> "RunSpec":
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
        return cls(**recorded.model_dump())


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
