"""The main job: every schedule on one workload, expert traffic counted, sameness audited.

Owns: the passes of `lpbench traffic` and the record they leave, failed runs included.
Must not know: how a run is shown, what a schedule does.

    resolve -> memory -> load -> warm up -> counting pass, arm by arm -> counter pass where
    there is a counter -> ncu where asked for -> audit pass -> record
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from lpbench import __version__
from lpbench.analysis.compare import compare_arms
from lpbench.bench.arm import ArmLog
from lpbench.bench.audit import Witnessed, audit, sampled_tokens
from lpbench.bench.cautions import run_cautions
from lpbench.bench.counters import CounterPass
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, Experiment, resolve
from lpbench.bench.instruments import Counters, Instruments, find_instruments
from lpbench.bench.latency import run_modelled
from lpbench.bench.listener import Listener
from lpbench.bench.loop import Step, run_arm
from lpbench.bench.spec import RunSpec
from lpbench.executors.executor import Evidence
from lpbench.plan.iteration import IterationPlan
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Arm, Audit, Caution, Record
from lpbench.record.store import RunStore
from lpbench.workload.recorded import Lengths, RoutingTrace


def run_traffic(
    spec: RunSpec,
    open_store: Callable[[], RunStore],
    listener: Listener,
    counters: Counters | None = None,
    *,
    require: Callable[[str], None] = lambda _: None,
    record_routing: Path | None = None,
) -> Record:
    """Run the job and return its record, which is also stored.

    Args:
        spec: what was asked for.
        open_store: claims the places the record goes to, once the input is known to be good.
        listener: hears how far the run is.
        counters: what measures DRAM bytes; None for no counter pass.
        require: refuses a device such as "cuda:0" that lacks what was asked for.
        record_routing: a file that the first arm's routing is kept in, as its audit saw it; None to
            keep none.

    Raises:
        InputError: the input cannot run.
        UnavailableError: the device is not there, or required counters are not.
        RunError: a schedule broke a rule, or the disk is full.
    """
    if spec.executor == "roofline":
        return run_modelled("traffic", spec, open_store, listener)
    experiment = resolve(spec)
    engine = Engine(spec, experiment)
    require(engine.device)
    instruments = find_instruments(counters, engine.device)
    try:
        with open_store() as store:
            run = _Run(
                spec,
                experiment,
                engine,
                instruments,
                store=store,
                listener=listener,
                record_routing=record_routing,
            )
            try:
                return run.go()
            except BaseException as error:
                run.fail(error)
                raise
    finally:
        instruments.close()


class _Run:
    """One run under way: what it has found so far."""

    def __init__(
        self,
        spec: RunSpec,
        experiment: Experiment,
        engine: Engine,
        instruments: Instruments,
        *,
        store: RunStore,
        listener: Listener,
        record_routing: Path | None,
    ) -> None:
        self._spec = spec
        self._experiment = experiment
        self._engine = engine
        self._instruments = instruments
        self._store = store
        self._listener = listener
        self._started_at = datetime.now(UTC)
        self._arms: list[Arm] = []
        self._begun = False
        self._under_way: ArmLog | None = None
        self._counter_pass: CounterPass | None = None
        self._record_routing = record_routing

    def go(self) -> Record:
        self._listener.stage("load weights", 1)
        self._engine.load()
        self._listener.advance(1)
        self._store.write(self._record(status="failed", failure="unfinished"))
        self._begun = True
        self._rehearse()
        script: Mapping[int, Sequence[int]] | None = None
        logs = []
        for arm in self._experiment.arms:
            logs.append(self._count(arm, script))
            script = script or logs[0].tokens
        self._measure(logs, script or {})
        found = self._audit(script or {})
        record = self._record(status="complete", found=found)
        self._store.write(record)
        return record

    def _rehearse(self) -> None:
        """Run every arm once before it counts, on a GPU.

        There the first use of a kernel loads it, and the first of a size takes memory from the
        driver: the baseline would pay for both.
        """
        if self._engine.device == "cpu":
            return
        for arm in self._experiment.arms:
            self._listener.stage(f"warm up {arm.label}", self._work())
            self._engine.executor.start_arm(None)
            self._run(arm)

    def fail(self, error: BaseException) -> None:
        """Leave a record that says the run failed, with what was done, once it has begun."""
        if not self._begun:
            return
        if self._under_way is not None:
            self._arms.append(
                self._under_way.to_record(
                    unfinished="arm_unfinished", dram=self._instruments.unmeasured
                )
            )
        if self._counter_pass is not None:
            self._arms = self._counter_pass.records(self._cautions)
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
            precision=engine.precision,
            device=engine.known_device,
        )
        engine.executor.start_arm(script)
        lines = self._store.lines("iterations.jsonl")
        self._run(arm, lambda step: lines.append([log.observe(step)]))
        self._store.lines("requests.jsonl").append(log.request_lines())
        unmeasured = self._instruments.unmeasured
        self._arms.append(log.to_record(cautions=self._cautions, dram=unmeasured))
        self._under_way = None
        return log

    def _measure(self, logs: Sequence[ArmLog], script: Mapping[int, Sequence[int]]) -> None:
        """Run the counter pass: every arm again, by each instrument there is."""
        if not (self._instruments.meters or self._instruments.by_kernel):
            return
        self._counter_pass = CounterPass(
            self._experiment,
            self._engine,
            self._instruments,
            store=self._store,
            listener=self._listener,
            logs=logs,
            script=script,
        )
        self._counter_pass.run()
        if self._instruments.by_kernel:
            self._counter_pass.profile(self._spec)
        self._arms = self._counter_pass.records(self._cautions)

    @property
    def _cautions(self) -> list[Caution]:
        run = run_cautions(self._experiment, self._engine)
        return [*run, *self._instruments.cautions]

    def _audit(self, script: Mapping[int, Sequence[int]]) -> Audit:
        """Run every arm again, fed the first arm's tokens, and compare what each computed."""
        experiment, engine = self._experiment, self._engine
        engine.load_for_audit()
        seen = []
        for arm in experiment.arms:
            self._listener.stage(f"audit {arm.label}", self._work())
            tokens: dict[int, list[int]] = {r.index: [] for r in experiment.prompts.requests}
            probe = engine.start_audit(script, sampled_tokens(experiment.prompts.requests))
            self._run(arm, partial(_keep_tokens, tokens))
            seen.append(Witnessed(label=arm.label, tokens=tokens, evidence=probe.evidence()))
        if self._record_routing is not None:
            self._routing(seen[0].evidence).write(self._record_routing)
        return audit(seen, dtype=engine.audit_dtype)

    def _routing(self, first: Evidence) -> RoutingTrace:
        """Return the experts of every row of the first arm, as its audit saw them.

        Of a model's own router they are those of the audit's dtype: where a choice is a near tie,
        the counting pass may have made the other one.
        """
        experiment = self._experiment
        return RoutingTrace(
            name="of this run",
            num_experts=experiment.shape.num_experts,
            lengths=tuple(map(Lengths.of, experiment.prompts.requests)),
            experts=first.experts,
            about={
                **{key: experiment.identity[key] for key in ("model", "workload_hash")},
                "routing": experiment.routing,
                "schedule": experiment.arms[0].label,
                "dtype": self._engine.audit_dtype,
                "seed": experiment.seed,
            },
        )

    def _run(self, arm: ArmSpec, log: Callable[[Step], None] = lambda _: None) -> None:
        """Serve an arm's requests to their end; `log` is told every iteration."""
        experiment = self._experiment

        def told(step: Step) -> None:
            log(step)
            self._advance(step.plan)

        steps = run_arm(
            arm.policy,
            experiment.prompts.requests,
            self._engine.executor,
            num_layers=experiment.shape.num_layers,
            limits=experiment.limits(self._engine.num_kv_pages),
            log=told,
        )
        deque(steps, maxlen=0)

    def _advance(self, plan: IterationPlan) -> None:
        """Show how many rows have passed all layers."""
        layers = self._experiment.shape.num_layers
        rows = sum(len(s.layers) * s.num_prefill_rows for s in plan.segments(layers))
        self._listener.advance(rows / layers + len(plan.decodes))

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
            started_at=self._started_at,
            spec=dict(self._engine.spec),
            spec_hash=digest(dict(self._engine.spec)),
            environment=environment(self._engine.facts),
            protocol={"meters": dict(self._instruments.facts)} if self._instruments.facts else {},
            arms=tuple(self._arms),
            audit=found,
            comparison=compare_arms(self._arms),
        )


def _keep_tokens(tokens: Mapping[int, list[int]], step: Step) -> None:
    for request, token in step.execution.tokens.items():
        tokens[request].append(token)
