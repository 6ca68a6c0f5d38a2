"""A pass that is lost before its end: too many first tokens have come too late.

Owns: the count of late first tokens while requests are served.
Must not know: what is done about it.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from lpbench.bench.loop import NS, Step
from lpbench.plan.request import Request


class LateTokens:
    """Hears every iteration of a pass and says when no end of it can meet the target."""

    def __init__(
        self,
        requests: Sequence[Request],
        measured: Collection[int],
        *,
        slo: Mapping[str, float],
        target: float,
        origin_ns: int,
    ) -> None:
        """Start with nothing heard.

        Args:
            requests: all that arrive, in seconds.
            measured: those of them that the share is of.
            slo: most milliseconds by metric; without ttft a pass is never lost.
            target: share of the measured requests that must meet it.
            origin_ns: when the seconds begin.
        """
        self._limit = slo.get("ttft", math.inf)
        self._target = target
        self._count = len(measured)
        self._late = 0
        self._arrivals = {
            one.index: origin_ns + round(one.arrival * NS)
            for one in requests
            if one.index in measured
        }

    def is_lost(self, step: Step) -> bool:
        """Return whether more requests are late by now than may be."""
        for part in step.plan.prefill:
            arrival = self._arrivals.get(part.request)
            if arrival is None:
                continue
            # Its first token comes with this iteration or later.
            is_late = (step.stop_ns - arrival) / 1e6 > self._limit
            if is_late or part.request in step.settled.sampled:
                del self._arrivals[part.request]
                self._late += is_late
        return (self._count - self._late) / self._count < self._target
