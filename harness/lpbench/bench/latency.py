"""Requests that arrive over time, under every schedule: TTFT, TBT, SLO attainment.

Owns: the passes of `lpbench latency` and the record they leave, failed runs included.
Must not know: how a run is shown, what a schedule does.

    resolve -> machine, real or modelled -> load -> the pass, arm by arm -> record
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal, Protocol

from pydantic import JsonValue

from lpbench import __version__
from lpbench.analysis.compare import compare_arms
from lpbench.bench.cautions import run_cautions
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, Experiment, resolve
from lpbench.bench.listener import Listener
from lpbench.bench.loop import Step, run_arm
from lpbench.bench.modelled import Modelled
from lpbench.bench.served import Clock, ServedLog
from lpbench.bench.spec import Load, RunSpec
from lpbench.bench.virtual import VirtualMachine
from lpbench.executors.executor import Executor
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Arm, Caution, Record
from lpbench.record.store import RunStore


class Machine(Protocol):
    """What serves the requests: torch on a device, or a model of one."""

    @property
    def num_kv_pages(self) -> int:
        """Pages of its pool."""

    @property
    def clock(self) -> Clock:
        """What its times are of."""

    @property
    def spec(self) -> Mapping[str, JsonValue]:
        """Its part of the record's spec, the experiment's included."""

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        """Its part of the environment."""

    def load(self) -> None:
        """Make ready."""

    def executor(self) -> Executor:
        """Return what carries plans out."""

    def sums(self) -> Modelled | None:
        """Return what adds up modelled costs; None where passes run."""

    def cautions(self) -> list[Caution]:
        """Return what to know before trusting a number."""

    @property
    def is_rehearsed(self) -> bool:
        """Whether every arm runs once before it counts."""


def run_latency(spec: RunSpec, open_store: Callable[[], RunStore], listener: Listener) -> Record:
    """Run the job and return its record, which is also stored.

    Args:
        spec: what was asked for; it has a load.
        open_store: claims the places the record goes to, once the input is known to be good.
        listener: hears how far the run is.

    Raises:
        InputError: the input cannot run.
        UnavailableError: the device is not there.
        RunError: a schedule broke a rule, or the disk is full.
    """
    assert spec.load is not None
    experiment = resolve(spec)
    machine: Machine = (
        _Virtual(spec, experiment) if spec.executor == "roofline" else _Real(spec, experiment)
    )
    with open_store() as store:
        run = _Run(spec.load, experiment, machine, store=store, listener=listener)
        try:
            return run.go()
        except BaseException as error:
            run.fail(error)
            raise


class _Real:
    """torch on the device of the run."""

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        self._experiment = experiment
        self._engine = Engine(spec, experiment)
        self.num_kv_pages = self._engine.num_kv_pages
        self.clock = Clock(method="measured", source="monotonic clock")
        self.spec = self._engine.spec

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        return self._engine.facts

    def load(self) -> None:
        self._engine.load()

    def executor(self) -> Executor:
        return self._engine.executor

    def sums(self) -> None:
        return None

    def cautions(self) -> list[Caution]:
        return run_cautions(self._experiment, self._engine)

    @property
    def is_rehearsed(self) -> bool:
        return self._engine.device != "cpu"


class _Virtual:
    """A model of a device."""

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        self._experiment = experiment
        self._machine = VirtualMachine(spec, experiment)
        self.num_kv_pages = self._machine.num_kv_pages
        self.clock = Clock(method="modelled", source=self._machine.source)
        self.spec = self._machine.spec
        self.facts = self._machine.facts

    def load(self) -> None:
        return

    def executor(self) -> Executor:
        return self._machine.executor(self._experiment.prompts.requests)

    def sums(self) -> Modelled:
        return self._machine.sums()

    def cautions(self) -> list[Caution]:
        message = (
            "nothing ran: times, bytes and joules follow from the model's and the device's sizes "
            "and from the coefficients, not from a measurement"
        )
        return [Caution(code="modelled", message=message)]

    @property
    def is_rehearsed(self) -> bool:
        return False


class _Run:
    """One run under way."""

    def __init__(
        self,
        load: Load,
        experiment: Experiment,
        machine: Machine,
        *,
        store: RunStore,
        listener: Listener,
    ) -> None:
        self._load = load
        self._experiment = experiment
        self._machine = machine
        self._store = store
        self._listener = listener
        self._started_at = datetime.now(UTC)
        self._arms: list[Arm] = []
        self._begun = False

    def go(self) -> Record:
        self._machine.load()
        self._store.write(self._record(status="failed", failure="unfinished"))
        self._begun = True
        executor = self._machine.executor()
        for arm in self._experiment.arms if self._machine.is_rehearsed else ():
            self._listener.stage(f"warm up {arm.label}", self._work())
            executor.start_arm(None)
            deque(self._steps(arm, executor, origin_ns=None), maxlen=0)
        script: Mapping[int, Sequence[int]] | None = None
        for arm in self._experiment.arms:
            log = self._serve(arm, executor, script)
            script = script or log.tokens
        record = self._record(status="complete")
        self._store.write(record)
        return record

    def fail(self, error: BaseException) -> None:
        """Leave a record that says the run failed, with the arms that were done."""
        if not self._begun:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        failure = "interrupted" if interrupted else type(error).__name__
        self._store.write(self._record(status="failed", failure=failure))

    def _serve(
        self, arm: ArmSpec, executor: Executor, script: Mapping[int, Sequence[int]] | None
    ) -> ServedLog:
        self._listener.stage(f"serve {arm.label}", self._work())
        executor.start_arm(script)
        origin_ns = executor.now_ns()
        log = ServedLog(
            arm,
            self._experiment.prompts.requests,
            origin_ns=origin_ns,
            clock=self._machine.clock,
            slo=dict(self._load.slo),
            num_warmups=self._load.num_warmups,
            modelled=self._machine.sums(),
        )
        lines = self._store.lines("iterations.jsonl")
        for step in self._steps(arm, executor, origin_ns=origin_ns):
            log.observe(step)
            lines.append(log.line(one) for one in (step,))  # not made where nobody keeps them
        self._store.lines("requests.jsonl").append(log.request_lines())
        self._arms.append(log.to_record(cautions=self._machine.cautions()))
        return log

    def _steps(self, arm: ArmSpec, executor: Executor, *, origin_ns: int | None) -> Iterator[Step]:
        layers = self._experiment.shape.num_layers
        steps = run_arm(
            arm.policy,
            self._experiment.prompts.requests,
            executor,
            num_layers=layers,
            limits=self._experiment.limits(self._machine.num_kv_pages),
            origin_ns=origin_ns,
        )
        for step in steps:
            yield step
            self._listener.advance(len(step.settled.sampled))

    def _work(self) -> int:
        """Tokens that an arm generates."""
        return sum(one.output_tokens for one in self._experiment.prompts.requests)

    def _record(
        self, *, status: Literal["complete", "failed"], failure: str | None = None
    ) -> Record:
        load = asdict(self._load) | {"slo": {f"{key}_ms": most for key, most in self._load.slo}}
        rate = self._load.request_rate
        load["request_rate"] = None if rate is None else str(rate)
        spec: dict[str, JsonValue] = {**self._machine.spec, **load}
        return Record(
            lpbench_version=__version__,
            status=status,
            failure=failure,
            command="latency",
            started_at=self._started_at,
            spec=spec,
            spec_hash=digest(spec),
            environment=environment(self._machine.facts),
            protocol={"drained": True},
            arms=tuple(self._arms),
            comparison=compare_arms(self._arms),
        )
