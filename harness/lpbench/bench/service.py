"""One run that serves requests over time, under way: its arms, its record, its end.

Owns: the pass over every arm and the record it leaves, failed runs included.
Must not know: how a run is shown, what a schedule does, whether anything runs.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import ClassVar, Literal

from pydantic import JsonValue

from lpbench import __version__
from lpbench.analysis.compare import compare_arms
from lpbench.analysis.metrics import COMPARED, Metric
from lpbench.bench.experiment import ArmSpec, Experiment
from lpbench.bench.listener import Listener
from lpbench.bench.loop import Step, run_arm
from lpbench.bench.machine import Machine
from lpbench.bench.served import ServedLog
from lpbench.bench.spec import Load
from lpbench.executors.executor import Executor
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Arm, Record
from lpbench.record.store import RunStore

Script = Mapping[int, Sequence[int]]
"""Tokens to feed instead of an arm's own, by request."""


class Service:
    """Every arm serves all requests, one arm after the other.

    Attributes:
        compared: the metrics by which the arms are compared.
    """

    compared: ClassVar[Mapping[str, Metric]] = COMPARED

    def __init__(
        self,
        command: str,
        load: Load | None,
        experiment: Experiment,
        machine: Machine,
        *,
        store: RunStore,
        listener: Listener,
    ) -> None:
        """Begin nothing yet.

        Args:
            command: whose run it is.
            load: how requests arrive in seconds; None where they state it.
            experiment: what is served.
            machine: what serves it, not loaded yet.
            store: where the record goes.
            listener: hears how far the run is.
        """
        self._command = command
        self._load = load
        self._experiment = experiment
        self._machine = machine
        self._store = store
        self._listener = listener
        self._spec = {**machine.spec, **_load_spec(load)}
        self._started_at = datetime.now(UTC)
        self._arms: list[Arm] = []
        self._begun = False

    def to_its_end(self) -> Record:
        """Run it, and leave a record that says so where it fails."""
        try:
            return self._go()
        except BaseException as error:
            self._fail(error)
            raise

    def _go(self) -> Record:
        self._machine.load()
        self._store.write(self._record(status="failed", failure="unfinished"))
        self._begun = True
        self._serve_arms(self._rehearsed())
        record = self._record(status="complete")
        self._store.write(record)
        return record

    def _serve_arms(self, executor: Executor) -> None:
        script: Script | None = None
        for arm in self._experiment.arms:
            self._listener.stage(f"serve {arm.label}", self._work())
            log = self._serve(arm, executor, script)
            self._arms.append(log.to_record(cautions=self._machine.cautions()))
            script = script or log.tokens

    def _fail(self, error: BaseException) -> None:
        """Leave a record that says the run failed, with the arms that were done."""
        if not self._begun:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        failure = "interrupted" if interrupted else type(error).__name__
        self._store.write(self._record(status="failed", failure=failure))

    def _rehearsed(self) -> Executor:
        """Return the loaded machine's executor; where that matters every arm ran once on it."""
        executor = self._machine.executor()
        for arm in self._experiment.arms if self._machine.is_rehearsed else ():
            self._listener.stage(f"warm up {arm.label}", self._work())
            executor.start_arm(None)
            deque(self._steps(arm, executor), maxlen=0)
        return executor

    def _serve(self, arm: ArmSpec, executor: Executor, script: Script | None) -> ServedLog:
        """Serve all requests to their end, and write the lines of the pass."""
        log = self._begin(arm, executor, script)
        lines = self._store.lines("iterations.jsonl")

        def keep(step: Step) -> None:
            log.observe(step)
            lines.append(log.line(one) for one in (step,))  # not made where nobody keeps them

        deque(self._steps(arm, executor, log, keep), maxlen=0)
        self._store.lines("requests.jsonl").append(log.request_lines())
        return log

    def _begin(self, arm: ArmSpec, executor: Executor, script: Script | None) -> ServedLog:
        """Return the empty log of a pass over an arm, whose clock runs from now on."""
        executor.start_arm(script)
        origin_ns = executor.now_ns()
        load = self._load or Load()
        return ServedLog(
            arm,
            self._experiment.prompts.requests,
            origin_ns=origin_ns,
            clock=self._machine.clock,
            slo=dict(load.slo),
            num_warmups=load.num_warmups,
            modelled=self._machine.sums(),
            by_seconds=self._experiment.prompts.by_seconds,
            pass_=self._command,
        )

    def _steps(
        self,
        arm: ArmSpec,
        executor: Executor,
        log: ServedLog | None = None,
        told: Callable[[Step], None] = lambda _: None,
    ) -> Iterator[Step]:
        """Return the pass over an arm, which runs as its steps are taken.

        Args:
            arm: the schedule.
            executor: has started the arm.
            log: of the pass, for when the seconds of its arrivals begin; None to count them as
                iterations.
            told: hears every step.
        """
        by_seconds = log is not None and self._experiment.prompts.by_seconds

        def heard(step: Step) -> None:
            told(step)
            self._listener.advance(len(step.settled.sampled))

        return run_arm(
            arm.policy,
            self._experiment.prompts.requests,
            executor,
            num_layers=self._experiment.shape.num_layers,
            limits=self._experiment.limits(self._machine.num_kv_pages),
            origin_ns=log.origin_ns if log and by_seconds else None,
            log=heard,
        )

    def _work(self) -> int:
        """Tokens that an arm generates."""
        return sum(one.output_tokens for one in self._experiment.prompts.requests)

    def _record(
        self, *, status: Literal["complete", "failed"], failure: str | None = None
    ) -> Record:
        arrivals = "seconds" if self._experiment.prompts.by_seconds else "iterations"
        return Record(
            lpbench_version=__version__,
            status=status,
            failure=failure,
            command=self._command,
            started_at=self._started_at,
            spec=self._spec,
            spec_hash=digest(self._spec),
            environment=environment(self._machine.facts),
            protocol={"drained": True, "arrivals": arrivals},
            arms=tuple(self._arms),
            comparison=compare_arms(self._arms, among=self.compared),
        )


def _load_spec(load: Load | None) -> dict[str, JsonValue]:
    """Return a load's part of the record's spec; nothing where the workload states all."""
    if load is None:
        return {}
    rate = None if load.request_rate is None else str(load.request_rate)
    slo: dict[str, JsonValue] = {f"{key}_ms": most for key, most in load.slo}
    even = {"burstiness": str(load.burstiness)} if math.isinf(load.burstiness) else {}
    return {**asdict(load), "request_rate": rate, **even, "slo": slo}
