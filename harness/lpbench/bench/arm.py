"""The log of one arm: what its iterations add up to.

Owns: the sums over an arm's steps and their form in the record, iterations.jsonl and
requests.jsonl.
Must not know: how an iteration is planned or carried out.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from lpbench.analysis.checks import against, bandwidth_cautions, is_impossible, mark_impossible
from lpbench.analysis.ledger import build_ledger
from lpbench.analysis.metrics import METRICS, Times, latency_samples, summarise
from lpbench.bench.dram import EXPERTS, NOT_MEASURED, all_dram, unmeasured_dram
from lpbench.bench.experiment import ArmSpec
from lpbench.bench.lines import plan_line, tiles_of
from lpbench.bench.loop import Step
from lpbench.meters.experts import ExpertMeter, IterationCount
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.request import Request
from lpbench.record.schema import Arm, Caution, Ledger, Reading, Schedule, Window
from lpbench.shape.device import Device
from lpbench.shape.model import ModelShape
from lpbench.shape.passes import PassBytes, pass_bytes
from lpbench.shape.precision import Precision, all_expert_bytes, expert_bytes
from lpbench.shape.traffic import modelled_bytes

COUNTS_PASS = "counts"  # noqa: S105 - a pass over the workload, no password
"""The pass in which experts are counted; its times are the engine's own, with the counting in."""

BUSY = 0.9
"""Share of an arm's time that the device's passes take, at least, for the host not to matter."""


