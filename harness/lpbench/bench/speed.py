"""How fast the engine is: passes of one size, timed, against what the device allows.

Owns: the passes of `lpbench bench-engine` and the record they leave, failed runs included.
Must not know: how a run is shown, how a kernel is profiled.

    sizes -> resolve -> memory -> measure the device -> load -> size by size: warm up, time ->
    size by size: profile -> record
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Literal

from pydantic import JsonValue

from lpbench import __version__
from lpbench.bench.cautions import run_cautions
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import Experiment, resolve
from lpbench.bench.listener import Listener
from lpbench.bench.loop import Limits, Step, run_arm
from lpbench.bench.peaks import measure_device
from lpbench.bench.sizes import WARM_UPS, all_pages, sized_spec, sizes_workload
from lpbench.bench.spec import RunSpec, Sizes
from lpbench.bench.timed import SizeLog
from lpbench.executors.roofline.coefficients import IDEAL
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.request import Request
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Arm, Reading, Record, Schedule, Window
from lpbench.record.store import RunStore
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import Device
from lpbench.shape.precision import PRECISIONS
from lpbench.units import BYTES_PER_SECOND, FLOPS_PER_SECOND

COMMAND = "engine"
"""What the record calls the job."""

PEAKS = "peaks"
"""The window in which the device was measured."""

BANDWIDTH, RATE = "memory_bandwidth", "flop_rate"
"""Its readings."""


def run_speed(
    spec: RunSpec,
    sizes: Sizes,
    open_store: Callable[[], RunStore],
    listener: Listener,
    *,
    measure: Callable[[str], Device] = measure_device,
) -> Record:
    """Run the job and return its record, which is also stored.

    Args:
        spec: what was asked for.
        sizes: of the passes.
        open_store: claims the places the record goes to, once the input is known to be good.
        listener: hears how far the run is.
        measure: measures the peaks of a device such as "cuda:0".

    Raises:
        InputError: the input cannot run.
        UnavailableError: the device is not there.
        RunError: the device failed, or the disk is full.
    """
    shape, _ = find_shape(spec.model)
    spec = sized_spec(spec, sizes)
    experiment = resolve(spec, sizes_workload(sizes, shape))
    engine = Engine(spec, experiment)
    with open_store() as store:
        run = _Run(sizes, experiment, engine, store=store, listener=listener)
        try:
            return run.go(measure)
        except BaseException as error:
            run.fail(error)
            raise


class _Run:
    """One run under way: what it has found so far."""

    def __init__(
        self,
        sizes: Sizes,
        experiment: Experiment,
        engine: Engine,
        *,
        store: RunStore,
        listener: Listener,
    ) -> None:
        self._sizes, self._experiment, self._engine = sizes, experiment, engine
        self._store, self._listener = store, listener
        self._requests = experiment.prompts.requests
        self._spec: dict[str, JsonValue] = {
            **engine.spec,
            "batches": list(sizes.batches),
            "context_len": sizes.context_len,
            "prompts": list(sizes.prompts),
        }
        (self._arm,) = experiment.arms
        self._limits = Limits(
            num_kv_pages=all_pages(self._requests), max_num_seqs=experiment.max_num_seqs
        )
        self._started_at = datetime.now(UTC)
        self._logs: list[SizeLog] = []
        self._windows: tuple[Window, ...] = ()
        self._under_way: SizeLog | None = None
        self._begun = False

    def go(self, measure: Callable[[str], Device]) -> Record:
        self._listener.stage("measure the device", 1)
        began = time.perf_counter()
        device = measure(self._engine.device)
        took = time.perf_counter() - began
        self._windows = (_peaks(device, dtype=self._engine.dtype, duration_ms=took * 1e3),)
        self._listener.advance(1)
        self._listener.stage("load weights, fill contexts", 1)
        self._engine.load()
        self._listener.advance(1)
        self._store.write(self._record(status="failed", failure="unfinished"))
        self._begun = True
        precision = PRECISIONS[self._engine.dtype]
        roofline = Roofline(self._experiment.shape, precision, device, IDEAL)
        for label, steps in self._passes():
            self._time(label, roofline, steps())
        self._listener.stage("profile", len(self._logs))
        for log, (_, steps) in zip(self._logs, self._passes(), strict=True):
            self._profile(log, steps())
        record = self._record(status="complete")
        self._store.write(record)
        return record

    def fail(self, error: BaseException) -> None:
        """Leave a record that says the run failed, with what was done, once it has begun."""
        if not self._begun:
            return
        # The class alone: a message may name a path of this machine, which no record does.
        interrupted = isinstance(error, KeyboardInterrupt)
        failure = "interrupted" if interrupted else type(error).__name__
        self._store.write(self._record(status="failed", failure=failure))

    def _passes(self) -> Iterator[tuple[str, Callable[[], Iterator[Step]]]]:
        """Yield every size by its label, with what begins its passes."""
        for batch in self._sizes.batches:
            yield f"decode:{batch}", partial(self._decodes, batch)
        first = max(self._sizes.batches)
        for prompt, request in zip(self._sizes.prompts, self._requests[first:], strict=True):
            yield f"prefill:{prompt}", partial(self._prefills, request)

    def _time(self, label: str, roofline: Roofline, steps: Iterator[Step]) -> None:
        """Run the passes of one size: some to warm up, then those that are timed."""
        repeats = self._sizes.repeats
        log = self._under_way = SizeLog(label, roofline)
        self._logs.append(log)
        self._listener.stage(label, WARM_UPS + repeats)
        for _ in islice(steps, WARM_UPS):
            self._listener.advance(1)
        for step in islice(steps, repeats):
            line = log.observe(step, starts=self._starts(step))
            self._store.lines("passes.jsonl").append([line])
            self._listener.advance(1)
        self._under_way = None

    def _profile(self, log: SizeLog, steps: Iterator[Step]) -> None:
        """Run one pass of a size under the profiler, once all are timed: it slows what follows."""
        from lpbench.executors.torch_engine.kernel_times import kernel_times

        for _ in islice(steps, WARM_UPS):
            pass
        seen: list[Step] = []
        kernels = kernel_times(lambda: seen.append(next(steps)), self._engine.device)
        log.profiled(seen[0], kernels)
        self._listener.advance(1)

    def _arms(self) -> Iterator[Arm]:
        """Yield every size's part of the record."""
        for log in self._logs:
            if log is self._under_way:
                yield log.to_record(self._schedule, unfinished="arm_unfinished")
            else:
                cautions = run_cautions(self._experiment, self._engine)
                yield log.to_record(self._schedule, cautions=cautions)

    def _decodes(self, batch: int) -> Iterator[Step]:
        """Yield passes of so many decodes, the contexts a token longer in each."""
        steps = self._steps(self._requests[:batch])
        next(steps)  # the last token of every context, and nothing else
        yield from steps

    def _prefills(self, request: Request) -> Iterator[Step]:
        """Yield passes of one whole prompt, the same again and again."""
        while True:
            yield from self._steps((request,))

    def _steps(self, requests: Sequence[Request]) -> Iterator[Step]:
        executor = self._engine.executor
        executor.start_arm(None)
        return run_arm(
            self._arm.policy,
            requests,
            executor,
            num_layers=self._experiment.shape.num_layers,
            limits=self._limits,
            plans_ahead=False,
        )

    def _starts(self, step: Step) -> dict[int, int]:
        """Return where the rows of a pass stand: the position of each request's token 0."""
        at = self._sizes.context_len - 1 + step.iteration
        return {
            **dict.fromkeys(step.plan.decodes, at),
            **{part.request: 0 for part in step.plan.prefill},
        }

    @property
    def _schedule(self) -> Schedule:
        policy = self._arm.policy
        return Schedule(name=policy.name, params=dict(policy.params))

    def _record(
        self, *, status: Literal["complete", "failed"], failure: str | None = None
    ) -> Record:
        known = self._engine.known_device
        stated: dict[str, JsonValue] = {}
        if known is not None:
            stated = {
                "device": known.name,
                BANDWIDTH: known.memory_bandwidth,
                RATE: known.fp32_flops if self._engine.dtype == "float32" else known.bf16_flops,
                "sources": dict(known.sources),
            }
        return Record(
            lpbench_version=__version__,
            status=status,
            failure=failure,
            command=COMMAND,
            started_at=self._started_at,
            spec=self._spec,
            spec_hash=digest(self._spec),
            environment=environment(self._engine.facts),
            protocol={
                "warm_ups": WARM_UPS,
                "repeats": self._sizes.repeats,
                "stated_peaks": stated,
            },
            windows=self._windows,
            arms=tuple(self._arms()),
        )


def _peaks(device: Device, *, dtype: str, duration_ms: float) -> Window:
    """Return what was measured of the device."""
    key = "fp32_flops" if dtype == "float32" else "bf16_flops"
    readings = {
        name: Reading(
            value=value,
            unit=unit,
            method="measured",
            source=device.sources[of],
            pass_=PEAKS,
        )
        for name, of, value, unit in (
            (BANDWIDTH, BANDWIDTH, device.memory_bandwidth, BYTES_PER_SECOND),
            (RATE, key, device.flops(dtype), FLOPS_PER_SECOND),
        )
    }
    return Window(name=PEAKS, pass_=PEAKS, iterations=0, duration_ms=duration_ms, readings=readings)
