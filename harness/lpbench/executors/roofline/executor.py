"""The executor that computes nothing: it carries an IterationPlan out on a virtual clock.

Owns: where every request stands, the rows of each segment, the clock.
Must not know: schedules, weights, wall time.
"""

from collections.abc import Callable, Mapping, Sequence

from lpbench.executors.executor import Cost, Execution
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.grid import Span
from lpbench.plan.iteration import IterationPlan, Segment
from lpbench.plan.request import Request
from lpbench.shape.model import ModelShape
from lpbench.shape.operators import Rows
from lpbench.workload.coverage import Coverage

NS = 1_000_000_000


class RooflineExecutor:
    """Says of every pass what it is modelled to cost; tokens are nobody's."""

    def __init__(
        self,
        requests: Sequence[Request],
        *,
        shape: ModelShape,
        roofline: Roofline,
        coverage: Coverage,
    ) -> None:
        """Serve these requests, arm after arm."""
        self._requests = {request.index: request for request in requests}
        self._shape = shape
        self._roofline = roofline
        self._coverage = coverage
        self._windows = tuple(window for window in roofline.operators.windows if window)
        self._now_ns = 0
        self.start_arm(None)

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, *, pinned: bool = False
    ) -> None:
        """Forget all requests; the clock goes on."""
        del script, pinned
        requests = self._requests.values()
        self._first = {one.index: one.context_tokens for one in requests}
        self._prompt = {one.index: one.prompt_tokens for one in requests}
        self._known = {one.index: one.context_tokens + one.prompt_tokens for one in requests}

    def execute(
        self, plan: IterationPlan, meanwhile: Callable[[], None] | None = None
    ) -> Execution:
        """Let the time of one pass go by; nobody waits for a device."""
        del meanwhile
        cost = Cost()
        keys = self._decode_keys(plan.decodes)
        for segment in plan.segments(self._shape.num_layers):
            self._add(cost, segment, keys)
        finishing = [
            part.request
            for part in plan.prefill
            if part.tile.layers.stop == self._shape.num_layers
            and part.tile.tokens.stop == self._prompt[part.request]
        ]
        if sampled := len(plan.decodes) + len(finishing):
            self._roofline.add_head(cost, sampled)
        self._roofline.finish(cost)
        for request in (*plan.decodes, *finishing):
            self._known[request] += 1
        self._now_ns += max(1, round(cost.seconds * NS))  # of the clock no pass takes nothing
        return Execution(tokens={}, cost=cost)

    def release(self, request: int) -> None:
        """Have a request start again with all it knows, should it come back."""
        self._first[request] = 0
        self._prompt[request] = self._known[request]

    def now_ns(self) -> int:
        """Return the virtual time."""
        return self._now_ns

    def wait_until_ns(self, until_ns: int) -> None:
        """Jump there."""
        self._now_ns = max(self._now_ns, until_ns)

    def _decode_keys(self, decodes: Sequence[int]) -> dict[int, int]:
        """Return, by window, the keys that all decodes see."""
        known = self._known
        lengths = [known[request] for request in decodes]
        keys = {0: sum(lengths)}
        for window in self._windows:
            keys[window] = sum([min(length, window) for length in lengths])
        return keys

    def _add(self, cost: Cost, segment: Segment, keys: Mapping[int, int]) -> None:
        """Add the layers of one segment."""
        distinct, prefill, layers_with_experts = self.touched(segment)
        rows = Rows(
            decodes=len(segment.decodes),
            decode_keys=keys,
            prompts=[
                (self._first[rows.request] + rows.tokens.start, len(rows.tokens))
                for rows in segment.prompts
            ],
            distinct=distinct / max(1, layers_with_experts),
        )
        for kind, layers in self._roofline.operators.kinds_in(segment.layers):
            self._roofline.add_layers(cost, kind, rows, layers=layers)
        cost.distinct += distinct
        cost.distinct_prefill += prefill
        cost.layer_passes += layers_with_experts
        cost.pairs += layers_with_experts * rows.count * self._shape.top_k

    def touched(self, segment: Segment) -> tuple[float, float, int]:
        """Return the distinct experts of a segment's rows, and those that no decode takes.

        Both are summed over the layers that have experts; how many those are comes last.
        """
        start, stop, dense = segment.layers.start, segment.layers.stop, self._shape.dense_layers
        if stop <= dense:
            return 0.0, 0.0, 0
        layers = segment.layers if start >= dense else Span(dense, stop)
        distinct, prefill = self._coverage.touched(
            segment, layers, first=self._first, known=self._known
        )
        return distinct, prefill, len(layers)
