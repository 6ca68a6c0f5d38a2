"""The engine of a run: device, dtype, memory, and the executor once its weights are there.

Owns: the choice of device and dtype, the memory check, loading, warming up, the audit's engine.
Must not know: passes, records. The engine's module, torch with it, is imported here and only when
a run needs it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import JsonValue

from lpbench.bench.experiment import Experiment
from lpbench.bench.spec import RunSpec
from lpbench.bench.tiles import RunTiles, find_tiles
from lpbench.errors import InputError
from lpbench.meters.driver import driver_version
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.shape.device import Device, match
from lpbench.shape.memory import Memory, Needs, plan_memory
from lpbench.shape.precision import PRECISIONS, Precision
from lpbench.workload.routing import RoutingDraws

if TYPE_CHECKING:
    from lpbench.executors.torch_engine.executor import TorchExecutor
    from lpbench.executors.torch_engine.probe import Probe

WARM_UP_TOKENS = 256
"""Prompt tokens of the pass before the first arm."""


class Engine:
    """One executor at a time, for the counting pass and then for the audit."""

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        """Choose device and dtype and check the memory, before anything is loaded.

        Raises:
            InputError: a model that is not computed, unknown device, more memory needed than
                there is, or a checkpoint that is not the model's.
            UnavailableError: the device is not there.
        """
        from lpbench.executors.torch_engine.choice import TRITON, pick_kernels
        from lpbench.executors.torch_engine.device import (
            DTYPES,
            cache_bytes,
            device_facts,
            pick_device,
        )

        _check_model(spec, experiment)
        self._experiment = experiment
        self._device = pick_device(spec.device)
        self.device = str(self._device)
        self._gpu_memory_utilization = spec.gpu_memory_utilization
        self.dtype = spec.dtype or ("bfloat16" if self._device.type == "cuda" else "float32")
        self.precision = PRECISIONS[self.dtype]
        self.audit_dtype = self.dtype
        self._kernels = pick_kernels(
            experiment.shape,
            device=self._device,
            dtype=DTYPES[self.precision.computed_in],
            layers=spec.kernels,
        )
        self._tiles: RunTiles | None = None
        if self._kernels.layers == TRITON:
            self._tiles = find_tiles(experiment.shape, self.precision, self.device)
        self._memory = self._plan_memory(self.precision, experiment.num_kv_pages)
        self.cache_bytes = cache_bytes(self._device)
        self.num_kv_pages = self._memory.num_kv_pages
        self.facts: Mapping[str, JsonValue] = {
            **device_facts(self._device),
            "driver": driver_version(),
            "memory_planned_bytes": self._memory.total,
        }
        self.spec: Mapping[str, JsonValue] = {
            **experiment.identity,
            "executor": "torch",
            "device": self._device.type,
            "dtype": self.dtype,
            "num_kv_pages": self.num_kv_pages,
            "routing": experiment.routing,
            "schedules": [arm.typed for arm in experiment.arms],
            "max_num_seqs": experiment.max_num_seqs,
            "seed": experiment.seed,
        }
        self._executor: TorchExecutor | None = None

    @property
    def executor(self) -> "TorchExecutor":
        """The executor; loaded."""
        assert self._executor is not None, "not loaded"
        return self._executor

    @property
    def known_device(self) -> Device | None:
        """The device's entry in the catalogue; None for one that has none, as every CPU."""
        name = self.facts.get("device_name")
        return match(name) if isinstance(name, str) else None

    def load(self, *, captured: bool = True) -> None:
        """Load or draw the weights, draw the routing, and warm up.

        The facts then name the kernels, and say what was captured.

        Args:
            captured: whether kernels of ours may be captured; a profiler is to see them launched.

        Raises:
            InputError: the checkpoint cannot be loaded.
        """
        self._executor = self._build(self.precision, captured=captured)
        tiles = self._tiles.facts if self._tiles else {}
        self.facts = {**self.facts, "kernels": {**asdict(self._executor.kernels), **tiles}}
        if self._executor.captured is not None:
            self.facts = {**self.facts, "captured": asdict(self._executor.captured)}
        self._warm_up()

    def unload(self) -> None:
        """Let go of the weights, and of the memory they took."""
        from lpbench.executors.torch_engine.device import give_back

        self._executor = None
        give_back(self._device)

    def load_for_audit(self) -> None:
        """Change to float32 where it fits; else the audit is taken in the run's own dtype.

        Experts in mxfp4 stay packed: float32 holds their values exactly.
        """
        audited, wide = self.precision, self.precision.widened
        if wide != audited and self._fits(wide):
            self.unload()
            audited, self.audit_dtype = wide, wide.computed_in
        if self._executor is None:
            self._executor = self._build(audited, captured=False)

    def _fits(self, precision: Precision) -> bool:
        """Return whether the model fits in it, once what is loaded is let go of."""
        held = 0 if self._executor is None else self._memory.weights
        if held and self._is_paged:
            held += self._memory.kv
        try:
            self._plan_memory(precision, self.num_kv_pages, held=held)
        except InputError:
            return False
        return True

    @property
    def _is_paged(self) -> bool:
        """Whether keys and values lie in a pool that is taken with the weights."""
        return self._kernels.layers == "triton"

    def start_audit(
        self, script: Mapping[int, Sequence[int]], sampled: Collection[tuple[int, int]]
    ) -> "Probe":
        """Begin an arm of the audit pass and return what listens to it."""
        from lpbench.executors.torch_engine.probe import Probe

        requests = self._experiment.prompts.requests
        probe = Probe(
            self._experiment.shape,
            positions={request.index: request.kv_tokens for request in requests},
            sampled=sampled,
        )
        self.executor.start_arm(script, probe)
        return probe

    def _plan_memory(
        self, precision: Precision, num_kv_pages: int | None, *, held: int = 0
    ) -> Memory:
        """Return what the run needs in this precision, `held` bytes being given back before.

        Raises:
            InputError: it is more than the device has.
        """
        from lpbench.executors.torch_engine.device import available_bytes, reserved_bytes

        return plan_memory(
            self._experiment.shape,
            self._needs(num_kv_pages),
            precision=precision,
            available=available_bytes(self._device) + held,
            reserved=reserved_bytes(
                self._device, gpu_memory_utilization=self._gpu_memory_utilization
            ),
        )

    def _needs(self, num_kv_pages: int | None) -> Needs:
        if self._device.type == "cpu":
            return self._experiment.needs(num_kv_pages)
        return self._experiment.needs(num_kv_pages, cache="pages" if self._is_paged else "slabs")

    def _build(self, precision: Precision, *, captured: bool) -> "TorchExecutor":
        from lpbench.executors.torch_engine.build import build_executor
        from lpbench.executors.torch_engine.fused_layers import Capacity

        experiment, shape = self._experiment, self._experiment.shape
        needs = self._needs(self.num_kv_pages)
        draws = None
        if experiment.routing != "model":
            draws = RoutingDraws(
                experiment.routing,
                experiment.seed,
                shape.num_layers,
                shape.num_experts,
                shape.top_k,
            )
        return build_executor(
            shape,
            folder=experiment.folder,
            precision=precision,
            device=self._device,
            seed=experiment.seed,
            requests=experiment.prompts.requests,
            ids=experiment.prompts.ids,
            draws=draws,
            layers=self._kernels.layers,
            capacity=Capacity(
                num_kv_pages=min(self.num_kv_pages, needs.all_pages),
                max_num_seqs=experiment.max_num_seqs,
                most_rows=needs.most_rows,
            ),
            captured=captured,
            # Tiles that were tuned for this precision may not fit the audit's.
            tiles=self._tiles.table if self._tiles and precision == self.precision else None,
        )

    def _warm_up(self) -> None:
        """Run one prompt once, so that the first arm does not pay for first touches."""
        request = max(self._experiment.prompts.requests, key=lambda one: one.prompt_tokens)
        tokens = Span(0, min(request.prompt_tokens, WARM_UP_TOKENS))
        tile = Tile(tokens, Span(0, self._experiment.shape.num_layers))
        self.executor.start_arm(None)
        self.executor.execute(IterationPlan(decodes=(), prefill=(PromptTile(request.index, tile),)))


def _check_model(spec: RunSpec, experiment: Experiment) -> None:
    """Hold a model, and its checkpoint where it has one, to what the engine computes.

    Raises:
        InputError: naming what it does not.
    """
    from lpbench.executors.torch_engine.checkpoint import (
        check_checkpoint,
        check_family,
        check_packed,
    )

    check_family(experiment.shape)
    is_packed = spec.dtype is not None and PRECISIONS[spec.dtype].is_packed
    if is_packed:
        check_packed(experiment.shape)
    if experiment.folder is not None:
        check_checkpoint(experiment.folder, experiment.shape, packed=is_packed)
