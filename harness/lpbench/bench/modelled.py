"""What the passes of an arm are modelled to cost: expert traffic and energy, in expectation.

Owns: the sums over an arm's costs and their readings.
Must not know: how a pass is modelled, when requests arrive.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from lpbench.analysis.metrics import ENERGY_METRICS, METRICS
from lpbench.executors.executor import Cost
from lpbench.executors.roofline.cost import Roofline
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.request import Request
from lpbench.record.schema import Reading
from lpbench.shape.model import ModelShape
from lpbench.workload.coverage import Coverage

_ALL = {**METRICS, **ENERGY_METRICS}


class Modelled:
    """Adds up what passes cost, in the metrics of passes that ran."""

    def __init__(
        self, *, shape: ModelShape, roofline: Roofline, coverage: Coverage, source: str
    ) -> None:
        """Start with nothing observed; `source` is what the readings are said to be from."""
        self._shape = shape
        self._roofline = roofline
        self._coverage = coverage
        self._source = source
        self._sum: defaultdict[str, float] = defaultdict(float)
        self._touched: defaultdict[int, float] = defaultdict(float)
        self._rows: Counter[int] = Counter()

    def observe(self, plan: IterationPlan, cost: Cost) -> None:
        """Add one iteration."""
        total = self._sum
        total["seconds"] += cost.seconds
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
        """Count, by request, the experts that its prefill rows touch, and the rows by layer."""
        dense = self._shape.dense_layers
        for part in plan.prefill:
            span, rows = part.tile.layers, len(part.tile.tokens)
            layers = max(0, span.stop - max(span.start, dense))
            self._touched[part.request] += layers * self._coverage.distinct(0, (rows,))
            self._rows[part.request] += layers * rows

    def readings(
        self, *, requests: Iterable[Request], seconds: float, pass_: str
    ) -> dict[str, Reading]:
        """Return the readings.

        Args:
            requests: all that were served.
            seconds: from the first arrival's clock on to the last token; what no pass took of it
                is drawn at rest.
            pass_: which pass of the run they are of.
        """
        requests = tuple(requests)
        total, experts = self._sum, self._shape.num_experts
        weight = self._roofline.operators.expert_bytes
        joules = total["joules"] + self._roofline.idle_joules(seconds - total["seconds"])
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
        }
        return {name: self._reading(name, value, pass_) for name, value in values.items()}

    def _reload_factor(self) -> float | None:
        """Return experts touched over their union by request; 1 is ideal."""
        layers = self._shape.moe_layers
        union = sum(
            layers * self._coverage.distinct(0, (round(rows / layers),))
            for rows in self._rows.values()
            if rows
        )
        return _ratio(sum(self._touched.values()), union)

    def _reading(self, name: str, value: float | None, pass_: str) -> Reading:
        return Reading(
            value=value,
            unit=_ALL[name].unit,
            method="modelled",
            source=self._source,
            validity="absent" if value is None else "valid",
            reasons=("no_such_rows",) if value is None else (),
            pass_=pass_,
        )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
