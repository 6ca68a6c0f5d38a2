"""The log of one arm under load: when every request got its tokens, and what the passes cost.

Owns: the sums over an arm's steps and its part of the record.
Must not know: how an iteration is planned or carried out, which clock its times are of.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from lpbench.analysis.metrics import (
    ALL_METRICS,
    Times,
    latency_samples,
    summarise,
)
from lpbench.analysis.slo import meets
from lpbench.bench.experiment import ArmSpec
from lpbench.bench.lines import plan_line, tiles_of
from lpbench.bench.loop import NS, Step
from lpbench.bench.modelled import Modelled
from lpbench.plan.request import Request
from lpbench.record.schema import Arm, Caution, Ledger, Reading, Schedule, Window

LATENCY_PASS = "latency"  # noqa: S105 - a pass over the workload, no password
"""The pass in which requests arrive over time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What the times of a pass are of.

    Attributes:
        method: measured, or modelled.
        source: the clock, or the model.
    """

    method: Literal["measured", "modelled"]
    source: str


class ServedLog:
    """Takes the steps of one arm.

    Attributes:
        measured: the requests that latencies are of, warm-ups left out.
        origin_ns: when the seconds of arrivals begin, on the executor's clock.
        tokens: the tokens that were computed, by request.
    """

    def __init__(
        self,
        arm: ArmSpec,
        requests: Sequence[Request],
        *,
        origin_ns: int,
        clock: Clock,
        slo: Mapping[str, float],
        num_warmups: int = 0,
        modelled: Modelled | None = None,
        by_seconds: bool = True,
        pass_: str = LATENCY_PASS,
    ) -> None:
        """Start with nothing observed.

        Args:
            arm: the schedule.
            requests: all that arrive.
            origin_ns: when the seconds of their arrivals begin, on the executor's clock.
            clock: what its times are of.
            slo: most milliseconds by metric, empty for none.
            num_warmups: requests, the first to arrive, that no figure but the counts is of.
            modelled: adds up what the passes cost; None where they ran.
            by_seconds: whether arrivals are in seconds. Else one has come when the iteration starts
                that it is visible in.
            pass_: of the run, that the readings are of.
        """
        self._arm = arm
        self._requests = {request.index: request for request in requests}
        ranked = sorted(requests, key=lambda one: (one.arrival, one.index))
        self.measured = frozenset(one.index for one in ranked[num_warmups:])
        self.origin_ns = origin_ns
        self._clock = clock
        self._slo = slo
        self._modelled = modelled
        self._by_seconds = by_seconds
        self._pass = pass_
        self._plans = hashlib.sha256()
        self._totals: Counter[str] = Counter()
        self._groups: Counter[int] = Counter()
        self._arrived: dict[int, int] = {}
        self._scheduled: dict[int, int] = {}
        self._stamps: dict[int, list[int]] = {index: [] for index in self._requests}
        self._last_ns = origin_ns
        self.tokens: dict[int, list[int]] = {index: [] for index in self._requests}

    def observe(self, step: Step) -> None:
        """Add one iteration."""
        plan, settled = step.plan, step.settled
        self._plans.update(plan_line(plan))
        self._totals["iterations"] += 1
        self._totals["decode_rows"] += len(plan.decodes)
        self._totals["preemptions"] += len(step.preempted)
        for part in plan.prefill:
            if part.tile.layers.start == 0:
                self._totals["prefill_rows"] += len(part.tile.tokens)
        if plan.num_groups is not None and plan.prefill[0].tile.layers.start == 0:
            self._groups[plan.num_groups] += 1
        for request in step.arrived:
            self._arrived[request] = self._arrival_ns(request, step)
        for request in settled.admitted:
            self._scheduled.setdefault(request, step.start_ns)
        for request in settled.sampled:
            self._stamps[request].append(step.stop_ns)
        for request, token in step.execution.tokens.items():
            self.tokens[request].append(token)
        if self._modelled is not None:
            self._modelled.observe(step)
        self._last_ns = step.stop_ns

    def _arrival_ns(self, request: int, step: Step) -> int:
        if not self._by_seconds:
            return step.start_ns
        return self.origin_ns + round(self._requests[request].arrival * NS)

    def line(self, step: Step) -> dict[str, JsonValue]:
        """Return the iteration's line of iterations.jsonl."""
        return {
            "arm": self._arm.label,
            "iteration": step.iteration,
            "start_ms": (step.start_ns - self.origin_ns) / 1e6,
            "duration_ms": (step.stop_ns - step.start_ns) / 1e6,
            "decodes": list(step.plan.decodes),
            "tiles": tiles_of(step.plan),
            "num_groups": step.plan.num_groups,
            "arrived": list(step.arrived),
            "admitted": list(step.settled.admitted),
            "preempted": list(step.preempted),
            "finished": list(step.settled.finished),
            **({} if self._modelled is None else self._modelled.line(step.execution.modelled)),
        }

    def request_lines(self) -> list[dict[str, JsonValue]]:
        """Return the lines of requests.jsonl: every request that was served."""
        return [self._request_line(index) for index in self._requests if self._stamps[index]]

    def _request_line(self, index: int) -> dict[str, JsonValue]:
        request, arrived = self._requests[index], self._arrived[index]
        return {
            "arm": self._arm.label,
            "request": index,
            "context_tokens": request.context_tokens,
            "prompt_tokens": request.prompt_tokens,
            "output_tokens": request.output_tokens,
            "is_warmup": index not in self.measured,
            "arrival_ms": (arrived - self.origin_ns) / 1e6,
            "queue_ms": (self._scheduled[index] - arrived) / 1e6,
            "token_ms": [(stamp - arrived) / 1e6 for stamp in self._stamps[index]],
        }

    @property
    def label(self) -> str:
        """Of the arm."""
        return self._arm.label

    @property
    def attainment(self) -> float:
        """Share of the measured requests that meet the SLO; one without a token does not."""
        return self._met / len(self.measured)

    @property
    def _met(self) -> int:
        return sum(meets(one, self._slo) for one in self._times())

    @property
    def plan_hash(self) -> str:
        """Digest of the plans so far."""
        return self._plans.hexdigest()

    def _times(self) -> list[Times]:
        return [
            Times(
                arrival=self._arrived[index],
                scheduled=self._scheduled[index],
                tokens=tuple(self._stamps[index]),
            )
            for index in sorted(self.measured)
            if self._stamps[index]
        ]

    def to_record(self, *, cautions: Sequence[Caution] = ()) -> Arm:
        """Return the arm's part of the record."""
        policy = self._arm.policy
        readings = {**self._counts(), **self._latencies(), **self._load()}
        ledger = Ledger(counted_bytes=None, modelled_bytes=None)
        if self._modelled is not None:
            seconds = (self._last_ns - self.origin_ns) / NS
            readings |= self._modelled.readings(seconds=seconds, pass_=self._pass)
            ledger = self._modelled.ledger()
        return Arm(
            label=self._arm.label,
            schedule=Schedule(name=policy.name, params=dict(policy.params)),
            plan_hash=self.plan_hash,
            effective_groups=dict(sorted(self._groups.items())),
            metrics=readings,
            windows=(
                Window(
                    name="arm",
                    pass_=self._pass,
                    iterations=self._totals["iterations"],
                    start_ms=0.0,
                    duration_ms=(self._last_ns - self.origin_ns) / 1e6,
                ),
            ),
            ledger=ledger,
            warnings=tuple(cautions),
        )

    def _counts(self) -> dict[str, Reading]:
        names = ("iterations", "prefill_rows", "decode_rows", "preemptions")
        counted = {
            name: Reading(
                value=self._totals[name],
                unit=ALL_METRICS[name].unit,
                method="counted",
                source="plan",
                pass_=self._pass,
            )
            for name in names
        }
        mean = self._totals["decode_rows"] / max(1, self._totals["iterations"])
        name = "decodes_in_flight_mean"
        return counted | {name: self._timed(name, mean)}

    def _latencies(self) -> dict[str, Reading]:
        return {
            f"{name}_ms_{statistic}": self._timed(f"{name}_ms_{statistic}", value)
            for name, samples in latency_samples(self._times()).items()
            for statistic, value in summarise(samples).items()
        }

    def _load(self) -> dict[str, Reading]:
        """Return throughput and goodput, over first arrival to last token of what is measured."""
        times = self._times()
        served = [self._requests[index] for index in self.measured]
        span = (max(one.tokens[-1] for one in times) - min(one.arrival for one in times)) / NS
        output = sum(one.output_tokens for one in served)
        total = output + sum(one.prompt_tokens for one in served)
        return {
            "request_throughput": self._timed("request_throughput", len(served) / span),
            "output_token_throughput": self._timed("output_token_throughput", output / span),
            "total_token_throughput": self._timed("total_token_throughput", total / span),
            "slo_attainment": self._timed(
                "slo_attainment", self.attainment if self._slo else "no_slo"
            ),
            "goodput": self._timed("goodput", self._met / span if self._slo else "no_slo"),
        }

    def _timed(self, name: str, value: float | str) -> Reading:
        absent = isinstance(value, str)
        return Reading.model_validate(
            {
                "value": None if absent else value,
                "unit": ALL_METRICS[name].unit,
                "method": self._clock.method,
                "source": self._clock.source,
                "validity": "absent" if absent else "valid",
                "reasons": (value,) if absent else (),
                "pass": self._pass,
            }
        )
