"""The machine of a modelled run: a device, its memory, its coefficients.

Owns: what the options of the roofline mean, and every refusal that follows from the device.
Must not know: passes, records.
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from lpbench.bench.experiment import Experiment
from lpbench.bench.modelled import Modelled
from lpbench.bench.prediction import PARALLEL, model_device
from lpbench.bench.spec import RunSpec
from lpbench.errors import MisfitError
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.plan.queues import refuse_too_large
from lpbench.plan.request import PAGE_TOKENS, Request
from lpbench.shape.precision import weight_bytes
from lpbench.units import format_bytes
from lpbench.workload.coverage import Coverage, find_coverage
from lpbench.workload.recorded import RecordedCoverage

RESERVED_BYTES = 2_000_000_000
"""Of every device: the context, activations, what is captured in graphs."""


class VirtualMachine:
    """Everything a modelled run needs but the requests."""

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        """Look the device up and size its KV pool.

        Raises:
            InputError: an unknown device, precision or set of coefficients.
            MisfitError: a model that does not fit.
        """
        modelling = model_device(spec, experiment.shape, device=spec.device)
        self.device = modelling.device
        self.precision = modelling.precision
        self.roofline = modelling.roofline
        self._experiment = experiment
        self._ranks = spec.tensor_parallel_size
        self._utilization = spec.gpu_memory_utilization
        self.coverage = _coverage(experiment)
        self.num_kv_pages = self._num_kv_pages()
        refuse_too_large(experiment.prompts.requests, num_kv_pages=self.num_kv_pages)
        self.source = modelling.source
        self.facts: Mapping[str, JsonValue] = modelling.figures
        self.spec: Mapping[str, JsonValue] = {
            **experiment.identity,
            "executor": "roofline",
            **modelling.spec,
            "num_kv_pages": self.num_kv_pages,
            "routing": experiment.routing,
            "schedules": [arm.typed for arm in experiment.arms],
            "max_num_seqs": experiment.max_num_seqs,
            "seed": experiment.seed,
        }

    def executor(self, requests: Sequence[Request]) -> RooflineExecutor:
        """Return an executor of these requests, its clock at 0."""
        return RooflineExecutor(
            requests,
            shape=self._experiment.shape,
            roofline=self.roofline,
            coverage=self.coverage,
        )

    def sums(self) -> Modelled:
        """Return what adds up the costs of one arm."""
        return Modelled(
            self._experiment.prompts.requests,
            shape=self._experiment.shape,
            roofline=self.roofline,
            coverage=self.coverage,
            source=self.source,
        )

    def _num_kv_pages(self) -> int:
        """Return the pages asked for, or those that the memory holds.

        Raises:
            MisfitError: the weights, or the pages, do not fit.
        """
        weights = weight_bytes(self._experiment.shape, self.precision)
        page = PAGE_TOKENS * self._experiment.shape.kv_bytes_per_token(self.precision.value_bytes)
        asked = self._experiment.num_kv_pages
        needed = weights + page * (asked or 1)
        free = self._free(self._ranks)
        if needed > free:
            raise MisfitError(self._too_small(needed, free))
        return asked or (free - weights) // page

    def _free(self, ranks: int) -> int:
        each = int(self.device.memory_bytes * self._utilization) - RESERVED_BYTES
        return ranks * max(0, each)

    def _too_small(self, needed: int, free: int) -> str:
        shape = self._experiment.shape
        heads = shape.num_heads
        fits = (size for size in PARALLEL if not heads % size and needed <= self._free(size))
        size = next(fits, None)
        way_out = "" if size is None else f"; --tensor-parallel-size {size} would fit"
        return (
            f"model {shape.name!r} in {self.precision.name} needs {format_bytes(needed)}, "
            f"{self._ranks} x {self.device.name} have {format_bytes(free)} to give: "
            f"{format_bytes(needed - free)} too little{way_out}"
        )


def _coverage(experiment: Experiment) -> Coverage:
    """Return what says which experts rows touch: the trace, where there is one."""
    if experiment.trace is not None:
        return RecordedCoverage(experiment.trace)
    shape = experiment.shape
    return find_coverage(experiment.routing, num_experts=shape.num_experts, top_k=shape.top_k)
