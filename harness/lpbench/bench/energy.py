"""Joules per token: every schedule on one workload, in windows of the same work, interleaved.

Owns: the energy pass and the record it leaves, failed runs included.
Must not know: how a run is shown, what a schedule does, which instrument a meter is.

    resolve -> meter there? -> load -> rehearse (tokens, counts, lengths) -> warm up -> idle
    -> blocks: A A' B B A' A, each a window -> idle -> record
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

from pydantic import JsonValue

from lpbench import __version__
from lpbench.analysis.compare import compare_arms
from lpbench.bench.arm import ArmLog
from lpbench.bench.campaign import Campaign, block_order
from lpbench.bench.cautions import run_cautions
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, Experiment, resolve
from lpbench.bench.instruments import JOULE_METERS
from lpbench.bench.joules import (
    Metered,
    Work,
    compare_energy,
    idle_window,
    joules_of,
    processes_of,
)
from lpbench.bench.latency import run_modelled
from lpbench.bench.listener import Listener
from lpbench.bench.loop import run_arm
from lpbench.bench.series import keep_series
from lpbench.bench.spec import RunSpec
from lpbench.bench.turn import Turn, noise_cautions
from lpbench.errors import InputError, RunError, UnavailableError
from lpbench.meters.clocks import Clock, HostClock
from lpbench.meters.meter import Capability, Measurement, Meter
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Caution, Record
from lpbench.record.store import RunStore

FLAT = 1.0
"""Degrees by which a temperature may still rise over a warm-up window and be called flat."""

TICK = "energy_tick_period_s"
"""The reading that says how often the meter's counter moves."""

TEMPERATURE = "gpu_temperature_c_last"
"""The reading that says whether the device is warm; a meter without it warms up by time alone."""


