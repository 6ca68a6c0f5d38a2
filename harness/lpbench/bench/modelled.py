"""What the passes of an arm are modelled to cost: expert traffic and energy, in expectation.

Owns: the sums over an arm's costs and their readings.
Must not know: how a pass is modelled, when requests arrive.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

from pydantic import JsonValue

from lpbench.analysis.metrics import ALL_METRICS
from lpbench.bench.loop import Step
from lpbench.executors.executor import Cost
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.grid import Span
from lpbench.plan.iteration import IterationPlan, PromptRows, Segment
from lpbench.plan.request import Request
from lpbench.record.schema import Ledger, LedgerTerm, Reading
from lpbench.shape.model import ModelShape
from lpbench.workload.coverage import Coverage


class Modelled:
    """Adds up what passes cost, in the metrics of passes that ran."""

    def __init__(
        self,
        requests: Sequence[Request],
        *,
        shape: ModelShape,
        roofline: Roofline,
        coverage: Coverage,
        source: str,
    ) -> None:
        """Start with nothing observed.

        Args:
            requests: all that are served.
            shape: the model's.
            roofline: what the costs are by.
            coverage: which experts rows touch.
            source: what the readings are said to be from.
        """
        self._requests = tuple(requests)
        self._shape = shape
        self._roofline = roofline
        self._coverage = coverage
        self._source = source
        self._sum: defaultdict[str, float] = defaultdict(float)
        self._first = {one.index: one.context_tokens for one in self._requests}
        self._prefilled: dict[int, int] = {}

    def observe(self, step: Step) -> None:
        """Add one iteration."""
        plan, cost, total = step.plan, step.execution.modelled, self._sum
        self._first.update(dict.fromkeys(step.preempted, 0))
        total["seconds"] += cost.seconds
        total["bytes"] += cost.bytes
        total["joules"] += cost.joules
        total["distinct"] += cost.distinct
        total["marginal"] += cost.distinct_prefill
        total["layer_passes"] += cost.layer_passes
        total["pairs"] += cost.pairs
        kind = "decode"
        if plan.prefill:
            kind = "prefill"
            self._reload(plan)
        total[f"distinct_{kind}"] += cost.distinct
        total[f"layer_passes_{kind}"] += cost.layer_passes

    def _reload(self, plan: IterationPlan) -> None:
        """Count, request by request, the experts that its prefill rows touch."""
        for part in plan.prefill:
            request, tokens = part.request, part.tile.tokens
            self._sum["touched"] += self._alone(request, tokens, part.tile.layers)
            stop = self._first[request] + tokens.stop
            self._prefilled[request] = max(stop, self._prefilled.get(request, 0))

    def _alone(self, request: int, tokens: Span, layers: Span) -> float:
        """Return the experts that rows of one request's prefill touch, summed over layers."""
        dense = self._shape.dense_layers
        rows = Segment(layers, (), (PromptRows(request, tokens),))
        with_experts = Span(max(layers.start, dense), max(layers.stop, dense))
        return self._coverage.touched(rows, with_experts, first=self._first, known={})[0]

    def readings(self, *, seconds: float, pass_: str) -> dict[str, Reading]:
        """Return the readings.

        Args:
            seconds: from the first arrival's clock on to the last token; what no pass took of it
                is drawn at rest.
            pass_: which pass of the run they are of.
        """
        requests = self._requests
        total, experts = self._sum, self._shape.num_experts
        weight = self._roofline.operators.expert_bytes
        idle = self._roofline.idle_joules
        joules = total["joules"] + idle(seconds - total["seconds"])
        output = sum(one.output_tokens for one in requests)
        tokens = output + sum(one.prompt_tokens for one in requests)
        values: dict[str, float | None] = {
            "expert_bytes": weight * total["distinct"],
            "expert_bytes_prefill_marginal": weight * total["marginal"],
            "expert_bytes_prefill_iterations": weight * total["distinct_prefill"],
            "distinct_expert_loads": total["distinct"],
            "reload_factor": self._reload_factor(),
            "expert_coverage": _ratio(total["distinct"], experts * total["layer_passes"]),
            "expert_coverage_prefill_iterations": _ratio(
                total["distinct_prefill"], experts * total["layer_passes_prefill"]
            ),
            "expert_coverage_decode_iterations": _ratio(
                total["distinct_decode"], experts * total["layer_passes_decode"]
            ),
            "tokens_per_expert": _ratio(total["pairs"], total["distinct"]),
            "total_gpu_energy_j": joules,
            "joules_per_total_token": joules / tokens,
            "joules_per_output_token": joules / output,
            "joules_per_request": joules / len(requests),
            "power_w_mean": _ratio(joules, seconds),
            "idle_power_w": idle(1.0),
            "idle_share": _ratio(idle(seconds), joules),
        }
        return {name: self._reading(name, value, pass_) for name, value in values.items()}

    def line(self, cost: Cost) -> dict[str, JsonValue]:
        """Return what one iteration costs, as its line of iterations.jsonl has it."""
        return {
            "expert_bytes": self._roofline.operators.expert_bytes * cost.distinct,
            "bytes": cost.bytes,
            "flops": cost.flops,
            "joules": None if math.isnan(cost.joules) else cost.joules,
        }

    def ledger(self) -> Ledger:
        """Return all bytes of all passes: the experts', and whatever else is read."""
        experts = self._roofline.operators.expert_bytes * self._sum["distinct"]
        terms = {"experts": experts, "other_reads": self._sum["bytes"] - experts}
        return Ledger(
            counted_bytes=None,
            modelled_bytes=None,
            modelled=tuple(LedgerTerm(name=name, bytes=value) for name, value in terms.items()),
        )

    def _reload_factor(self) -> float | None:
        """Return experts touched over their union by request; 1 is ideal."""
        layers = Span(0, self._shape.num_layers)
        union = sum(
            self._alone(request, Span(0, stop - self._first[request]), layers)
            for request, stop in self._prefilled.items()
        )
        return _ratio(self._sum["touched"], union)

    def _reading(self, name: str, value: float | None, pass_: str) -> Reading:
        reasons = () if value is not None else ("no_such_rows",)
        if value is not None and math.isnan(value):
            value, reasons = None, ("no_design_power",)  # the device's, which joules are shares of
        return Reading(
            value=value,
            unit=ALL_METRICS[name].unit,
            method="modelled",
            source=self._source,
            validity="absent" if reasons else "valid",
            reasons=reasons,
            pass_=pass_,
        )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
