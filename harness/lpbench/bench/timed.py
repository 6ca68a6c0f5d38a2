"""The log of the passes of one size: how long each took, against the least it can take.

Owns: what is kept of a pass, its line of passes.jsonl, the readings of all of them.
Must not know: how a pass is carried out, how its readings are shown.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from lpbench.analysis.checks import against
from lpbench.analysis.metrics import SPEED_METRICS, summarise
from lpbench.bench.bound import pass_cost
from lpbench.bench.lines import plan_line
from lpbench.bench.loop import Step
from lpbench.executors.roofline.cost import Roofline
from lpbench.record.schema import Arm, Caution, Ledger, Reading, Schedule, Window
from lpbench.units import COUNT, MILLISECONDS

if TYPE_CHECKING:
    from lpbench.executors.torch_engine.kernel_times import KernelTime

SPEED_PASS = "speed"  # noqa: S105 - a pass over the workload, no password
"""The passes that are timed, with the counting of experts in."""

PROFILE_PASS = "profile"  # noqa: S105 - as above
"""One more of the same size, under the profiler."""

HOST_COMPUTES = "host_computes"
"""Code of what a host does besides, where it computes the passes itself."""

ABOVE_BOUND = "above_roofline"
"""Code of a share above 1: a cache served, or the peaks were measured too low."""

MODEL = "roofline, peaks as measured, experts as counted"
"""Source of bytes, FLOPs and bounds."""

PROFILER, MS, CALLS = "torch.profiler", "kernel_ms:", "kernel_calls:"
"""Source and names of the readings by kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One pass.

    Attributes:
        wall_ms: planning to tokens, by the host's clock.
        device_ms: on the device's own; None where it has none.
        host_ms: planning until all is launched; None where the host computes.
        expert_bytes: of the experts that it touched.
        bytes: weights, keys and values it reads.
        flops: it computes.
        bound_ms: the least it can take.
    """

    wall_ms: float
    device_ms: float | None
    host_ms: float | None
    expert_bytes: float
    bytes: float
    flops: float
    bound_ms: float

    @property
    def ms(self) -> float:
        """How long it took: by the device's clock, where it has one."""
        return self.wall_ms if self.device_ms is None else self.device_ms