def run_energy(
    spec: RunSpec,
    campaign: Campaign,
    find_meter: Callable[[str], Meter],
    open_store: Callable[[], RunStore],
    listener: Listener,
    *,
    require: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> Record:
    """Run the energy pass and return its record, which is also stored.

    Args:
        spec: what was asked for.
        campaign: how long it is measured.
        find_meter: gives the joule meter of a device, such as "cuda:0".
        open_store: claims the places the record goes to.
        listener: hears how far the run is.
        require: refuses a device such as "cuda:0" that lacks what was asked for.
        clock: what waits; the host's unless told.

    Raises:
        InputError: the input cannot run.
        UnavailableError: no joule meter, or no such device.
        RunError: a schedule broke a rule, or the disk is full.
    """
    if spec.executor == "roofline":
        return run_modelled("energy", spec, open_store, listener)
    experiment = resolve(spec)
    campaign.refuse(len(experiment.arms) + 1)
    engine = Engine(spec, experiment)
    require(engine.device)
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
        self._started_at = datetime.now(UTC)
        self._offsets = random.Random(experiment.seed)  # noqa: S311 - phases, no secrets
        self._script: Mapping[int, Sequence[int]] | None = None
        self._turns: list[Turn] = []
        self._idle: list[Measurement] = []
        self._num_windows = 0
        self._origin_ns = 0
        self._took: dict[str, JsonValue] = {}
        self._began = False

    def go(self) -> Record:
        self._listener.stage("load weights", 1)
        self._engine.load()
        self._listener.advance(1)
        self._store.write(self._record(status="failed", failure="unfinished"))
        self._began = True
        self._origin_ns = self._clock.now_ns()
        self._rehearse()
        self._warm_up()
        blocks = self._plan_blocks()
        self._wait_idle()
        self._measure(blocks)
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

    def _spent(self) -> float:
        """Return the seconds since the model was loaded."""
        return (self._clock.now_ns() - self._origin_ns) / 1e9

    def _rehearse(self) -> None:
        """Run every arm once, counted: its tokens, its iterations, about how long it takes."""
        arms = self._experiment.arms
        self._listener.stage("rehearse", len(arms))
        for arm in arms:
            log = ArmLog(
                arm,
                self._experiment.prompts.requests,
                self._experiment.shape,
                precision=self._engine.precision,
                device=self._engine.known_device,
            )
            start = self._clock.now_ns()
            iterations = self._run(arm, log)
            seconds = (self._clock.now_ns() - start) / 1e9
            self._store.lines("requests.jsonl").append(log.request_lines())
            if log.recomputed_context:
                msg = (
                    f"{arm.label} preempts a request with context_tokens, whose context would be "
                    "computed again in the middle of a window; give more --num-kv-pages"
                )
                raise InputError(msg)
            self._script = self._script or log.tokens
            self._turns.append(
                Turn(
                    label=arm.label,
                    arm=arm,
                    role="arm",
                    log=log,
                    iterations=iterations,
                    seconds=seconds,
                )
            )
            self._listener.advance(1)
        self._turns.insert(1, self._turns[0].again(arms))

    def _warm_up(self) -> None:
        """Run the arms in turn until the device is warm, and time them warm."""
        campaign, turns = self._campaign, [one for one in self._turns if one.role == "arm"]
        most = campaign.warm_up_most_of(spent=self._spent(), block=self._block_s())
        self._listener.stage("warm up", campaign.warm_up)
        began, spent, last = self._spent(), 0.0, None
        while True:
            before = spent
            for turn in turns:
                found, seconds = self._window(turn, campaign.repeats(turn.seconds))
                turn.seconds = seconds
                self._listener.advance((found.stop_ns - found.start_ns) / 1e9)
            spent = self._spent() - began
            reading = found.readings.get(TEMPERATURE)
            now = None if reading is None else reading.value
            flat = now is None or (last is not None and now - last < FLAT)
            is_last = spent + (spent - before) > most  # another round would take too long
            if spent >= campaign.warm_up and (flat or is_last):
                break
            last = now
        self._took |= {"warm_up_took": spent, "warm_up_flat": flat}
        self._turns[1].seconds = self._turns[0].seconds  # the A/A arm is the first one again
        tick = found.readings.get(TICK)
        if tick is not None and tick.value is not None:
            self._campaign = campaign.for_ticks(tick.value)

    def _runs(self) -> int:
        """Return how often the workload is repeated in a window: by the quickest run so far."""
        return self._campaign.repeats(min(turn.seconds for turn in self._turns))

    def _block_s(self) -> float:
        """Return about how long a block takes."""
        runs, order = self._runs(), block_order(self._turns)
        return sum(turn.seconds * runs + self._campaign.offset for turn in order)

    def _plan_blocks(self) -> int:
        """Return how many blocks there are time for.

        Raises:
            InputError: the time budget holds none after all.
        """
        return self._campaign.blocks_that_fit(spent=self._spent(), block=self._block_s())

    def _measure(self, blocks: int) -> None:
        """Run the blocks: every arm twice in each, forwards and back.

        All windows of a block hold the same work. Should runs get quicker, later blocks hold more
        of them; should they get slower, blocks that no longer fit the budget are left out.
        """
        order, block = block_order(self._turns), 0.0
        self._listener.stage("measure", blocks * len(order))
        for at in range(blocks):
            began = self._spent()
            if not self._campaign.has_room(spent=began, block=block):
                break
            runs = self._runs()
            for turn in order:
                found, seconds = self._window(turn, runs)
                turn.seconds = min(turn.seconds, seconds)
                turn.windows.append(
                    Metered(
                        block=at,
                        runs=runs,
                        iterations=runs * turn.iterations,
                        start_ms=self._start_ms(found),
                        found=found,
                    )
                )
                self._keep(found, arm=turn.label, block=at)
                self._listener.advance(1)
            block = self._spent() - began
            self._took |= {"blocks_run": at + 1, "block_took": block}

    def _start_ms(self, found: Measurement) -> float:
        return (found.start_ns - self._origin_ns) / 1e6

    def _keep(self, found: Measurement, *, arm: str | None, block: int | None) -> None:
        """Store a window's samples; windows are numbered as they came."""
        keep_series(self._store, found, arm=arm, block=block, window=self._num_windows)
        self._num_windows += 1

    def _window(self, turn: Turn, runs: int) -> tuple[Measurement, float]:
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
        found = self._meter.stop()
        self._keep(found, arm=None, block=None)
        self._idle.append(found)
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
                self._store.lines("iterations.jsonl").append([log.observe(step)])
        return iterations

    def _record(
        self, *, status: Literal["complete", "failed"], failure: str | None = None
    ) -> Record:
        turns = [turn for turn in self._turns if turn.windows]
        work, cautions = self._work(), self._cautions()
        windows = {turn.label: turn.windows for turn in turns}
        compared = compare_energy(windows, work) if windows else ()
        arms = tuple(
            turn.to_record(
                work,
                idle=self._idle,
                cautions=[*cautions, *self._differs(turn), *noise_cautions(turn, compared)],
            )
            for turn in turns
        )
        spec: dict[str, JsonValue] = dict(self._engine.spec)
        return Record(
            lpbench_version=__version__,
            status=status,
            failure=failure,
            command="energy",
            started_at=self._started_at,
            spec=spec,
            spec_hash=digest(spec),
            environment=environment(self._engine.facts),
            protocol={
                **asdict(self._campaign),
                **self._took,
                "meters": {self._meter.name: dict(self._capability.facts)},
            },
            windows=tuple(idle_window(one, start_ms=self._start_ms(one)) for one in self._idle),
            arms=arms,
            comparison=(*compare_arms(arms), *compared),
        )

    def _differs(self, turn: Turn) -> list[Caution]:
        if turn.log.tokens == self._turns[0].log.tokens:
            return []
        message = f"{turn.arm.label}: its own tokens differ from the first schedule's"
        return [Caution(code="tokens_differ", message=message)]

    def _cautions(self) -> list[Caution]:
        """Return what to know before trusting any arm."""
        said = run_cautions(self._experiment, self._engine)
        own = JOULE_METERS[self._engine.device.partition(":")[0]]
        if self._meter.name in JOULE_METERS.values() and self._meter.name != own:
            message = (
                f"the joules are {self._meter.name}'s, but the work ran on {self._engine.device}"
            )
            said.append(Caution(code="other_device", message=message))
        if any(joules_of(one).validity != "valid" for one in self._idle):
            said.append(Caution(code="void_idle", message="an idle window is void"))
        most = max(
            (processes_of(one.found) for turn in self._turns for one in turn.windows), default=0
        )
        if most > 1:
            message = (
                f"{most:.0f} processes are on the GPU throughout: its joules and its time are "
                "theirs too"
            )
            said.append(Caution(code="shared_gpu", message=message))
        if self._took.get("warm_up_flat") is False:
            message = "the temperature still rose when the warm-up ended: blocks may drift"
            said.append(Caution(code="not_flat", message=message))
        return said

    def _work(self) -> Work:
        requests = self._experiment.prompts.requests
        return Work(
            prompt_tokens=sum(one.prompt_tokens for one in requests),
            output_tokens=sum(one.output_tokens for one in requests),
            requests=len(requests),
        )
