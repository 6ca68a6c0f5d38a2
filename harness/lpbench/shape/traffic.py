"""Expert bytes of a plan in closed form: no router, no weights, uniform routing.

Owns: the expected number of distinct experts, its sum over a plan, which layers have experts.
Must not know: schedules, executors, popularity of experts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lpbench.plan.grid import Span
from lpbench.plan.iteration import IterationPlan
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision, expert_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledBytes:
    """Expected expert bytes.

    Attributes:
        total: of all rows, routed experts alone.
        prefill: what the prefill rows add to what the decode rows read anyway.
        shared: of the shared experts, read whole in every pass through an MoE layer; not in
            `total`, as no schedule and no routing spares them.
    """

    total: float
    prefill: float
    shared: float = 0


def expected_distinct(rows: int, *, num_experts: int, top_k: int) -> float:
    """Return the distinct experts that `rows` rows are expected to touch in one layer.

    E (1 - (1 - k/E)^rows): each row takes k of E experts, all alike (PAPER.md 7).
    """
    return num_experts * (1.0 - (1.0 - top_k / num_experts) ** rows)


def moe_layers_in(layers: Span, shape: ModelShape) -> int:
    """Return how many layers of a span have experts: those above the dense ones."""
    return max(0, layers.stop - max(layers.start, shape.dense_layers))


def modelled_bytes(
    plans: Iterable[IterationPlan], shape: ModelShape, *, precision: Precision
) -> ModelledBytes:
    """Return the expected expert bytes of an arm's plans under uniform routing."""
    total = prefill = 0.0
    passed = 0
    for plan in plans:
        for segment in plan.segments(shape.num_layers):
            layers = moe_layers_in(segment.layers, shape)
            everyone = expected_distinct(
                segment.num_rows, num_experts=shape.num_experts, top_k=shape.top_k
            )
            decodes = expected_distinct(
                len(segment.decodes), num_experts=shape.num_experts, top_k=shape.top_k
            )
            total += layers * everyone
            prefill += layers * (everyone - decodes)
            passed += layers
    weight = expert_bytes(shape, precision)
    return ModelledBytes(
        total=weight * total,
        prefill=weight * prefill,
        shared=weight * shape.shared_experts * passed,
    )
