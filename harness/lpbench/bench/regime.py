"""One point of the regime map: prompts come in while others decode, under many schedules.

Owns: the workload of a point, its schedules, the record of its run.
Must not know: which schedule is best, other points.

The decodes run all along. The prompts arrive together, at the start of a pass, when every decode is
in flight under any schedule; what is measured ends with the last prompt's first token, so that the
gaps between tokens are those of passes in which prompts were served.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean
from typing import Literal

from lpbench import __version__
from lpbench.analysis.metrics import METRICS
from lpbench.bench.experiment import ArmSpec, Experiment, resolve
from lpbench.bench.lines import plan_line
from lpbench.bench.listener import Listener
from lpbench.bench.loop import Step, run_arm
from lpbench.bench.spec import Burst, RunSpec
from lpbench.bench.virtual import VirtualMachine
from lpbench.errors import InputError, MisfitError
from lpbench.plan.request import PAGE_TOKENS, pages_for
from lpbench.record.provenance import digest, environment
from lpbench.record.schema import Arm, Ledger, Reading, Record, Schedule
from lpbench.record.store import RunStore

PASS = "regime"  # noqa: S105 - a pass over the workload, no password


PAGES = 4
"""By so many pages each decode may grow; one whose passes are more is not valid if it preempts."""


def run_regime(spec: RunSpec, open_store: Callable[[], RunStore], listener: Listener) -> Record:
    """Run a point under all its schedules and return its record, which is also stored.

    Raises:
        InputError: the input cannot run, or runs on torch.
        MisfitError: the point's tokens do not fit the device.
        RunError: a schedule broke a rule, or the disk is full.
    """
    burst = spec.burst
    assert burst is not None, "a point of the map has a burst"
    if spec.executor != "roofline":
        raise InputError(f"executor = {spec.executor!r}; a point of the map accepts: roofline")
    experiment = resolve(spec)
    machine = VirtualMachine(spec, experiment)
    _refuse_too_many(burst, machine.num_kv_pages)
    started_at = datetime.now(UTC)
    arms: list[Arm] = []

    def record(status: Literal["complete", "failed"], failure: str | None = None) -> Record:
        stated = {
            **machine.spec,
            "num_decodes": burst.num_decodes,
            "context_len": burst.context_len,
            "prompts": burst.prompts,
            "prompt_len": burst.prompt_len,
        }
        return Record(
            lpbench_version=__version__,
            status=status,
            failure=failure,
            command=PASS,
            started_at=started_at,
            spec=stated,
            spec_hash=digest(stated),
            environment=environment(machine.facts),
            protocol={"drained": False, "arrivals": "iterations"},
            arms=tuple(arms),
        )

    with open_store() as store:
        store.write(record("failed", "unfinished"))
        listener.stage("serve a burst", len(experiment.arms))
        for arm in experiment.arms:
            log = _BurstLog(burst)
            for step in _burst(arm, experiment, machine, burst):
                log.observe(step)
            arms.append(
                log.to_record(
                    arm, source=machine.source, weight=machine.roofline.operators.expert_bytes
                )
            )
            listener.advance(1)
        complete = record("complete")
        store.write(complete)
    return complete


def _refuse_too_many(burst: Burst, num_kv_pages: int) -> None:
    """Refuse a point of which not all tokens fit: preemption is another experiment."""
    growth = PAGES * PAGE_TOKENS
    needed = burst.num_decodes * pages_for(burst.context_len + growth)
    needed += burst.prompts * pages_for(burst.prompt_len)
    if needed > num_kv_pages:
        msg = (
            f"{burst.num_decodes} decodes at {burst.context_len} tokens and {burst.prompts} "
            f"prompts of {burst.prompt_len} need {needed} KV pages, there are {num_kv_pages}"
        )
        raise MisfitError(msg)


def _burst(
    arm: ArmSpec, experiment: Experiment, machine: VirtualMachine, burst: Burst
) -> Iterator[Step]:
    """Yield the passes from the prompts' arrival to the last one's first token."""
    requests = experiment.prompts.requests
    steps = run_arm(
        arm.policy,
        requests,
        machine.executor(requests),
        num_layers=experiment.shape.num_layers,
        limits=experiment.limits(machine.num_kv_pages),
    )
    left = burst.prompts
    begin = requests[-1].arrival
    for step in steps:
        if step.iteration >= begin:
            yield step
        left -= sum(one >= burst.num_decodes for one in step.settled.finished)
        if not left:
            return


@dataclass
class _BurstLog:
    """What one schedule makes of a point."""

    burst: Burst
    first_ms: list[float] = field(default_factory=list)
    gaps_ms: list[tuple[float, int]] = field(default_factory=list)
    passes: int = 0
    distinct: float = 0.0
    start_ns: int | None = None
    preemptions: int = 0
    has_lost_a_decode: bool = False
    plans: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def observe(self, step: Step) -> None:
        """Add one pass."""
        self.start_ns = step.start_ns if self.start_ns is None else self.start_ns
        self.plans.update(plan_line(step.plan))
        self.passes += 1
        self.distinct += step.execution.modelled.distinct
        self.preemptions += len(step.preempted)
        self.has_lost_a_decode |= any(one < self.burst.num_decodes for one in step.settled.finished)
        if step.plan.decodes:
            self.gaps_ms.append(((step.stop_ns - step.start_ns) / 1e6, len(step.plan.decodes)))
        new = sum(one >= self.burst.num_decodes for one in step.settled.sampled)
        self.first_ms += [(step.stop_ns - self.start_ns) / 1e6] * new

    def to_record(self, arm: ArmSpec, *, source: str, weight: int) -> Arm:
        """Return its part of the record."""
        gaps = sorted(self.gaps_ms)
        values = {
            "ttft_ms_mean": fmean(self.first_ms),
            "ttft_ms_max": max(self.first_ms),
            "tbt_ms_p99": _weighted_p99(gaps),
            "tbt_ms_max": gaps[-1][0] if gaps else None,
            "iterations": self.passes,
            "preemptions": self.preemptions,
            "expert_bytes": weight * self.distinct,
        }
        against = tuple(
            reason
            for reason, holds in (
                ("preempted", self.preemptions > 0),
                ("decodes_ended", self.has_lost_a_decode),
            )
            if holds
        )
        return Arm(
            label=arm.label,
            schedule=Schedule(name=arm.policy.name, params=dict(arm.policy.params)),
            plan_hash=self.plans.hexdigest(),
            ledger=Ledger(counted_bytes=None, modelled_bytes=values["expert_bytes"]),
            metrics={
                name: Reading(
                    value=value,
                    unit=METRICS[name].unit,
                    method="modelled",
                    source=source,
                    validity="absent" if value is None else "invalid" if against else "valid",
                    reasons=("no_samples",) if value is None else against,
                    pass_=PASS,
                )
                for name, value in values.items()
            },
        )


def _weighted_p99(gaps: list[tuple[float, int]]) -> float | None:
    """Return the gap that 1 % of all are longer than at most; gaps ascend, each so many times."""
    left = sum(count for _, count in gaps) // 100
    for gap, count in reversed(gaps):
        if left < count:
            return gap
        left -= count
    return None
