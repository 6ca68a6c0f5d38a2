"""Expert bytes of a plan in closed form: no router, no weights, uniform routing.

Owns: the expected number of distinct experts and its sum over a plan.
Must not know: schedules, executors, popularity of experts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lpbench.plan.iteration import IterationPlan
from lpbench.shape.model import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledBytes:
    """Expected expert bytes.

    Attributes:
        total: of all rows.
        prefill: what the prefill rows add to what the decode rows read anyway.
    """

    total: float
    prefill: float


def expected_distinct(rows: int, *, num_experts: int, top_k: int) -> float:
    """Return the distinct experts that `rows` rows are expected to touch in one layer.

    E (1 - (1 - k/E)^rows): each row takes k of E experts, all alike (PAPER.md 7).
    """
    return num_experts * (1.0 - (1.0 - top_k / num_experts) ** rows)


def modelled_bytes(
    plans: Iterable[IterationPlan], shape: ModelShape, *, bytes_per_value: int
) -> ModelledBytes:
    """Return the expected expert bytes of an arm's plans under uniform routing."""
    total = prefill = 0.0
    for plan in plans:
        for segment in plan.segments(shape.num_layers):
            layers = len(segment.layers)
            everyone = expected_distinct(
                segment.num_rows, num_experts=shape.num_experts, top_k=shape.top_k
            )
            decodes = expected_distinct(
                len(segment.decodes), num_experts=shape.num_experts, top_k=shape.top_k
            )
            total += layers * everyone
            prefill += layers * (everyone - decodes)
    weight = shape.expert_bytes(bytes_per_value)
    return ModelledBytes(total=weight * total, prefill=weight * prefill)
