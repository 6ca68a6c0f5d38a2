"""The seam between the loop that plans and whatever carries a plan out.

Owns: the Executor protocol and the plain values that cross it.
Must not know: torch, schedules, files.
"""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What one iteration came to.

    Attributes:
        tokens: the engine's own greedy token for every request that was sampled.
        routed: the experts it touched.
        device_ns: how long the pass took on the device's own clock; None where it has none.
    """

    tokens: Mapping[int, int]
    routed: Routed
    device_ns: int | None = None


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

    def execute(self, plan: IterationPlan) -> Execution:
        """Run one pass over the model."""

    def release(self, request: int) -> None:
        """Forget a request's KV cache: it is finished or was preempted."""

    def now_ns(self) -> int:
        """Return the executor's clock in nanoseconds; only differences mean anything."""