class ArmLog:
    """Takes the steps of one arm."""

    def __init__(
        self,
        arm: ArmSpec,
        requests: Sequence[Request],
        shape: ModelShape,
        *,
        precision: Precision,
        device: Device | None = None,
    ) -> None:
        """Start with nothing observed.

        Args:
            arm: which.
            requests: all that it serves.
            shape: the model's geometry.
            precision: of its weights, cache and hidden states.
            device: what the arm runs on, None for an unknown one. Bytes over time are held to the
                peak of a known device; without one there is no check.
        """
        self._arm = arm
        self._requests = {request.index: request for request in requests}
        self._shape = shape
        self._precision = precision
        self._device = device
        self._meter = ExpertMeter(
            num_experts=shape.num_experts,
            top_k=shape.top_k,
            expert_bytes=expert_bytes(shape, precision),
        )
        self._plans = hashlib.sha256()
        self._totals: Counter[str] = Counter()
        self._groups: Counter[int] = Counter()
        self._modelled = 0.0
        self._passes = PassBytes()
        self._impossible = 0
        self._device_ns: int | None = None
        self._span_ns = (0, 0)
        self._arrived: dict[int, Step] = {}
        self._scheduled: dict[int, Step] = {}
        self._sampled: dict[int, list[Step]] = {index: [] for index in self._requests}
        self._preempted: Counter[int] = Counter()
        self.tokens: dict[int, list[int]] = {index: [] for index in self._requests}

    def observe(self, step: Step) -> dict[str, JsonValue]:
        """Add one iteration and return its line of iterations.jsonl."""
        plan, routed = step.plan, step.execution.drawn
        count = self._meter.observe(
            touched=routed.touched,
            prompts=routed.prompts,
            rows=_rows_by_layer(plan, self._shape.num_layers),
        )
        tiles = tiles_of(plan)
        self._plans.update(plan_line(plan))
        self._totals.update(
            iterations=1,
            prefill_rows=sum(_new_rows(plan)),
            decode_rows=len(plan.decodes),
            preemptions=len(step.preempted),
            layer_passes=sum(1 for distinct in count.distinct if distinct),
        )
        if plan.num_groups is not None and plan.prefill[0].tile.layers.start == 0:
            self._groups[plan.num_groups] += 1
        self._modelled += modelled_bytes([plan], self._shape, precision=self._precision).total
        self._passes += pass_bytes(
            plan,
            self._shape,
            starts=self._starts(plan),
            sampled=len(step.settled.sampled),
            precision=self._precision,
            distinct=count.distinct,
        )
        self._impossible += is_impossible(
            self._meter.bytes_of(count),
            duration_ms=(step.stop_ns - step.start_ns) / 1e6,
            device=self._device,
        )
        if step.execution.device_ns is not None:
            self._device_ns = (self._device_ns or 0) + step.execution.device_ns
        self._stamp(step)
        return self._line(step, count, tiles)

    def _starts(self, plan: IterationPlan) -> dict[int, int]:
        """Return where the rows of a plan stand: the position of each request's token 0."""
        starts = {}
        for index in plan.decodes:
            request = self._requests[index]
            known = request.context_tokens + request.prompt_tokens + len(self.tokens[index])
            starts[index] = known - 1
        for part in plan.prefill:
            again = self._preempted[part.request]
            starts[part.request] = 0 if again else self._requests[part.request].context_tokens
        return starts

    def _stamp(self, step: Step) -> None:
        self._span_ns = (self._span_ns[0] or step.start_ns, step.stop_ns)
        for request in step.arrived:
            self._arrived[request] = step
        for request in step.settled.admitted:
            self._scheduled.setdefault(request, step)
        self._preempted.update(step.preempted)
        for request in step.settled.sampled:
            self._sampled[request].append(step)
            self.tokens[request].append(step.execution.tokens[request])

    def _line(
        self, step: Step, count: IterationCount, tiles: Sequence[JsonValue]
    ) -> dict[str, JsonValue]:
        return {
            "arm": self._arm.label,
            "iteration": step.iteration,
            "start_ms": (step.start_ns - self._span_ns[0]) / 1e6,
            "duration_ms": (step.stop_ns - step.start_ns) / 1e6,
            "device_ms": _in_ms(step.execution.device_ns),
            "decodes": list(step.plan.decodes),
            "tiles": list(tiles),
            "num_groups": step.plan.num_groups,
            "arrived": list(step.arrived),
            "admitted": list(step.settled.admitted),
            "preempted": list(step.preempted),
            "finished": list(step.settled.finished),
            "distinct_experts": list(count.distinct),
            "distinct_experts_prefill": list(count.prefill),
            "distinct_experts_decode": list(count.decode),
            "expert_bytes": self._meter.bytes_of(count),
        }

    def request_lines(self) -> list[dict[str, JsonValue]]:
        """Return the lines of requests.jsonl: every request that was scheduled."""
        return [self._request_line(index) for index in sorted(self._scheduled)]

    def _request_line(self, index: int) -> dict[str, JsonValue]:
        request, sampled = self._requests[index], self._sampled[index]
        arrived, scheduled = self._arrived[index], self._scheduled[index]
        start = arrived.start_ns
        return {
            "arm": self._arm.label,
            "request": index,
            "context_tokens": request.context_tokens,
            "prompt_tokens": request.prompt_tokens,
            "output_tokens": request.output_tokens,
            "arrival_iteration": arrived.iteration,
            "scheduled_iteration": scheduled.iteration,
            "preemptions": self._preempted[index],
            "arrival_ms": (start - self._span_ns[0]) / 1e6,
            "queue_ms": (scheduled.start_ns - start) / 1e6,
            "token_iterations": [step.iteration for step in sampled],
            "token_ms": [(step.stop_ns - start) / 1e6 for step in sampled],
            "tokens": list(self.tokens[index]),
        }

    def to_record(
        self,
        *,
        cautions: Sequence[Caution] = (),
        unfinished: str | None = None,
        dram: Mapping[str, Reading] | None = None,
        windows: Sequence[Window] = (),
    ) -> Arm:
        """Return the arm's part of the record.

        Args:
            cautions: what to know before trusting a number.
            unfinished: reason code against every reading, where the arm was cut short.
            dram: the readings of the counter pass, by name; None where there was none.
            windows: what they were taken from.
        """
        policy = self._arm.policy
        start, stop = self._span_ns
        dram = dram or unmeasured_dram({"cupti": NOT_MEASURED})
        readings = {**self._counted(), **self._latencies(), **dram}
        doubts = self._doubts()
        if doubts:
            readings = mark_impossible(readings)
        if unfinished is not None:
            readings = {name: against(one, unfinished) for name, one in readings.items()}
        return Arm(
            label=self._arm.label,
            schedule=Schedule(name=policy.name, params=dict(policy.params)),
            plan_hash=self.plan_hash,
            effective_groups=dict(sorted(self._groups.items())),
            metrics=readings,
            windows=(
                Window(
                    name="arm",
                    pass_=COUNTS_PASS,
                    iterations=self._totals["iterations"],
                    duration_ms=(stop - start) / 1e6,
                ),
                *windows,
            ),
            ledger=self._ledger(dram),
            warnings=(*cautions, *doubts, *self._idle_device()),
        )

    def _idle_device(self) -> list[Caution]:
        """Return whether the device waited for the host for a good part of the arm."""
        start, stop = self._span_ns
        if not self._device_ns or self._device_ns >= BUSY * (stop - start):
            return []
        share = self._device_ns / (stop - start)
        message = (
            f"{self._arm.label}: the device's passes took {share:.0%} of the arm's time, the host "
            "the rest: that may hide what the schedules differ by"
        )
        return [Caution(code="host_bound", message=message)]

    def _doubts(self) -> list[Caution]:
        start, stop = self._span_ns
        whole = is_impossible(
            self._expert_bytes, duration_ms=(stop - start) / 1e6, device=self._device
        )
        return bandwidth_cautions(
            impossible=self._impossible + whole,
            expert_bytes=all_expert_bytes(self._shape, self._precision),
            device=self._device,
        )

    def _ledger(self, dram: Mapping[str, Reading]) -> Ledger:
        return build_ledger(
            counted=self._expert_bytes,
            uniform=self._modelled,
            modelled=self._passes,
            dram=all_dram(dram),
            experts=dram[EXPERTS],
        )

    @property
    def plan_hash(self) -> str:
        """Digest of the plans so far."""
        return self._plans.hexdigest()

    @property
    def pinned_bytes(self) -> int:
        """Expert bytes of the same plans with every row sent to the same k experts."""
        shape = self._shape
        loads = shape.top_k * self._totals["layer_passes"]
        return expert_bytes(shape, self._precision) * loads

    @property
    def recomputed_context(self) -> bool:
        """Whether a request with a context was preempted: its context was prefilled again."""
        return any(
            self._requests[request].context_tokens and count
            for request, count in self._preempted.items()
        )

    @property
    def iterations(self) -> int:
        """Passes of the model so far."""
        return self._totals["iterations"]

    @property
    def seconds(self) -> float:
        """How long the arm took."""
        return (self._span_ns[1] - self._span_ns[0]) / 1e9

    @property
    def _expert_bytes(self) -> float:
        return self._meter.values()["expert_bytes"] or 0

    def _counted(self) -> dict[str, Reading]:
        totals = {
            name: self._totals[name]
            for name in ("iterations", "prefill_rows", "decode_rows", "preemptions")
        }
        readings = {
            name: _reading(name, value, source="plan") for name, value in totals.items()
        } | {
            name: _reading(name, value, source="router")
            for name, value in self._meter.values().items()
        }
        readings["expert_bytes_modelled"] = Reading(
            value=self._modelled,
            unit=METRICS["expert_bytes_modelled"].unit,
            method="modelled",
            source="closed form, uniform routing",
            pass_=COUNTS_PASS,
        )
        return readings

    def _latencies(self) -> dict[str, Reading]:
        times = [
            Times(
                arrival=self._arrived[index].start_ns,
                scheduled=self._scheduled[index].start_ns,
                tokens=tuple(step.stop_ns for step in sampled),
            )
            for index, sampled in self._sampled.items()
            if sampled
        ]
        device_ms = _in_ms(self._device_ns)
        return {
            **{
                f"{name}_ms_{statistic}": _measured(f"{name}_ms_{statistic}", value)
                for name, samples in latency_samples(times).items()
                for statistic, value in summarise(samples).items()
            },
            "device_ms": _measured(
                "device_ms", "no_device" if device_ms is None else device_ms, source="CUDA events"
            ),
        }


