"""The energy pass on a virtual clock: an engine that computes nothing, a power curve known.

A pass of the model takes 10 ms, so a run's joules follow from its iterations alone.
"""

import shutil
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from lpbench.bench import energy
from lpbench.bench.campaign import Campaign
from lpbench.bench.energy import run_energy
from lpbench.executors.executor import Execution
from lpbench.plan.iteration import IterationPlan
from lpbench.record.schema import Record
from lpbench.record.store import RunStore
from lpbench.testing.clocks import VirtualClock
from lpbench.testing.meters import FakeMeter
from tests.bench.fakes import NEVER, FakeEngine, Quiet
from tests.bench.tiny import tiny_spec

PASS_S, WATTS = 0.01, 200.0

CAMPAIGN = Campaign(window=1, blocks=8, warm_up=0, idle=1, offset=0)
WARM_UP_WINDOWS = 2 + 1
"""One of each arm, then the idle one."""

Job: TypeAlias = Callable[..., Record]
"""Runs `whole` against `layered:num_groups=3`; takes what is special about meter and campaign."""


def _fresh(folder: Path) -> Path:
    """Return the folder, empty: a test may run more than once."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def energy_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Return the pass on a fake engine; its record goes to `run` in the folder."""
    clock = VirtualClock()
    passes: list[float] = []

    class TimedEngine(FakeEngine):
        speeds_up_at = slows_down_at = NEVER

        def execute(self, plan: IterationPlan, meanwhile: object = None) -> Execution:
            del meanwhile
            done = super().execute(plan)
            passes.append(clock.now_ns() / 1e9)
            quick, slow = self._passes > self.speeds_up_at, self._passes > self.slows_down_at
            clock.sleep(PASS_S * (0.5 if quick else 2 if slow else 1))
            return done

    def run(
        *,
        campaign: Campaign = CAMPAIGN,
        power: Callable[[float], float] = lambda _: WATTS,
        idle_watts: float | None = None,
        engine: Mapping[str, object] | None = None,
        absent: bool = False,
        void: Sequence[int] = (),
        lost_after: int | None = None,
        gain: Callable[[int], float] = lambda _: 1,
        temperature: Callable[[float], float] | None = None,
        processes: int | None = None,
    ) -> Record:
        def with_idle(seconds: float) -> float:
            begun = passes[bisect(passes, seconds) - 1]
            return (
                power(seconds) if seconds < begun + 1.5 * PASS_S or not idle_watts else idle_watts
            )

        monkeypatch.setattr(energy, "Engine", type("Fake", (TimedEngine,), dict(engine or {})))
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        return run_energy(
            tiny_spec(folder, schedules=("whole", "layered:num_groups=3")),
            campaign,
            lambda _: FakeMeter(
                clock,
                with_idle,
                void=void,
                absent=absent,
                lost_after=lost_after,
                step=0.1,
                gain=gain,
                temperature=temperature,
                processes=processes,
            ),
            lambda: RunStore(output=_fresh(tmp_path / "run"), json=None),
            Quiet(),
            clock=clock,
        )

    return run
