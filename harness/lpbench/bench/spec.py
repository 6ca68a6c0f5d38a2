"""What was asked for.

Owns: the options of a run and their defaults, written once.
Must not know: the machine, the files the options name.
"""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_MODEL = "builtin-moe"
DEFAULT_WORKLOAD = "mixed"
DEFAULT_LOAD_WORKLOAD = "steady"
DEFAULT_SCHEDULES = ("chunked", "layered")
DEFAULT_COEFFICIENTS = "kernels"
DEFAULT_KERNELS = "torch"
DEFAULT_DEVICE = "h100-sxm"
DEFAULT_MODELLED_DTYPE = "bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How requests are offered over time, in seconds.

    Attributes:
        request_rate: requests per second, infinity for all at once; None for the arrivals that the
            workload states, or all at once where it states none.
        burstiness: shape of the gamma distribution of the gaps; 1 is a Poisson process.
        duration_s: requests that arrive later are not offered; None for all.
        num_warmups: the first so many requests are served and left out of the figures.
        slo: by metric, ttft or tbt, the most milliseconds with which a request meets it.
        find_rate: whether the rate is looked for, from `request_rate` on, that the SLO allows;
            `duration_s` then says how many requests are offered at each rate.
    """

    request_rate: float | None = None
    burstiness: float = 1.0
    duration_s: float | None = None
    num_warmups: int = 0
    slo: tuple[tuple[str, float], ...] = ()
    find_rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """A point of the regime map, and the schedules that are tried in it.

    Attributes:
        num_decodes: requests that decode all along.
        context_len: tokens in the KV cache of each of them.
        prompts: prompts that come in together.
        prompt_len: tokens of each.
        chunks: of chunked prefill, tokens of a pass beside the decodes.
        groups: of layered prefill, groups of layers, or as many as there are layers.
        batches: of layered prefill, tokens of a batch.
        tbt_budgets_ms: of adaptive prefill; what is best is asked for each of them.
    """

    num_decodes: int = 32
    context_len: int = 2048
    prompts: int = 1
    prompt_len: int = 8192
    chunks: tuple[int, ...] = (512,)
    groups: tuple[int, ...] = (16,)
    batches: tuple[int, ...] = (8192,)
    tbt_budgets_ms: tuple[int, ...] = (50,)

    @property
    def schedules(self) -> tuple[str, ...]:
        """The schedules, as typed."""
        chunked = (
            f"chunked:max_num_batched_tokens={self.num_decodes + chunk}" for chunk in self.chunks
        )
        layered = (
            f"layered:num_groups={groups},max_num_batched_tokens={batch}"
            for batch in self.batches
            for groups in self.groups
        )
        adaptive = (f"adaptive:tbt_budget_ms={budget}" for budget in self.tbt_budgets_ms)
        return (*chunked, *layered, *adaptive)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of passes whose speed is asked for.

    Attributes:
        batches: decodes of a pass without prompts.
        context_len: tokens in the KV cache of each decode before the first pass.
        prompts: prompt tokens of a pass that is one whole prompt.
        repeats: passes of each size that are timed.
    """

    batches: tuple[int, ...]
    context_len: int
    prompts: tuple[int, ...]
    repeats: int


SIZES_ON_GPU = Sizes(
    batches=(1, 8, 32, 64, 128, 256), context_len=2048, prompts=(512, 2048, 8192), repeats=64
)
SIZES_ON_CPU = Sizes(batches=(1, 8, 32), context_len=256, prompts=(128, 512), repeats=64)
"""With the built-in model about a minute on two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """The options of a run; None stands for a default that depends on others.

    Attributes:
        model: a catalogue name or a Hugging Face checkpoint folder.
        load_format: auto reads a checkpoint where there is one; dummy draws weights.
        routing: model, calibrated or uniform; default model for a checkpoint, calibrated else. Of
            the roofline a file, too, of a run's routing.
        schedules: as typed, the first is the baseline.
        workload: a catalogue name or a TOML file.
        requests: a requests.jsonl.
        num_prompts: the first so many requests, or how many equal ones.
        input_len: prompt tokens of equal requests.
        output_len: output tokens of equal requests.
        executor: what carries the plans out; torch: real forward passes, roofline: none, on a
            virtual clock.
        device: of torch, cpu, cuda or cuda:N, default cuda where present; of the roofline, a
            catalogue name.
        kernels: of torch on a GPU, whose: torch's own, or ours in triton.
        dtype: float32, bfloat16 or mxfp4, which torch takes with the kernels in triton alone;
            default bfloat16, of torch on cpu float32.
        tensor_parallel_size: devices that share the model, of the roofline.
        coefficients: of the roofline, a shipped set or a TOML file.
        predict_by: the device, by name or file, whose times a schedule plans by that predicts;
            None for the roofline's own.
        load: how requests arrive in seconds; None where they arrive by iteration.
        burst: a point of the regime map, in the place of a workload.
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
    kernels: str = DEFAULT_KERNELS
    dtype: str | None = None
    max_num_seqs: int = 256
    num_kv_pages: int | None = None
    gpu_memory_utilization: float = 0.9
    seed: int = 0
    tensor_parallel_size: int = 1
    coefficients: str = DEFAULT_COEFFICIENTS
    predict_by: str | None = None
    load: Load | None = None
    burst: Burst | None = None