def _in_ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


def _measured(name: str, value: float | str, *, source: str = "monotonic clock") -> Reading:
    absent = isinstance(value, str)
    return Reading(
        value=None if isinstance(value, str) else value,
        unit=METRICS[name].unit,
        method="measured",
        source=source,
        validity="absent" if absent else "valid",
        reasons=(value,) if isinstance(value, str) else (),
        pass_=COUNTS_PASS,
        samples=() if isinstance(value, str) else (value,),
    )


def _reading(name: str, value: float | None, *, source: str) -> Reading:
    return Reading(
        value=value,
        unit=METRICS[name].unit,
        method="counted",
        source=source,
        validity="absent" if value is None else "valid",
        reasons=("no_such_rows",) if value is None else (),
        pass_=COUNTS_PASS,
        samples=() if value is None else (value,),
    )


def _new_rows(plan: IterationPlan) -> list[int]:
    """Return the prompt rows that enter the first layer: each prompt token counts once."""
    return [len(part.tile.tokens) for part in plan.prefill if part.tile.layers.start == 0]


def _rows_by_layer(plan: IterationPlan, num_layers: int) -> list[int]:
    rows = [0] * num_layers
    for segment in plan.segments(num_layers):
        span = segment.layers
        rows[span.start : span.stop] = [segment.num_rows] * len(span)
    return rows
