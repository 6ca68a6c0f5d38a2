"""Counted expert traffic: from the router's decisions to DESIGN.md's metrics, exactly.

Owns: the definitions of the counted metrics and their sums over an arm.
Must not know: torch, schedules, how the experts were chosen.

For iteration i and layer l: D(i,l) are the distinct experts any row is routed to, P(i,l) those of
prefill rows, E_d(i,l) those of decode rows, w the bytes of one expert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationCount:
    """Distinct experts of one iteration, by layer.

    Attributes:
        distinct: |D| per layer.
        prefill: |P| per layer.
        decode: |E_d| per layer.
    """

    distinct: tuple[int, ...]
    prefill: tuple[int, ...]
    decode: tuple[int, ...]


@dataclass(slots=True)
class _Coverage:
    """Loads, and the (iteration, layer) pairs that had a row."""

    loads: int = 0
    passes: int = 0

    def ratio(self, num_experts: int) -> float | None:
        return self.loads / (num_experts * self.passes) if self.passes else None


class ExpertMeter:
    """Counts the experts of one arm."""

    def __init__(self, *, num_experts: int, top_k: int, expert_bytes: int) -> None:
        """Start at nothing.

        Args:
            num_experts: E, routed experts of a layer.
            top_k: experts each row is routed to.
            expert_bytes: w, bytes of one expert as held in memory.
        """
        self._num_experts = num_experts
        self._top_k = top_k
        self._expert_bytes = expert_bytes
        self._marginal = 0
        self._pairs = 0
        self._with_prefill = _Coverage()
        self._without_prefill = _Coverage()
        self._prompt_touches = 0
        self._prompt_unions: dict[int, NDArray[np.bool_]] = {}

    def observe(
        self,
        *,
        touched: NDArray[np.bool_],
        prompts: Sequence[int],
        rows: Sequence[int],
    ) -> IterationCount:
        """Count one iteration.

        Args:
            touched: [layers, 1 + prompts, experts]; row 0 is the decodes, 1 + j is `prompts[j]`.
            prompts: the requests that carried prompt rows.
            rows: rows of each layer, prefill and decode.

        Returns:
            The iteration's distinct experts by layer.
        """
        decode = touched[:, 0]
        prefill = touched[:, 1:].any(axis=1)
        distinct = (decode | prefill).sum(axis=1)
        loads = int(distinct.sum())
        self._marginal += int((prefill & ~decode).sum())
        self._pairs += self._top_k * sum(rows)
        coverage = self._with_prefill if prompts else self._without_prefill
        coverage.loads += loads
        coverage.passes += sum(1 for count in rows if count)
        for at, request in enumerate(prompts, start=1):
            mine = touched[:, at]
            self._prompt_touches += int(mine.sum())
            union = self._prompt_unions.setdefault(request, np.zeros_like(mine))
            union |= mine
        return IterationCount(
            distinct=tuple(distinct.tolist()),
            prefill=tuple(prefill.sum(axis=1).tolist()),
            decode=tuple(decode.sum(axis=1).tolist()),
        )

    def bytes_of(self, count: IterationCount) -> int:
        """Return the expert bytes of one iteration."""
        return self._expert_bytes * sum(count.distinct)

    def values(self) -> Mapping[str, float | None]:
        """Return the counted metrics by name; None where nothing was there to count.

        Names, formulas and units: DESIGN.md, "Counted traffic".
        """
        with_prefill, without = self._with_prefill, self._without_prefill
        loads = with_prefill.loads + without.loads
        every = _Coverage(loads, with_prefill.passes + without.passes)
        union = sum(int(bits.sum()) for bits in self._prompt_unions.values())
        return {
            "expert_bytes": self._expert_bytes * loads,
            "expert_bytes_prefill_marginal": self._expert_bytes * self._marginal,
            "expert_bytes_prefill_iterations": self._expert_bytes * with_prefill.loads,
            "distinct_expert_loads": loads,
            "reload_factor": self._prompt_touches / union if union else None,
            "expert_coverage": every.ratio(self._num_experts),
            "expert_coverage_prefill_iterations": with_prefill.ratio(self._num_experts),
            "expert_coverage_decode_iterations": without.ratio(self._num_experts),
            "tokens_per_expert": self._pairs / loads if loads else None,
        }
