"""The least that a pass can take: the roofline of what it ran, with the experts that it touched.

Owns: the sum over the layers of one plan.
Must not know: how long the pass took, who made the plan.
"""

from collections.abc import Mapping, Sequence

from lpbench.executors.executor import Cost
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.grid import Span
from lpbench.plan.iteration import IterationPlan
from lpbench.shape.operators import Rows


def pass_cost(
    roofline: Roofline,
    plan: IterationPlan,
    *,
    starts: Mapping[int, int],
    distinct: Sequence[int],
    sampled: int,
) -> Cost:
    """Return bytes, FLOPs and seconds of a pass, layer by layer.

    Args:
        roofline: of the model on its device.
        plan: what ran.
        starts: per request of the plan, the position of its token 0, as `shape.passes.pass_bytes`
            has them.
        distinct: distinct experts by layer, as counted.
        sampled: tokens sampled at the end, at least 1.
    """
    cost, operators = Cost(), roofline.operators
    keys = [starts[request] + 1 for request in plan.decodes]  # a decode sees its own
    decode_keys = {
        window: sum(min(count, window) if window else count for count in keys)
        for window in operators.windows
    }
    for segment in plan.segments(len(distinct)):
        prompts = [
            (starts[rows.request] + rows.tokens.start, len(rows.tokens)) for rows in segment.prompts
        ]
        for layer in range(segment.layers.start, segment.layers.stop):
            rows = Rows(
                decodes=len(segment.decodes),
                decode_keys=decode_keys,
                prompts=prompts,
                distinct=distinct[layer],
            )
            ((kind, _),) = operators.kinds_in(Span(layer, layer + 1))
            roofline.add_layers(cost, kind, rows, layers=1)
    roofline.add_head(cost, sampled)
    roofline.finish(cost)
    return cost
