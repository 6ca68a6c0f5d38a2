"""A predictor that a test can follow with pencil and paper."""

from dataclasses import dataclass

from lpbench.plan.iteration import IterationPlan
from lpbench.plan.predictor import LayerRows, Predicted
from lpbench.plan.request import Request


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A layer takes a time for any row, one more for any prompt, one a row, and one a key seen.

    Attributes:
        kinds: of the layers; one of kind 1 takes twice the time.
        pass_s: seconds of a pass besides.
        layer_s: seconds of a layer with any row.
        prompt_s: seconds of a layer with any prompt's row besides: more experts are read.
        row_s: seconds of a row.
        key_s: seconds of a key that a decode or a prompt's rows see.
    """

    kinds: tuple[int, ...]
    pass_s: float = 1e-3
    layer_s: float = 1e-3
    prompt_s: float = 1e-3
    row_s: float = 1e-5
    key_s: float = 1e-8

    def layer(self, kind: int, rows: LayerRows) -> Predicted:
        """Return what a layer costs; as bytes its layer's time."""
        count = rows.decodes + sum(length for _, length in rows.prompts)
        keys = rows.decode_tokens + sum(first + length for first, length in rows.prompts)
        read = self.layer_s + self.prompt_s * bool(rows.prompts)
        seconds = read + self.row_s * count + self.key_s * keys
        return Predicted((1 + kind) * seconds, (1 + kind) * read)

    def overhead(self, sampled: int) -> Predicted:
        """Return what a pass costs besides."""
        del sampled
        return Predicted(self.pass_s, 0.0)

    def seconds(
        self, plan: IterationPlan, requests: tuple[Request, ...], *, decode_tokens: int
    ) -> float:
        """Return what a whole plan costs, summed over its segments; no request was preempted."""
        total = self.pass_s
        for segment in plan.segments(len(self.kinds)):
            prompts = tuple(
                (requests[rows.request].context_tokens + rows.tokens.start, len(rows.tokens))
                for rows in segment.prompts
            )
            passed = LayerRows(len(segment.decodes), decode_tokens, prompts)
            layers = range(segment.layers.start, segment.layers.stop)
            total += sum(self.layer(self.kinds[layer], passed).seconds for layer in layers)
        return total