class SizeLog:
    """Takes the timed passes of one size."""

    def __init__(self, label: str, roofline: Roofline) -> None:
        """Start with none; the roofline is the model's on the device as measured."""
        self.label = label
        self._roofline = roofline
        self._passes: list[Timed] = []
        self._plans = hashlib.sha256()
        self._profile: Window | None = None

    def observe(self, step: Step, *, starts: Mapping[int, int]) -> dict[str, JsonValue]:
        """Add a pass and return its line of passes.jsonl.

        Args:
            step: the pass.
            starts: per request of its plan, the position of its token 0.
        """
        execution = step.execution
        distinct = execution.drawn.touched.any(axis=1).sum(axis=1).tolist()
        cost = pass_cost(
            self._roofline,
            step.plan,
            starts=starts,
            distinct=distinct,
            sampled=len(step.settled.sampled),
        )
        launched = execution.launched_ns
        timed = Timed(
            wall_ms=(step.stop_ns - step.start_ns) / 1e6,
            device_ms=None if execution.device_ns is None else execution.device_ns / 1e6,
            host_ms=None if launched is None else (launched - step.start_ns) / 1e6,
            expert_bytes=self._roofline.operators.expert_bytes * sum(distinct),
            bytes=cost.bytes,
            flops=cost.flops,
            bound_ms=cost.seconds * 1e3,
        )
        self._passes.append(timed)
        self._plans.update(plan_line(step.plan))
        return {
            "arm": self.label,
            "wall_ms": timed.wall_ms,
            "device_ms": timed.device_ms,
            "host_ms": timed.host_ms,
            "distinct_experts": distinct,
            "bytes": timed.bytes,
            "flops": timed.flops,
            "bound_ms": timed.bound_ms,
        }

    def profiled(self, step: Step, kernels: Sequence["KernelTime"]) -> None:
        """Add the pass under the profiler; its window is as long as the device's clock has it."""
        readings = {}
        for one in kernels:
            for name, value, unit in (
                (MS + one.name, one.ms, MILLISECONDS),
                (CALLS + one.name, one.calls, COUNT),
            ):
                readings[name] = Reading(
                    value=value, unit=unit, method="measured", source=PROFILER, pass_=PROFILE_PASS
                )
        on_device, wall_ns = step.execution.device_ns, step.stop_ns - step.start_ns
        self._profile = Window(
            name=PROFILE_PASS,
            pass_=PROFILE_PASS,
            iterations=1,
            duration_ms=(wall_ns if on_device is None else on_device) / 1e6,
            readings=readings,
        )

    def to_record(
        self, schedule: Schedule, *, cautions: Sequence[Caution] = (), unfinished: str | None = None
    ) -> Arm:
        """Return the size's part of the record.

        Args:
            schedule: under which the passes were planned.
            cautions: what to know before trusting a number.
            unfinished: reason code against every reading, where the size was cut short.
        """
        readings = self._readings()
        if unfinished is not None:
            readings = {name: against(one, unfinished) for name, one in readings.items()}
        timed = Window(
            name="timed",
            pass_=SPEED_PASS,
            iterations=len(self._passes),
            duration_ms=sum(one.wall_ms for one in self._passes),
        )
        return Arm(
            label=self.label,
            schedule=schedule,
            plan_hash=self._plans.hexdigest(),
            metrics=readings,
            windows=(timed, *([self._profile] if self._profile else [])),
            ledger=Ledger(counted_bytes=None, modelled_bytes=None),
            warnings=tuple(cautions),
        )

    def _readings(self) -> dict[str, Reading]:
        passes = self._passes
        by_device = any(one.device_ms is not None for one in passes)
        clock = "CUDA events" if by_device else "monotonic clock"
        times = [one.ms for one in passes]
        host = [one.host_ms for one in passes if one.host_ms is not None]
        shares = [one.bound_ms / one.ms for one in passes]
        share = _of("roofline_share", shares, source=f"{MODEL}, over {clock}")
        if share.value is not None and share.value > 1:
            share = against(share, ABOVE_BOUND)
        found = {
            "pass_ms_median": _of("pass_ms_median", times, source=clock),
            "pass_ms_p90": _of("pass_ms_p90", times, source=clock),
            "wall_ms_median": _of(
                "wall_ms_median", [one.wall_ms for one in passes], source="monotonic clock"
            ),
            "host_ms_median": _of(
                "host_ms_median",
                host,
                source="monotonic clock, until the read-back",
                absent=HOST_COMPUTES if passes else "no_samples",
            ),
            "pass_expert_bytes": _of(
                "pass_expert_bytes",
                [one.expert_bytes for one in passes],
                source="router",
                method="counted",
            ),
            "roofline_share": share,
        }
        for name, values in (
            ("pass_bytes", [one.bytes for one in passes]),
            ("pass_flops", [one.flops for one in passes]),
            ("bound_ms", [one.bound_ms for one in passes]),
        ):
            found[name] = _of(name, values, source=MODEL, method="modelled")
        return {name: found[name] for name in SPEED_METRICS}


def _of(
    name: str,
    samples: Sequence[float],
    *,
    source: str,
    method: Literal["counted", "measured", "modelled"] = "measured",
    absent: str = "no_samples",
) -> Reading:
    """Return the median of passes, or their p90 where the name says so; all values stand in it.

    Args:
        name: of `SPEED_METRICS`.
        samples: one value a pass.
        source: what they are from.
        method: how they were had.
        absent: the reason where there are none.
    """
    value = summarise(samples)["p90" if name.endswith("p90") else "median"] if samples else absent
    is_absent = isinstance(value, str)
    return Reading(
        value=None if isinstance(value, str) else value,
        unit=SPEED_METRICS[name].unit,
        method=method,
        source=source,
        validity="absent" if is_absent else "valid",
        reasons=(value,) if isinstance(value, str) else (),
        pass_=SPEED_PASS,
        samples=tuple(samples) if name.endswith("median") else (),
    )
