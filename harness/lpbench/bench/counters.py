"""The counter pass: every arm again, its DRAM bytes measured by the instruments there are.

Owns: the pass over an arm, what becomes of an instrument that fails in it.
Must not know: which instruments there are, how bytes of a run follow from windows.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lpbench.bench.arm import ArmLog
from lpbench.bench.dram import (
    EXPERTS,
    NOT_MEASURED,
    Control,
    Measured,
    cached,
    measure_dram,
    unmeasured_dram,
)
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, Experiment
from lpbench.bench.instruments import Instruments
from lpbench.bench.loop import run_arm
from lpbench.bench.series import keep_series
from lpbench.errors import UnavailableError
from lpbench.meters.meter import Measurement, Meter
from lpbench.record.schema import Reading, Window
from lpbench.record.store import RunStore
from lpbench.shape.device import Device
from lpbench.shape.model import DTYPE_BYTES


class CounterPass:
    """The pass over one run's arms."""

    def __init__(
        self,
        experiment: Experiment,
        engine: Engine,
        instruments: Instruments,
        *,
        store: RunStore,
        device: Device | None,
        told: Callable[[], None],
    ) -> None:
        """Measure nothing yet.

        Args:
            experiment: whose arms.
            engine: loaded.
            instruments: what measures.
            store: where raw samples go.
            device: what the arms run on, None for an unknown one.
            told: called after each window.
        """
        self._experiment = experiment
        self._engine = engine
        self._instruments = instruments
        self._store = store
        self._device = device
        self._told = told

    def measure(self, arm: ArmSpec, log: ArmLog, script: Mapping[int, Sequence[int]]) -> Measured:
        """Return what the instruments with windows find over runs of one arm.

        Args:
            arm: which.
            log: of the arm in the counting pass.
            script: the tokens that every arm is fed.
        """
        readings = self._instruments.unmeasured
        windows: list[Window] = []
        for meter in self._instruments.meters:
            if log.recomputed_context:
                found = Measured(
                    readings=unmeasured_dram({meter.name: "context_recomputed"}), windows=()
                )
            else:
                found = self._measure(meter, arm, log, script)
            experts = max(readings[EXPERTS], found.readings[EXPERTS], key=_worth)
            readings |= {**found.readings, EXPERTS: experts}
            windows += found.windows
        return Measured(readings=readings, windows=tuple(windows))

    def _measure(
        self, meter: Meter, arm: ArmSpec, log: ArmLog, script: Mapping[int, Sequence[int]]
    ) -> Measured:
        windows: list[Window] = []

        def keep(window: Window, found: Measurement) -> None:
            windows.append(window)
            keep_series(
                self._store,
                found,
                arm=arm.label,
                window=window.name,
                block=window.block,
                runs=window.runs,
            )
            self._told()

        try:
            found = measure_dram(
                partial(self._repeat, arm, script, pinned=False),
                Control(
                    run=partial(self._repeat, arm, script, pinned=True),
                    expert_bytes=log.pinned_bytes,
                ),
                meter,
                seconds=log.seconds,
                iterations=log.iterations,
                device=self._device,
                company=self._instruments.company.look,
                keep=keep,
            )
        except UnavailableError as error:  # it was there: what was counted still stands
            absent = unmeasured_dram({meter.name: error.code})
            return Measured(readings=absent, windows=tuple(windows))
        layer_bytes = self._experiment.shape.layer_expert_bytes(DTYPE_BYTES[self._engine.dtype])
        readings = cached(
            found.readings, layer_bytes=layer_bytes, cache_bytes=self._engine.cache_bytes
        )
        return Measured(readings=readings, windows=found.windows)

    def _repeat(
        self, arm: ArmSpec, script: Mapping[int, Sequence[int]], runs: int, *, pinned: bool
    ) -> None:
        """Run an arm so often; with `pinned` every row goes to the same k experts."""
        for _ in range(runs):
            self._engine.executor.start_arm(script, pinned=pinned)
            passes = run_arm(
                arm.policy,
                self._experiment.prompts.requests,
                self._engine.executor,
                num_layers=self._experiment.shape.num_layers,
                limits=self._experiment.limits(self._engine.num_kv_pages),
            )
            deque(passes, maxlen=0)


def _worth(reading: Reading) -> int:
    """Return how much a reading is worth beside another; of equal ones the first is kept."""
    if reading.value is None:
        return 0 if NOT_MEASURED in reading.reasons else 1
    return 3 if reading.validity == "valid" else 2
