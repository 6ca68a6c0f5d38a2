"""From what was asked for to what will run: names looked up, lengths known, limits checked.

Owns: the resolution of a RunSpec against the catalogues and files, and every refusal that can be
made before a weight is loaded.
Must not know: torch, how a plan is carried out.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import JsonValue

from lpbench.bench.loop import Limits
from lpbench.bench.offered import by_seconds, offered_workload
from lpbench.bench.prediction import predicting, predictor_of
from lpbench.bench.prompts import Prompts, resolve_prompts
from lpbench.bench.spec import DEFAULT_COEFFICIENTS, DEFAULT_KERNELS, RunSpec
from lpbench.errors import InputError
from lpbench.executors.executor import CONTEXT_CHUNK
from lpbench.plan.policy import Policy
from lpbench.plan.queues import refuse_too_large
from lpbench.plan.request import pages_for
from lpbench.plan.schedules import parse_schedule
from lpbench.registry import unknown
from lpbench.shape.catalogue import find_shape
from lpbench.shape.memory import Needs
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import MXFP4, PRECISIONS
from lpbench.workload.workload import Workload

if TYPE_CHECKING:
    from lpbench.workload.recorded import RoutingTrace

ROUTINGS = ("model", "calibrated", "uniform")
RECORDED = "recorded"
"""What routes where a file of a run's routing is named."""

LOAD_FORMATS = ("auto", "dummy")
EXECUTORS = ("torch", "roofline")
KERNELS = ("torch", "triton")
MAX_SEED = 2**64 - 1
MOST = 1_000_000_000
"""No count on the command line is larger."""

DRAW_BYTES = 2
"""Bytes of one drawn expert id."""

Cache: TypeAlias = Literal["lazy", "slabs", "pages"]
"""How keys and values take memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSpec:
    """One schedule to run: as typed, its label in the record, and the policy."""

    typed: str
    label: str
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Everything that decides what is counted, and nothing that depends on the machine's speed.

    Attributes:
        shape: the model's geometry.
        folder: the checkpoint to load; None for drawn weights.
        routing: model, calibrated, uniform or recorded.
        trace: the routing that was recorded; None where none was.
        prompts: the workload in lengths and token ids.
        arms: the schedules, baseline first.
        max_num_seqs: admitted and unfinished requests at most.
        num_kv_pages: KV pages asked for; None for what the memory allows.
        seed: of weights, prompt ids and routing draws.
        identity: the model's and the workload's part of the record's spec.
    """

    shape: ModelShape
    folder: Path | None
    routing: str
    prompts: Prompts
    arms: tuple[ArmSpec, ...]
    max_num_seqs: int
    num_kv_pages: int | None
    seed: int
    identity: Mapping[str, JsonValue]
    trace: "RoutingTrace | None" = None

    def needs(self, num_kv_pages: int | None, *, cache: Cache = "lazy") -> Needs:
        """Return what the run asks of the memory.

        Args:
            num_kv_pages: of the pool; None for what fits.
            cache: how keys and values take memory: "lazy" where what is not yet written takes none,
                "slabs" where a request takes all of its own at once, "pages" where there is one
                pool. All contexts are there before the run.
        """
        requests = self.prompts.requests
        pages = [pages_for(request.kv_tokens) for request in requests]
        with_context = [pages_for(one.kv_tokens) for one in requests if one.context_tokens]
        others = sorted(pages_for(one.kv_tokens) for one in requests if not one.context_tokens)
        held = sum(with_context) + sum(others[-self.max_num_seqs :])
        beside = sum(pages_for(request.context_tokens) for request in requests)
        # A preempted request brings its context and what it generated back as prompt rows.
        tokens = sum(request.kv_tokens for request in requests)
        contexts = max(request.context_tokens for request in requests)
        most = max(
            min(contexts, CONTEXT_CHUNK),
            *(min(arm.policy.prefill_budget(0), tokens) for arm in self.arms),
        )
        drawn = tokens if self.routing != "model" else 0
        return Needs(
            most_rows=most + min(self.max_num_seqs, len(requests)),
            all_pages=sum(pages),
            least_pages=max(pages),
            num_kv_pages=num_kv_pages,
            draws=drawn * self.shape.num_layers * self.shape.top_k * DRAW_BYTES,
            held_pages=held if cache == "slabs" else 0,
            beside_pages=beside if cache == "pages" else 0,
            held_passes=2 if cache == "pages" else 1,
        )

    def limits(self, num_kv_pages: int) -> Limits:
        """Return the limits on admission with this many pages."""
        return Limits(num_kv_pages=num_kv_pages, max_num_seqs=self.max_num_seqs)


