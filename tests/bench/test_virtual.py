"""The virtual clock: real passes timed by the model take the very plans that modelled passes take.

DESIGN.md calls the roofline's clock deterministic, and what is modelled is said to be what the same
scheduler code does with a real engine. Here the engine is real, tiny, and has the model's clock.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from lpbench.bench.engine import Engine
from lpbench.bench.experiment import Experiment, resolve
from lpbench.bench.lines import plan_line
from lpbench.bench.loop import Limits, Step, run_arm
from lpbench.bench.spec import Load, RunSpec
from lpbench.bench.virtual import VirtualMachine
from lpbench.executors.executor import Execution, Executor
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.schedules import parse_schedule
from tests.arms import single_thread
from tests.bench.tiny import tiny_spec

SCHEDULES = (
    "whole",
    "chunked:max_num_batched_tokens=48",
    "chunked:max_num_batched_tokens=16",
    "layered:tokens_per_group=16",
    "layered:num_groups=3,max_num_batched_tokens=64",
    "hybrid:chunk=24,num_groups=2",
)
LINES = (
    {"prompt_tokens": 40, "output_tokens": 30, "context_tokens": 30},
    {"prompt_tokens": 20, "output_tokens": 30, "context_tokens": 9},
    {"prompt_tokens": 70, "output_tokens": 8, "arrival_s": 0.0121},
    {"prompt_tokens": 33, "output_tokens": 12, "arrival_s": 0.0121},
    {"prompt_tokens": 25, "output_tokens": 9, "arrival_s": 0.025},
    {"prompt_tokens": 10, "output_tokens": 3, "arrival_s": 5.0},
)
"""Two decode for long, three come while they do, one when all is done."""

AMPLE, SCARCE = 100, 14
"""KV pages: the first three requests together need 18 in the end."""


class TimedByModel:
    """Real passes on the model's clock: every pass takes what it is modelled to take."""

    def __init__(self, real: Executor, model: Executor) -> None:
        """Carry plans out on both."""
        self._real = real
        self._model = model

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, *, pinned: bool = False
    ) -> None:
        """Begin an arm on both."""
        self._real.start_arm(script, pinned=pinned)
        self._model.start_arm(script, pinned=pinned)

    def execute(self, plan: IterationPlan, meanwhile: object = None) -> Execution:
        """Compute the pass, and let its modelled time go by."""
        del meanwhile
        self._model.execute(plan)
        return self._real.execute(plan)

    def release(self, request: int) -> None:
        """Forget a request on both."""
        self._real.release(request)
        self._model.release(request)

    def now_ns(self) -> int:
        """Return the virtual time."""
        return self._model.now_ns()

    def wait_until_ns(self, until_ns: int) -> None:
        """Jump there."""
        self._model.wait_until_ns(until_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """One experiment on two machines: the real engine, and a model of a device."""

    experiment: Experiment
    engine: Engine
    machine: VirtualMachine

    def modelled(self) -> Executor:
        """Return an executor that computes nothing, its clock at 0."""
        return self.machine.executor(self.experiment.prompts.requests)

    def real(self) -> Executor:
        """Return one that computes all of it, on the same clock."""
        return TimedByModel(self.engine.executor, self.modelled())

    def serve(self, executor: Executor, schedule: str, *, num_kv_pages: int) -> list[Step]:
        """Run an arm; arrivals are in seconds of the executor's clock."""
        executor.start_arm(None)
        steps = run_arm(
            parse_schedule(schedule),
            self.experiment.prompts.requests,
            executor,
            num_layers=self.experiment.shape.num_layers,
            limits=Limits(num_kv_pages=num_kv_pages, max_num_seqs=256),
            origin_ns=executor.now_ns(),
        )
        return list(steps)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Return the engine, loaded, and the model of an H200, of the same tiny shape."""
    folder = tmp_path_factory.mktemp("tiny")
    requests = folder / "requests.jsonl"
    requests.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    no_lengths = {"num_prompts": None, "input_len": None, "output_len": None}
    spec: RunSpec = tiny_spec(folder, **no_lengths, requests=requests, load=Load())
    experiment = resolve(spec)
    with single_thread():
        engine = Engine(spec, experiment)
        engine.load()
        modelled = replace(spec, executor="roofline", device="h200")
        yield Both(
            experiment=experiment, engine=engine, machine=VirtualMachine(modelled, experiment)
        )


def plan_hash(steps: Sequence[Step]) -> str:
    """Return the digest of an arm's plans, as records have it."""
    return hashlib.sha256(b"".join(plan_line(step.plan) for step in steps)).hexdigest()


@pytest.mark.parametrize("num_kv_pages", [AMPLE, SCARCE])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_both_executors_take_the_same_plans(both: Both, schedule: str, num_kv_pages: int) -> None:
    """Same plans, tokens for the same requests at the same times; with few pages they preempt."""
    real, modelled = (
        both.serve(executor, schedule, num_kv_pages=num_kv_pages)
        for executor in (both.real(), both.modelled())
    )
    assert plan_hash(real) == plan_hash(modelled)
    for one, other in zip(real, modelled, strict=True):
        assert (one.start_ns, one.stop_ns) == (other.start_ns, other.stop_ns)
        assert (one.arrived, one.preempted, one.settled) == (
            other.arrived,
            other.preempted,
            other.settled,
        )
        assert set(one.settled.sampled) == set(one.execution.tokens)
    assert (num_kv_pages == SCARCE) == any(step.preempted for step in real)
    arrivals = [step for step in real if step.arrived]
    assert len(arrivals) > 2
    assert any(step.plan.decodes for step in arrivals[1:-1])


def test_another_clock_makes_other_plans(both: Both) -> None:
    """The hash would show it: with every arrival at 0 the plans differ."""
    at_once = replace(
        both.experiment,
        prompts=replace(
            both.experiment.prompts,
            requests=tuple(replace(one, arrival=0) for one in both.experiment.prompts.requests),
        ),
    )
    found = [
        plan_hash(one.serve(one.modelled(), SCHEDULES[1], num_kv_pages=AMPLE))
        for one in (both, replace(both, experiment=at_once))
    ]
    assert 2 == len(set(found))
