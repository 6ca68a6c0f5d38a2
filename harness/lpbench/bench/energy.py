"""Joules per token: every schedule on one workload, in windows of the same work, interleaved.

Owns: the energy pass and the record it leaves, failed runs included.
Must not know: how a run is shown, what a schedule does, which instrument a meter is.

    resolve -> meter there? -> load -> rehearse (tokens, counts, lengths) -> warm up -> idle
    -> blocks: A A' B B A' A, each a window -> idle -> record
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from pydantic import JsonValue

from lpbench import __version__
from lpbench.analysis.compare import compare_arms
from lpbench.bench.arm import ArmLog
from lpbench.bench.campaign import Campaign, block_order
from lpbench.bench.cautions import run_cautions
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, Experiment, resolve
from lpbench.bench.joules import (
    Metered,
    Work,
    compare_energy,
    energy_readings,
    joules_of,
    valid_blocks,
)
from lpbench.bench.loop import run_arm
from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import Listener
from lpbench.errors import InputError, RunError, UnavailableError
from lpbench.meters.clocks import Clock, HostClock
from lpbench.meters.meter import Capability, Measurement, Meter
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Arm, Caution, Record
from lpbench.record.store import RunStore
from lpbench.shape.model import DTYPE_BYTES

JOULE_METERS = {"cuda": "nvml", "cpu": "rapl"}
"""What measures the joules of a device unless told."""

FLAT = 1.0
"""Degrees by which a temperature may still rise over a warm-up window and be called flat."""

TICK = "energy_tick_period_s"
"""The reading that says how often the meter's counter moves."""

LEAST_TICKS = 30
"""A window holds so many of them at least, that its edges weigh little."""

TEMPERATURE = "gpu_temperature_c_last"
"""The reading that says whether the device is warm; a meter without it warms up by time alone."""


@dataclass(slots=True, kw_only=True)
class _Turn:
    """One arm of the campaign and what it has done so far."""

    arm: ArmSpec
    role: Literal["arm", "aa"]
    log: ArmLog
    iterations: int
    seconds: float
    windows: list[Metered] = field(default_factory=list)


def run_energy(
    spec: RunSpec,
    campaign: Campaign,
    find_meter: Callable[[str], Meter],
    open_store: Callable[[], RunStore],
    listener: Listener,
    *,
    clock: Clock | None = None,
) -> Record:
    """Run the energy pass and return its record, which is also stored.

    Args:
        spec: what was asked for.
        campaign: how long it is measured.
        find_meter: gives the joule meter of a device, such as "cuda:0".
        open_store: claims the places the record goes to.
        listener: hears how far the run is.
        clock: what waits; the host's unless told.

    Raises:
        InputError: the input cannot run.
        UnavailableError: no joule meter, or no such device.
        RunError: a schedule broke a rule, or the disk is full.
    """
    experiment = resolve(spec)
    campaign.refuse(len(experiment.arms) + 1)
    engine = Engine(spec, experiment)
    meter = find_meter(engine.device)
    capability = meter.probe()
    if not capability.available:
        msg = f"no joules from {meter.name}: {capability.reason}; {capability.fix}"
        raise UnavailableError(msg)
    with open_store() as store:
        run = _Run(
            experiment=experiment,
            engine=engine,
            meter=meter,
            capability=capability,
            campaign=campaign,
            store=store,
            listener=listener,
            clock=clock or HostClock(),
        )
        try:
            return run.go()
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            meter.close()


