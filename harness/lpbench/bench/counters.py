"""The counter pass: every arm again, its DRAM bytes measured by the instruments there are.

Owns: the pass over arms and instruments, what becomes of an instrument that fails in it, which
instrument's expert bytes are the run's.
Must not know: which instruments there are, how bytes of a run follow from windows.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from lpbench.bench.arm import ArmLog
from lpbench.bench.dram import (
    BY_NCU,
    EXPERTS,
    WINDOWS,
    Control,
    cached,
    measure_dram,
    unmeasured_dram,
    window_cautions,
)
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, Experiment
from lpbench.bench.instruments import Instruments, no_counters
from lpbench.bench.listener import Listener
from lpbench.bench.loop import run_arm
from lpbench.bench.profiled import measure_kernels
from lpbench.bench.series import keep_series
from lpbench.bench.spec import RunSpec
from lpbench.errors import RunError, UnavailableError
from lpbench.meters.meter import Measurement, Meter
from lpbench.record.schema import Arm, Caution, Reading, Window
from lpbench.record.store import RunStore
from lpbench.shape.precision import layer_expert_bytes


@dataclass(slots=True, kw_only=True)
class _Found:
    """What the pass has of one arm so far: bytes, expert bytes by meter, windows, doubts."""

    arm: ArmSpec
    log: ArmLog
    readings: dict[str, Reading]
    experts: dict[str, Reading] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)


class CounterPass:
    """The pass over one run's arms, instrument by instrument."""

    def __init__(
        self,
        experiment: Experiment,
        engine: Engine,
        instruments: Instruments,
        *,
        store: RunStore,
        listener: Listener,
        logs: Sequence[ArmLog],
        script: Mapping[int, Sequence[int]],
    ) -> None:
        """Measure nothing yet.

        Args:
            experiment: whose arms.
            engine: loaded.
            instruments: what measures.
            store: where raw samples go.
            listener: hears how far the pass is.
            logs: of the arms in the counting pass.
            script: the tokens that every arm is fed.
        """
        self._experiment = experiment
        self._engine = engine
        self._instruments = instruments
        self._store = store
        self._listener = listener
        self._script = script
        self._found = [
            _Found(arm=arm, log=log, readings=instruments.unmeasured)
            for arm, log in zip(experiment.arms, logs, strict=True)
        ]

    def run(self) -> None:
        """Measure every arm by each meter that opens windows; one has the device at a time."""
        company = self._instruments.company
        for meter in self._instruments.meters:
            for found in self._found:
                self._listener.stage(f"measure {found.arm.label} by {meter.name}", WINDOWS)
                self._measure(meter, found)
            meter.close()
            others = (company.most or 0) - self._instruments.own_processes(meter.name)
            if others > 0:
                self._share(others)
            company.close()

    def profile(self, spec: RunSpec) -> None:
        """Measure the experts' kernels of every arm under ncu; the model is let go of."""
        self._engine.unload()
        for found in self._found:
            self._listener.stage(f"profile {found.arm.label}", 1)
            try:
                reading = measure_kernels(
                    spec,
                    self._engine,
                    found.arm,
                    plan_hash=found.log.plan_hash,
                    script=self._script,
                )
            except (RunError, UnavailableError) as error:
                code = error.code if isinstance(error, UnavailableError) else "ncu_failed"
                reading = unmeasured_dram({"ncu": code})[BY_NCU]
                found.cautions.append(no_counters("ncu", str(error)))
            found.readings[BY_NCU] = reading
            self._listener.advance(1)

    def records(self, cautions: Sequence[Caution]) -> list[Arm]:
        """Return the arms' parts of the record, as far as the pass is."""
        name = self._experts_by()
        return [
            found.log.to_record(
                cautions=[*cautions, *found.cautions],
                dram={**found.readings, EXPERTS: found.experts.get(name, found.readings[EXPERTS])},
                windows=found.windows,
            )
            for found in self._found
        ]

    def _experts_by(self) -> str:
        """Return the meter whose expert bytes are the run's: arms are compared by one alone.

        The first that is valid in every arm, else the first that gave a number in every arm.
        """
        names = [meter.name for meter in self._instruments.meters]
        for is_good in (_is_valid, _has_value):
            for name in names:
                if all(name in one.experts and is_good(one.experts[name]) for one in self._found):
                    return name
        return next(iter(names), "")

    def _measure(self, meter: Meter, found: _Found) -> None:
        """Measure one arm by one meter; what was there and fails costs its own bytes alone."""
        label, windows = found.arm.label, list[Window]()

        def keep(window: Window, measurement: Measurement) -> None:
            windows.append(window)
            found.windows.append(window)
            keep_series(
                self._store,
                measurement,
                arm=label,
                window=window.name,
                block=window.block,
                runs=window.runs,
            )
            self._listener.advance(1)

        try:
            readings = self._bytes_of_run(meter, found, keep)
        except UnavailableError as error:
            readings = unmeasured_dram({meter.name: error.code})
            found.cautions.append(no_counters(meter.name, str(error)))
        found.experts[meter.name] = readings.pop(EXPERTS)
        found.readings |= readings
        found.cautions += window_cautions(windows, label=label)

    def _bytes_of_run(
        self, meter: Meter, found: _Found, keep: Callable[[Window, Measurement], None]
    ) -> dict[str, Reading]:
        """Return the bytes of one run of an arm.

        Raises:
            UnavailableError: a window cannot be opened, or would hold more than the run.
        """
        arm, log = found.arm, found.log
        if log.recomputed_context:
            msg = (
                f"{arm.label} preempts a request with context_tokens, whose context would be "
                "computed again in the middle of a window; give more --num-kv-pages"
            )
            raise UnavailableError(msg, code="context_recomputed")
        pinned = partial(self._repeat, arm, pinned=True)
        readings = measure_dram(
            partial(self._repeat, arm, pinned=False),
            Control(run=pinned, expert_bytes=log.pinned_bytes),
            meter,
            seconds=log.seconds,
            iterations=log.iterations,
            device=self._engine.known_device,
            company=self._instruments.company,
            keep=keep,
        )
        layer_bytes = layer_expert_bytes(self._experiment.shape, self._engine.precision)
        return cached(readings, layer_bytes=layer_bytes, cache_bytes=self._engine.cache_bytes)

    def _share(self, others: int) -> None:
        message = (
            f"{others} other process{'es' * (others > 1)} on the GPU throughout: the bytes that "
            "were measured are theirs too"
        )
        for found in self._found:
            found.cautions.append(Caution(code="shared_gpu", message=message))

    def _repeat(self, arm: ArmSpec, runs: int, *, pinned: bool) -> None:
        """Run an arm so often; with `pinned` every row goes to the same k experts."""
        for _ in range(runs):
            self._engine.executor.start_arm(self._script, pinned=pinned)
            passes = run_arm(
                arm.policy,
                self._experiment.prompts.requests,
                self._engine.executor,
                num_layers=self._experiment.shape.num_layers,
                limits=self._experiment.limits(self._engine.num_kv_pages),
            )
            deque(passes, maxlen=0)


def _is_valid(reading: Reading) -> bool:
    return reading.validity == "valid"


def _has_value(reading: Reading) -> bool:
    return reading.value is not None
