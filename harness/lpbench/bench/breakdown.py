"""One prefill taken apart: how long each operator takes in it.

Owns: the sums by operator over the passes of prompts that nothing decodes beside.
Must not know: coefficients, files.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.iteration import IterationPlan
from lpbench.shape.operators import Rows
from lpbench.workload.coverage import ExpectedCoverage


def operator_seconds(
    plans: Iterable[IterationPlan],
    roofline: Roofline,
    coverage: ExpectedCoverage,
    *,
    num_layers: int,
) -> Mapping[str, float]:
    """Return the seconds by operator, of `shape.operators.KINDS`, the head left out.

    Args:
        plans: passes without decodes, of requests without a context.
        roofline: how long an operator takes.
        coverage: which experts are touched.
        num_layers: of the model.
    """
    total: defaultdict[str, float] = defaultdict(float)
    for plan in plans:
        assert not plan.decodes, "a prefill alone"
        for segment in plan.segments(num_layers):
            lengths = tuple(len(part.tokens) for part in segment.prompts)
            rows = Rows(
                decodes=0,
                decode_keys={},
                prompts=[(part.tokens.start, len(part.tokens)) for part in segment.prompts],
                distinct=coverage.distinct(0, lengths),
            )
            for kind, layers in roofline.operators.kinds_in(segment.layers):
                for operator in roofline.operators.of_layer(kind, rows):
                    total[operator.kind] += layers * roofline.seconds(operator)
    return total