class _Run:
    """One campaign under way."""

    def __init__(
        self,
        *,
        experiment: Experiment,
        engine: Engine,
        meter: Meter,
        capability: Capability,
        campaign: Campaign,
        store: RunStore,
        listener: Listener,
        clock: Clock,
    ) -> None:
        self._experiment = experiment
        self._engine = engine
        self._meter = meter
        self._capability = capability
        self._campaign = campaign
        self._store = store
        self._listener = listener
        self._clock = clock
        self._offsets = random.Random(experiment.seed)  # noqa: S311 - phases, no secrets
        self._script: Mapping[int, Sequence[int]] | None = None
        self._turns: list[_Turn] = []
        self._idle: list[Measurement] = []
        self._runs = 1
        self._began = False

    def go(self) -> Record:
        self._listener.stage("load weights", 1)
        self._engine.load()
        self._listener.advance(1)
        self._store.write(self._record(status="failed", failure="unfinished"))
        self._began = True
        began = self._clock.now_ns()
        self._rehearse()
        self._warm_up()
        self._wait_idle()
        self._measure(spent=(self._clock.now_ns() - began) / 1e9)
        self._wait_idle()
        record = self._record(status="complete")
        self._store.write(record)
        return record

    def fail(self, error: BaseException) -> None:
        """Leave a record that says the run failed, with the windows there were."""
        if not self._began:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        failure = "interrupted" if interrupted else type(error).__name__
        self._store.write(self._record(status="failed", failure=failure))

    def _rehearse(self) -> None:
        """Run every arm once, counted: its tokens, its iterations, about how long it takes."""
        arms = self._experiment.arms
        self._listener.stage("rehearse", len(arms))
        for arm in arms:
            log = ArmLog(
                arm,
                self._experiment.prompts.requests,
                self._experiment.shape,
                bytes_per_value=DTYPE_BYTES[self._engine.dtype],
            )
            start = self._clock.now_ns()
            iterations = self._run(arm, log)
            seconds = (self._clock.now_ns() - start) / 1e9
            if log.recomputed_context:
                msg = (
                    f"{arm.label} preempts a request with context_tokens, whose context would be "
                    "computed again in the middle of a window; give more --num-kv-pages"
                )
                raise InputError(msg)
            self._script = self._script or log.tokens
            self._turns.append(
                _Turn(arm=arm, role="arm", log=log, iterations=iterations, seconds=seconds)
            )
            self._listener.advance(1)
        first = self._turns[0]
        again = _Turn(
            arm=first.arm,
            role="aa",
            log=first.log,
            iterations=first.iterations,
            seconds=first.seconds,
        )
        self._turns.insert(1, again)

    def _warm_up(self) -> None:
        """Run the arms in turn until the device is warm, and time them warm."""
        campaign = self._campaign
        self._listener.stage("warm up", campaign.warm_up)
        began, last = self._clock.now_ns(), None
        while True:
            for turn in (one for one in self._turns if one.role == "arm"):
                found, seconds = self._window(turn, campaign.repeats(turn.seconds))
                turn.seconds = seconds
                self._listener.advance((found.stop_ns - found.start_ns) / 1e9)
            spent = (self._clock.now_ns() - began) / 1e9
            reading = found.readings.get(TEMPERATURE)
            now = None if reading is None else reading.value
            flat = now is None or (last is not None and now - last < FLAT)
            if spent >= campaign.warm_up and (flat or spent >= campaign.warm_up_most):
                break
            last = now
        self._turns[1].seconds = self._turns[0].seconds  # the A/A arm is the first one again
        tick = found.readings.get(TICK)
        if tick is not None and tick.value is not None:
            longer = max(campaign.window, LEAST_TICKS * tick.value)
            self._campaign = replace(campaign, window=longer)
        self._runs = self._campaign.repeats(min(turn.seconds for turn in self._turns))

    def _measure(self, *, spent: float) -> None:
        """Run the blocks: every arm twice in each, forwards and back."""
        order = block_order(self._turns)
        block = sum(turn.seconds * self._runs + self._campaign.offset for turn in order)
        blocks = self._campaign.blocks_that_fit(spent=spent, block=block)
        self._listener.stage("measure", blocks * len(order))
        for at in range(blocks):
            for turn in order:
                found, _ = self._window(turn, self._runs)
                turn.windows.append(
                    Metered(
                        block=at,
                        runs=self._runs,
                        iterations=self._runs * turn.iterations,
                        found=found,
                    )
                )
                self._store_series(turn, at, found)
                self._listener.advance(1)

    def _window(self, turn: _Turn, runs: int) -> tuple[Measurement, float]:
        """Run an arm so often in one window; return it and the seconds of one run."""
        self._open_window()
        # Within the window: the meter opens at a tick of its own clock, and a wait before it would
        # be lost in waiting for that.
        self._clock.sleep(self._offsets.uniform(0, self._campaign.offset))
        start = self._clock.now_ns()
        for _ in range(runs):
            self._run(turn.arm)
        seconds = (self._clock.now_ns() - start) / 1e9 / runs
        return self._meter.stop(), seconds

    def _wait_idle(self) -> None:
        """Measure without work; the weights stay where they are."""
        self._listener.stage("idle", 1)
        self._open_window()
        self._clock.sleep(self._campaign.idle)
        self._idle.append(self._meter.stop())
        self._listener.advance(1)

    def _open_window(self) -> None:
        try:
            self._meter.start()
        except UnavailableError as error:  # it was there when the run began
            msg = f"{self._meter.name} measures no longer: {error}"
            raise RunError(msg) from error

    def _run(self, arm: ArmSpec, log: ArmLog | None = None) -> int:
        """Serve the workload once; return the number of iterations."""
        experiment, executor = self._experiment, self._engine.executor
        executor.start_arm(self._script)
        iterations = 0
        for step in run_arm(
            arm.policy,
            experiment.prompts.requests,
            executor,
            num_layers=experiment.shape.num_layers,
            limits=experiment.limits(self._engine.num_kv_pages),
        ):
            iterations += 1
            if log is not None:
                log.observe(step)
        return iterations

    def _store_series(self, turn: _Turn, block: int, found: Measurement) -> None:
        for name, rows in found.series.items():
            self._store.lines(f"samples/{name}.jsonl").append(
                {"arm": self._label(turn), "block": block, "sample": list(row)} for row in rows
            )

    def _label(self, turn: _Turn) -> str:
        """Return the arm's label; the A/A arm's is its schedule's with the next free number."""
        label = turn.arm.label
        if turn.role == "arm":
            return label
        same = sum(arm.typed == turn.arm.typed for arm in self._experiment.arms)
        return f"{label}#{same + 1}"

    def _record(
        self, *, status: Literal["complete", "failed"], failure: str | None = None
    ) -> Record:
        arms = tuple(self._arm(turn) for turn in self._turns if turn.windows)
        spec: dict[str, JsonValue] = dict(self._engine.spec)
        windows = {self._label(turn): turn.windows for turn in self._turns if turn.windows}
        return Record(
            lpbench_version=__version__,
            status=status,
            failure=failure,
            command="energy",
            spec=spec,
            spec_hash=digest(spec),
            environment=environment(self._engine.facts),
            protocol={
                **asdict(self._campaign),
                "meter": self._meter.name,
                "meter_facts": dict(self._capability.facts),
            },
            arms=arms,
            comparison=(
                *compare_arms(arms),
                *(compare_energy(windows, self._work()) if windows else ()),
            ),
        )

    def _arm(self, turn: _Turn) -> Arm:
        counted = turn.log.to_record()
        kept = {
            name: reading
            for name, reading in counted.metrics.items()
            if reading.method != "measured"
        }
        energy = energy_readings(turn.windows, self._work(), idle=self._idle)
        changes: Mapping[str, object] = {
            "label": self._label(turn),
            "role": turn.role,
            "metrics": {**kept, **energy},
            "windows": tuple(one.to_record() for one in turn.windows),
            "warnings": (*counted.warnings, *self._cautions(turn)),
        }
        return counted.model_copy(update=changes)

    def _cautions(self, turn: _Turn) -> list[Caution]:
        """Return what was wrong with windows, and with tokens."""
        said = run_cautions(self._experiment, self._engine)
        void = [one for one in turn.windows if one.reading.validity != "valid"]
        if void:
            codes = ", ".join(dict.fromkeys(c for one in void for c in one.reading.reasons))
            blocks = len({one.block for one in turn.windows}) - len(valid_blocks(turn.windows))
            message = (
                f"{self._label(turn)}: {len(void)} of {len(turn.windows)} windows are void "
                f"({codes}); {blocks} blocks do not count"
            )
            said.append(Caution(code="void_windows", message=message))
        if turn.log.tokens != self._turns[0].log.tokens:
            message = f"{turn.arm.label}: its own tokens differ from the first schedule's"
            said.append(Caution(code="tokens_differ", message=message))
        own = JOULE_METERS[self._engine.device.partition(":")[0]]
        if self._meter.name in JOULE_METERS.values() and self._meter.name != own:
            message = (
                f"the joules are {self._meter.name}'s, but the work ran on {self._engine.device}"
            )
            said.append(Caution(code="other_device", message=message))
        if any(joules_of(one).validity != "valid" for one in self._idle):
            said.append(Caution(code="void_idle", message="an idle window is void"))
        return said

    def _work(self) -> Work:
        requests = self._experiment.prompts.requests
        return Work(
            prompt_tokens=sum(one.prompt_tokens for one in requests),
            output_tokens=sum(one.output_tokens for one in requests),
            requests=len(requests),
        )
