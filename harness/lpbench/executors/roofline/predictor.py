"""The roofline as what a schedule predicts by.

Owns: the translation of a layer's rows for `Roofline`.
Must not know: schedules.
"""

from lpbench.executors.executor import Cost
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.grid import Span
from lpbench.plan.predictor import LayerRows, Predicted
from lpbench.shape.operators import Rows
from lpbench.workload.coverage import ExpectedCoverage


class RooflinePredictor:
    """Predicts by bytes and FLOPs, with the experts that a batch is expected to touch.

    Where queries see a window of keys, all decodes are taken to see equally many, which is never
    fewer than they do.
    """

    def __init__(self, roofline: Roofline, coverage: ExpectedCoverage, *, num_layers: int) -> None:
        """Predict the passes of the roofline's model, which has so many layers."""
        self._roofline = roofline
        self._coverage = coverage
        by_layer = [
            next(iter(roofline.operators.kinds_in(Span(layer, layer + 1))))[0]
            for layer in range(num_layers)
        ]
        self._kinds = tuple(dict.fromkeys(by_layer))
        self.kinds = tuple(map(self._kinds.index, by_layer))

    def layer(self, kind: int, rows: LayerRows) -> Predicted:
        """Return what a layer of this kind costs with at least one row."""
        decodes, tokens = rows.decodes, rows.decode_tokens
        distinct, _ = self._coverage.batch(decodes, tuple([length for _, length in rows.prompts]))
        cost = Cost()
        self._roofline.add_layers(
            cost,
            self._kinds[kind],
            Rows(
                decodes=decodes,
                decode_keys={
                    window: min(tokens, window * decodes) if window else tokens
                    for window in self._roofline.operators.windows
                },
                prompts=rows.prompts,
                distinct=distinct,
            ),
            layers=1,
        )
        return Predicted(cost.seconds, cost.bytes)

    def overhead(self, sampled: int) -> Predicted:
        """Return what a pass costs besides its layers, when so many tokens are sampled."""
        cost = Cost()
        self._roofline.add_head(cost, sampled)
        self._roofline.finish(cost)
        return Predicted(cost.seconds, cost.bytes)
