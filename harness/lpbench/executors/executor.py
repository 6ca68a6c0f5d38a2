"""The seam between the loop that plans and whatever carries a plan out.

Owns: the Executor protocol and the plain values that cross it.
Must not know: torch, schedules, files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lpbench.plan.iteration import IterationPlan

CONTEXT_CHUNK = 2048
"""Context tokens that an executor fills at a time, before the run."""

EXPERTS_RANGE = "lpbench-experts"
"""What the experts' kernels lie in for a profiler: an NVTX range, pushed and popped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Which experts one iteration touched.

    Attributes:
        touched: bool [layers, 1 + prompts, experts]: row 0 is the decodes together, row 1 + j the
            prompt rows of `prompts[j]`.
        prompts: the requests that carried prompt rows.
    """

    touched: NDArray[np.bool_]
    prompts: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Cost:
    """What passes are modelled to cost, whole model: the ranks of tensor parallelism together.

    Attributes:
        seconds: from planning to tokens.
        bytes: weights, keys and values read.
        flops: additions and multiplications.
        distinct: distinct experts, summed over layers.
        distinct_prefill: those of them that no decode touches.
        layer_passes: MoE layers that had a row.
        pairs: (row, expert) pairs.
        joules: energy of all ranks; not a number where the device's design power is not known.
    """

    seconds: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    distinct: float = 0.0
    distinct_prefill: float = 0.0
    layer_passes: int = 0
    pairs: int = 0
    joules: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What one iteration came to.

    Attributes:
        tokens: the engine's own greedy token for every request that was sampled.
        routed: the experts it touched; None where none were drawn.
        device_ns: how long the pass took on the device's own clock; None where it has none.
        launched_ns: when, on the executor's clock, the host had launched the pass; None where the
            host computes.
        cost: what the pass is modelled to cost; None where it ran.
    """

    tokens: Mapping[int, int]
    routed: Routed | None = None
    device_ns: int | None = None
    launched_ns: int | None = None
    cost: Cost | None = None

    @property
    def drawn(self) -> Routed:
        """The experts it touched, where it ran."""
        assert self.routed is not None, "a modelled pass draws no experts"
        return self.routed

    @property
    def modelled(self) -> Cost:
        """What it costs, where it is modelled."""
        assert self.cost is not None, "a pass that ran has no modelled cost"
        return self.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one arm's audit pass saw.

    Attributes:
        experts: by request, int16 [positions, layers, top_k], ascending; -1 where no row was.
        margins: by request, float32 [positions, layers]: the router's logit of the last expert
            taken minus the best one not taken.
        logits: by (request, n-th generated token), float32 [vocabulary].
    """

    experts: Mapping[int, NDArray[np.int16]]
    margins: Mapping[int, NDArray[np.float32]]
    logits: Mapping[tuple[int, int], NDArray[np.float32]]


class Executor(Protocol):
    """Carries out the iterations of one arm after another, on the same weights and prompts."""

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, *, pinned: bool = False
    ) -> None:
        """Begin an arm with an empty KV cache, the requests' contexts aside.

        Args:
            script: tokens to feed instead of the engine's own, by request; None decodes greedily.
            pinned: send every row to the same experts: the control of the counter pass.
        """

    def execute(
        self, plan: IterationPlan, meanwhile: Callable[[], None] | None = None
    ) -> Execution:
        """Run one pass over the model.

        Args:
            plan: the pass.
            meanwhile: what the host has to do besides: called once a device has all of the pass,
                before it is waited for. Not called where the host computes.
        """

    def release(self, request: int) -> None:
        """Forget a request's KV cache: it is finished or was preempted."""

    def now_ns(self) -> int:
        """Return the executor's clock in nanoseconds; only differences mean anything."""

    def wait_until_ns(self, until_ns: int) -> None:
        """Return when the clock has reached this time: nothing is runnable before."""