def resolve(spec: RunSpec, workload: Workload | None = None) -> Experiment:
    """Look everything up and refuse what cannot run.

    Args:
        spec: what was asked for.
        workload: what arrives; None for what the options name.

    Raises:
        InputError: a name, file, length or parameter is not usable, in one line.
    """
    _check_options(spec)
    is_modelled = spec.executor == "roofline"
    arms = _arms(spec.schedules)
    shape, folder = find_shape(spec.model)
    if spec.load_format == "dummy" or is_modelled:
        folder = None
    trace = _trace(spec)
    chosen = spec.routing if trace is None else RECORDED
    routing = chosen or ("calibrated" if folder is None else "model")
    workload = offered_workload(spec, shape) if workload is None else workload
    prompts = resolve_prompts(
        workload,
        shape,
        folder=folder,
        seed=spec.seed,
        by_seconds=by_seconds(workload, spec),
        has_ids=not is_modelled,
    )
    if trace is not None:
        trace.refuse(
            prompts.requests,
            num_layers=shape.num_layers,
            num_experts=shape.num_experts,
            top_k=shape.top_k,
        )
    if spec.num_kv_pages is not None:
        refuse_too_large(prompts.requests, num_kv_pages=spec.num_kv_pages)
    for arm in arms:
        arm.policy.refuse(prompts.requests, max_num_seqs=spec.max_num_seqs)
    policies = [arm.policy for arm in arms]
    predictor, predicted_by = predictor_of(policies, spec, shape, routing=routing)
    return Experiment(
        shape=shape,
        folder=folder,
        routing=routing,
        prompts=prompts,
        arms=tuple(replace(arm, policy=predicting(arm.policy, predictor)) for arm in arms),
        max_num_seqs=spec.max_num_seqs,
        num_kv_pages=spec.num_kv_pages,
        seed=spec.seed,
        identity={
            "model": shape.name.encode(errors="backslashreplace").decode(),
            "weights": "dummy" if folder is None else fingerprint(folder),
            "workload": workload.name.encode(errors="backslashreplace").decode(),
            "num_prompts": len(prompts.requests),
            "workload_hash": prompts.digest,
            "prompt_source": prompts.source,
            **({} if trace is None else {"routing_hash": trace.digest}),
            **predicted_by,
        },
        trace=trace,
    )


def _trace(spec: RunSpec) -> "RoutingTrace | None":
    """Return the routing of the file that is named, if one is.

    Raises:
        InputError: it is no such file, or the routing is the other executor's.
    """
    is_modelled = spec.executor == "roofline"
    if is_modelled and spec.routing == "model":
        raise InputError(
            "--routing model needs forward passes; with --executor roofline accepted: calibrated, "
            "uniform, a file of --record-routing"
        )
    if not _is_file(spec.routing):
        return None
    if not is_modelled:
        raise InputError("--routing FILE.npz, a run's that was recorded, needs --executor roofline")
    from lpbench.workload.recorded import read_trace

    return read_trace(Path(str(spec.routing)))


def _is_file(routing: str | None) -> bool:
    return routing is not None and routing.endswith(".npz")


def _check_options(spec: RunSpec) -> None:
    for name, value, known in (
        ("routing", None if _is_file(spec.routing) else spec.routing, ROUTINGS),
        ("load format", spec.load_format, LOAD_FORMATS),
        ("executor", spec.executor, EXECUTORS),
        ("kernels", spec.kernels, KERNELS),
        ("dtype", spec.dtype, PRECISIONS),
    ):
        if value is not None and value not in known:
            raise InputError(unknown(name, value, known=known))
    _check_executor(spec)
    for option, number in (
        ("--num-prompts", spec.num_prompts),
        ("--input-len", spec.input_len),
        ("--output-len", spec.output_len),
        ("--max-num-seqs", spec.max_num_seqs),
        ("--num-kv-pages", spec.num_kv_pages),
    ):
        if number is not None and not 1 <= number <= MOST:
            msg = f"{option} {number} is out of range; accepted: 1 to {MOST}"
            raise InputError(msg)
    if not 0 < spec.gpu_memory_utilization <= 1:
        msg = (
            f"--gpu-memory-utilization {spec.gpu_memory_utilization} is out of range; "
            "accepted: above 0, at most 1"
        )
        raise InputError(msg)
    if not 0 <= spec.seed <= MAX_SEED:
        msg = f"--seed {spec.seed} is out of range; accepted: 0 to {MAX_SEED}"
        raise InputError(msg)


def _check_executor(spec: RunSpec) -> None:
    """Refuse options of the executor that is not asked for."""
    if spec.executor == "roofline":
        if spec.kernels != DEFAULT_KERNELS:
            raise InputError(f"--kernels {spec.kernels} goes with --executor torch")
        return
    if spec.dtype == MXFP4 and spec.kernels != "triton":
        raise InputError(f"--dtype {MXFP4} needs --kernels triton")
    is_modelling = spec.tensor_parallel_size != 1 or spec.coefficients != DEFAULT_COEFFICIENTS
    if is_modelling and spec.predict_by is None:
        msg = (
            "--tensor-parallel-size and --coefficients go with --executor roofline or --predict-by"
        )
        raise InputError(msg)


def _arms(schedules: Sequence[str]) -> tuple[ArmSpec, ...]:
    arms: list[ArmSpec] = []
    for at, text in enumerate(schedules):
        repeats = schedules[:at].count(text)
        label = f"{text}#{repeats + 1}" if repeats else text
        arms.append(ArmSpec(typed=text, label=label, policy=parse_schedule(text)))
    return tuple(arms)


def fingerprint(folder: Path) -> str:
    """Return a digest of a checkpoint: names, sizes, first and last MiB of its files."""
    total = hashlib.sha256()
    for path in sorted((folder / "config.json", *folder.glob("*.safetensors"))):
        size = path.stat().st_size
        total.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            total.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            total.update(file.read())
    return total.hexdigest()
