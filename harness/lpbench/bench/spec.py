"""What was asked for.

Owns: the options of a run and their defaults, written once.
Must not know: the machine, the files the options name.
"""

from dataclasses import dataclass
from pathlib import Path

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
