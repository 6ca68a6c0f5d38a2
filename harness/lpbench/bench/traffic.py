"""The main job: every schedule on one workload, expert traffic counted, sameness audited.

Owns: the passes of `lpbench traffic` and the record they leave, failed runs included.
Must not know: how a run is shown, what a schedule does.

    resolve -> memory -> load -> warm up -> counting pass, arm by arm -> counter pass where
    there is a counter -> audit pass -> record
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from pydantic import JsonValue

from lpbench import __version__
from lpbench.analysis.compare import compare_arms
from lpbench.bench.arm import ArmLog
from lpbench.bench.audit import Witnessed, audit, sampled_tokens
from lpbench.bench.cautions import run_cautions
from lpbench.bench.dram import Control, cached, measure_dram, unmeasured_dram
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, Experiment, resolve
from lpbench.bench.loop import Step, run_arm
from lpbench.bench.spec import RunSpec
from lpbench.errors import UnavailableError
from lpbench.meters.meter import Meter
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Arm, Audit, Caution, Record, Window
from lpbench.record.store import RunStore
from lpbench.shape.device import Device, match
from lpbench.shape.model import DTYPE_BYTES


class Listener(Protocol):
    """Hears how far a run is."""

    def stage(self, name: str, total: float) -> None:
        """A part of the run begins; it is `total` long."""

    def advance(self, amount: float) -> None:
        """So much of the current part is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Where the bytes of the counter pass come from.

    Attributes:
        find: gives the meter of a device such as "cuda:0"; None for one that has no counters.
        required: a run without them is refused.
    """

    find: Callable[[str], Meter | None] = lambda _: None
    required: bool = False


def run_traffic(
    spec: RunSpec,
    open_store: Callable[[], RunStore],
    listener: Listener,
    counters: Counters | None = None,
) -> Record:
    """Run the job and return its record, which is also stored.

    Args:
        spec: what was asked for.
        open_store: claims the places the record goes to, once the input is known to be good.
        listener: hears how far the run is.
        counters: what measures DRAM bytes; None for no counter pass.

    Raises:
        InputError: the input cannot run.
        UnavailableError: the device is not there, or required counters are not.
        RunError: a schedule broke a rule, or the disk is full.
    """
    experiment = resolve(spec)
    engine = Engine(spec, experiment)
    meter, no_dram = _find_counters(counters or Counters(), engine.device)
    with open_store() as store:
        run = _Run(experiment, engine, store, listener, meter=meter, no_dram=no_dram)
        try:
            return run.go()
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            if meter is not None:
                meter.close()


def _find_counters(counters: Counters, device: str) -> tuple[Meter | None, str]:
    """Return the meter that can measure here; where none can, None and the reason's code.

    Raises:
        UnavailableError: there is none, and a run without it is refused.
    """
    meter = counters.find(device)
    if meter is None:
        reason = f"no DRAM counters are read on {device}; fix: --device cuda"
        code = "no_device" if device == "cpu" else "not_measured"
    else:
        capability = meter.probe()
        if capability.available:
            return meter, "not_measured"
        reason, code = f"{capability.reason}; fix: {capability.fix}", capability.code or ""
    if counters.required:
        raise UnavailableError(f"--require-counters: {reason}")
    return None, code


class _Run:
    """One run under way: what it has found so far."""

    def __init__(
        self,
        experiment: Experiment,
        engine: Engine,
        store: RunStore,
        listener: Listener,
        *,
        meter: Meter | None,
        no_dram: str,
    ) -> None:
        self._meter = meter
        self._no_dram = unmeasured_dram(no_dram)
        self._protocol: dict[str, JsonValue] = {}
        if meter is not None:
            self._protocol = {"meter": meter.name, "meter_facts": dict(meter.probe().facts)}
        self._experiment = experiment
        self._engine = engine
        self._store = store
        self._listener = listener
        self._arms: list[Arm] = []
        self._begun = False
        self._under_way: ArmLog | None = None

    def go(self) -> Record:
        self._listener.stage("load weights", 1)
        self._engine.load()
        self._listener.advance(1)
        self._store.write(self._record(status="failed", failure="unfinished"))
        self._begun = True
        script: Mapping[int, Sequence[int]] | None = None
        logs = []
        for arm in self._experiment.arms:
            logs.append(self._count(arm, script))
            script = script or logs[0].tokens
        if self._meter is not None:
            self._measure(self._meter, logs, script or {})
        found = self._audit(script or {})
        record = self._record(status="complete", found=found)
        self._store.write(record)
        return record

    def fail(self, error: BaseException) -> None:
        """Leave a record that says the run failed, with what was done, once it has begun."""
        if not self._begun:
            return
        if self._under_way is not None:
            self._arms.append(
                self._under_way.to_record(unfinished="arm_unfinished", dram=self._no_dram)
            )
        # The class alone: a message may name a path of this machine, which no record does.
        interrupted = isinstance(error, KeyboardInterrupt)
        failure = "interrupted" if interrupted else type(error).__name__
        self._store.write(self._record(status="failed", failure=failure))

    def _count(self, arm: ArmSpec, script: Mapping[int, Sequence[int]] | None) -> ArmLog:
        """Run one arm of the counting pass."""
        experiment, engine = self._experiment, self._engine
        self._listener.stage(f"count {arm.label}", self._work())
        log = self._under_way = ArmLog(
            arm,
            experiment.prompts.requests,
            experiment.shape,
            bytes_per_value=DTYPE_BYTES[engine.dtype],
            device=self._device,
        )
        engine.executor.start_arm(script)
        for step in self._steps(arm):
            self._store.lines("iterations.jsonl").append([log.observe(step)])
        self._store.lines("requests.jsonl").append(log.request_lines())
        self._arms.append(log.to_record(cautions=self._cautions, dram=self._no_dram))
        self._under_way = None
        return log

    def _measure(
        self, meter: Meter, logs: Sequence[ArmLog], script: Mapping[int, Sequence[int]]
    ) -> None:
        """Run the counter pass: every arm again, its DRAM bytes measured, and its control's."""
        experiment, engine = self._experiment, self._engine
        layer_bytes = experiment.shape.layer_expert_bytes(DTYPE_BYTES[engine.dtype])
        for at, (arm, log) in enumerate(zip(experiment.arms, logs, strict=True)):
            self._listener.stage(f"measure {arm.label}", 1)
            control = Control(
                run=partial(self._repeat, arm, script, pinned=True), expert_bytes=log.pinned_bytes
            )
            windows: tuple[Window, ...] = ()
            if log.recomputed_context:
                dram = unmeasured_dram("context_recomputed")
            else:
                try:
                    found = measure_dram(
                        partial(self._repeat, arm, script, pinned=False),
                        control,
                        meter,
                        seconds=log.seconds,
                        iterations=log.iterations,
                        device=self._device,
                    )
                    windows = found.windows
                    dram = cached(
                        found.readings, layer_bytes=layer_bytes, cache_bytes=engine.cache_bytes
                    )
                except UnavailableError as error:  # it was there: what was counted still stands
                    dram = unmeasured_dram(error.code)
            self._arms[at] = log.to_record(cautions=self._cautions, dram=dram, windows=windows)
            self._listener.advance(1)

    def _repeat(
        self, arm: ArmSpec, script: Mapping[int, Sequence[int]], runs: int, *, pinned: bool
    ) -> None:
        """Run an arm so often; with `pinned` every row goes to the same k experts."""
        for _ in range(runs):
            self._engine.executor.start_arm(script, pinned=pinned)
            deque(self._passes(arm), maxlen=0)

    @property
    def _cautions(self) -> list[Caution]:
        return run_cautions(self._experiment, self._engine)

    @property
    def _device(self) -> Device | None:
        """The device's entry in the catalogue; None for one that has none."""
        name = self._engine.facts.get("device_name")
        return match(name) if isinstance(name, str) else None

    def _audit(self, script: Mapping[int, Sequence[int]]) -> Audit:
        """Run every arm again, fed the first arm's tokens, and compare what each computed."""
        experiment, engine = self._experiment, self._engine
        engine.load_for_audit()
        seen = []
        for arm in experiment.arms:
            self._listener.stage(f"audit {arm.label}", self._work())
            tokens: dict[int, list[int]] = {r.index: [] for r in experiment.prompts.requests}
            probe = engine.start_audit(script, sampled_tokens(experiment.prompts.requests))
            for step in self._steps(arm):
                for request, token in step.execution.tokens.items():
                    tokens[request].append(token)
            seen.append(Witnessed(label=arm.label, tokens=tokens, evidence=probe.evidence()))
        return audit(seen, dtype=engine.audit_dtype)

    def _passes(self, arm: ArmSpec) -> Iterator[Step]:
        experiment = self._experiment
        return run_arm(
            arm.policy,
            experiment.prompts.requests,
            self._engine.executor,
            num_layers=experiment.shape.num_layers,
            limits=experiment.limits(self._engine.num_kv_pages),
        )

    def _steps(self, arm: ArmSpec) -> Iterator[Step]:
        for step in self._passes(arm):
            yield step
            layers = self._experiment.shape.num_layers
            rows = sum(len(s.layers) * s.num_prefill_rows for s in step.plan.segments(layers))
            self._listener.advance(rows / layers + len(step.plan.decodes))

    def _work(self) -> int:
        """Rows an arm computes, when nobody is preempted."""
        requests = self._experiment.prompts.requests
        return sum(one.prompt_tokens + one.output_tokens - 1 for one in requests)

    def _record(
        self,
        *,
        status: Literal["complete", "failed"],
        failure: str | None = None,
        found: Audit | None = None,
    ) -> Record:
        return Record(
            lpbench_version=__version__,
            status=status,
            failure=failure,
            command="traffic",
            spec=dict(self._engine.spec),
            spec_hash=digest(dict(self._engine.spec)),
            environment=environment(self._engine.facts),
            protocol=self._protocol,
            arms=tuple(self._arms),
            audit=found,
            comparison=compare_arms(self._arms),
        )
