"""An engine that computes nothing, and a listener that keeps what it hears."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lpbench.bench.experiment import Experiment
from lpbench.bench.spec import RunSpec
from lpbench.executors.executor import Evidence, Execution, Routed
from lpbench.plan.iteration import IterationPlan
from lpbench.shape.precision import PRECISIONS

NEVER = 10**6


class Quiet:
    """Keeps what a listener is told."""

    def __init__(self) -> None:
        """Start with nothing heard."""
        self.stages: list[tuple[str, float]] = []
        self.advanced: list[float] = []

    def stage(self, name: str, total: float) -> None:
        """Keep the name, and count the progress anew."""
        self.stages.append((name, total))
        self.advanced.append(0)

    def advance(self, amount: float) -> None:
        """Add the progress."""
        self.advanced[-1] += amount


class FakeProbe:
    """Saw the same in every arm."""

    def evidence(self) -> Evidence:
        """Return one position, one logit."""
        return Evidence(
            experts={0: np.zeros((1, 4, 2), dtype=np.int16)},
            margins={0: np.ones((1, 4), dtype=np.float32)},
            logits={(0, 0): np.ones(8, dtype=np.float32)},
        )


class FakeEngine:
    """An engine and its executor; raises `error` in the pass number `fails_at`, from 0."""

    error: BaseException = KeyboardInterrupt()
    fails_at = NEVER
    fails_to_load = False

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        """Hold what a record says of an engine."""
        del spec
        self.dtype = self.audit_dtype = "float32"
        self.precision = PRECISIONS[self.dtype]
        self.device = "cpu"
        self.num_kv_pages = 100
        self.cache_bytes = None
        self.known_device = None
        self.facts: Mapping[str, Any] = {"device": "cpu"}
        self.spec: Mapping[str, Any] = {
            **experiment.identity,
            "executor": "fake",
            "device": "cpu",
            "dtype": "float32",
            "routing": experiment.routing,
            "num_kv_pages": 100,
        }
        self.executor = self
        self._shape = experiment.shape
        self._passes = 0
        self._time = 0

    def load(self) -> None:
        """Load nothing, or fail to."""
        if self.fails_to_load:
            raise self.error

    def load_for_audit(self) -> None:
        """Change nothing."""

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, *, pinned: bool = False
    ) -> None:
        """Empty nothing."""

    def start_audit(self, script: object, sampled: object) -> FakeProbe:
        """Listen to nothing."""
        del script, sampled
        return FakeProbe()

    def execute(self, plan: IterationPlan, meanwhile: object = None) -> Execution:
        """Route every row to expert 0 and sample token 0 for everyone, or fail."""
        del meanwhile
        self._passes += 1
        if self._passes > self.fails_at:
            raise self.error
        prompts = tuple(part.request for part in plan.prefill)
        shape = (self._shape.num_layers, 1 + len(prompts), self._shape.num_experts)
        touched = np.zeros(shape, dtype=np.bool_)
        touched[:, 0 if plan.decodes else slice(1, None), 0] = True
        tokens = dict.fromkeys((*plan.decodes, *prompts), 0)
        return Execution(tokens=tokens, routed=Routed(touched=touched, prompts=prompts))

    def release(self, request: int) -> None:
        """Forget nothing."""

    def now_ns(self) -> int:
        """Advance a millisecond a look."""
        self._time += 1_000_000
        return self._time
