"""The machine of a modelled run: a device of the catalogue, its memory, its coefficients.

Owns: what the options of the roofline mean, and every refusal that follows from the device.
Must not know: passes, records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pydantic import JsonValue

from lpbench.bench.experiment import Experiment
from lpbench.bench.modelled import Modelled
from lpbench.bench.spec import RunSpec
from lpbench.errors import InputError
from lpbench.executors.roofline.coefficients import find_coefficients
from lpbench.executors.roofline.cost import Roofline
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.plan.queues import refuse_too_large
from lpbench.plan.request import PAGE_TOKENS, Request
from lpbench.record.provenance import digest
from lpbench.shape.device import find_device
from lpbench.shape.precision import PRECISIONS, weight_bytes
from lpbench.units import format_bytes
from lpbench.workload.coverage import find_coverage

DEFAULT_DEVICE = "h100-sxm"
DEFAULT_DTYPE = "bfloat16"

RESERVED_BYTES = 2_000_000_000
"""Of every device: the context, activations, what is captured in graphs."""

PARALLEL = (1, 2, 4, 8, 16, 32)
"""Tensor-parallel sizes that a refusal proposes."""


class VirtualMachine:
    """Everything a modelled run needs but the requests."""

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        """Look the device up and size its KV pool.

        Raises:
            InputError: an unknown device, precision or set of coefficients, or a model that does
                not fit.
        """
        self.device = find_device(spec.device or DEFAULT_DEVICE)
        self.precision = PRECISIONS[spec.dtype or DEFAULT_DTYPE]
        self._experiment = experiment
        self._ranks = spec.tensor_parallel_size
        self._utilization = spec.gpu_memory_utilization
        self._check_ranks()
        coefficients = find_coefficients(spec.coefficients)
        self.roofline = Roofline(
            experiment.shape,
            self.precision,
            self.device,
            coefficients,
            tensor_parallel=self._ranks,
        )
        self.coverage = find_coverage(
            experiment.routing,
            num_experts=experiment.shape.num_experts,
            top_k=experiment.shape.top_k,
        )
        self.num_kv_pages = self._num_kv_pages()
        refuse_too_large(experiment.prompts.requests, num_kv_pages=self.num_kv_pages)
        ranks = f"{self._ranks} x " if self._ranks > 1 else ""
        self.source = f"roofline: {coefficients.name} coefficients on {ranks}{self.device.name}"
        self.facts: Mapping[str, JsonValue] = {
            "device_name": self.device.name,
            "coefficients": asdict(coefficients) | {"ridge": str(coefficients.ridge)},
        }
        self.spec: Mapping[str, JsonValue] = {
            **experiment.identity,
            "executor": "roofline",
            "device": self.device.name,
            "tensor_parallel_size": self._ranks,
            "dtype": self.precision.name,
            "coefficients": coefficients.name,
            "coefficients_hash": digest(asdict(coefficients) | {"ridge": str(coefficients.ridge)}),
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
            shape=self._experiment.shape,
            roofline=self.roofline,
            coverage=self.coverage,
            source=self.source,
        )

    def _check_ranks(self) -> None:
        heads = self._experiment.shape.num_heads
        if not 1 <= self._ranks <= heads or heads % self._ranks:
            accepted = ", ".join(str(size) for size in PARALLEL if not heads % size)
            msg = f"--tensor-parallel-size {self._ranks}: accepted: {accepted}"
            raise InputError(f"{msg}, divisors of the model's {heads} query heads")
        if self._ranks > 1 and self.device.link_bandwidth is None:
            msg = f"--tensor-parallel-size {self._ranks}: device {self.device.name!r} has no link"
            raise InputError(msg)

    def _num_kv_pages(self) -> int:
        """Return the pages asked for, or those that the memory holds.

        Raises:
            InputError: the weights, or the pages, do not fit.
        """
        weights = weight_bytes(self._experiment.shape, self.precision)
        page = PAGE_TOKENS * self._experiment.shape.kv_bytes_per_token(self.precision.value_bytes)
        asked = self._experiment.num_kv_pages
        needed = weights + page * (asked or 1)
        free = self._free(self._ranks)
        if needed > free:
            raise InputError(self._too_small(needed, free))
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
