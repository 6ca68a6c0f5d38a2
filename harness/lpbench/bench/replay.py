"""Measured passes carried out again by the roofline: what each is modelled to cost, and of what.

Owns: the replay of a run, and its times as a function of the coefficients.
Must not know: how coefficients are fitted, which are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lpbench.bench.observed import ObservedArm, ObservedRun, Pass
from lpbench.executors.executor import Cost
from lpbench.executors.roofline.coefficients import Coefficients
from lpbench.executors.roofline.cost import Roofline
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.plan.iteration import Segment
from lpbench.shape.device import Device
from lpbench.shape.operators import KINDS, LayerKind, Operator, Rows
from lpbench.workload.coverage import Coverage, find_coverage

Floats = NDArray[np.float64]

SECONDS = ("layer_s", "row_s", "host_s")
"""The coefficients that are seconds, as they stand behind the shares."""


def coverage_of(run: ObservedRun) -> Coverage:
    """Return how many experts a pass is taken to touch where they were not counted."""
    return find_coverage(run.routing, num_experts=run.shape.num_experts, top_k=run.shape.top_k)


def replay(run: ObservedRun, arm: ObservedArm, roofline: Roofline) -> Iterator[Cost]:
    """Yield what every pass of an arm is modelled to cost, with the experts that it touched."""
    executor = _Replay(arm.requests, shape=run.shape, roofline=roofline, coverage=coverage_of(run))
    for one in arm.passes:
        for request in one.preempted:
            executor.release(request)
        executor.carries = one
        yield executor.execute(one.plan).modelled


class _Replay(RooflineExecutor):
    """Takes the counted experts where there are any: of a segment, the mean of its layers."""

    carries: Pass | None = None

    def touched(self, segment: Segment) -> tuple[float, float, int]:
        counted = None if self.carries is None else self.carries.distinct
        if counted is None:
            return super().touched(segment)
        layers = counted[segment.layers.start : segment.layers.stop]
        touched = [number for number in layers if number]  # a dense layer has none
        return sum(touched), 0.0, len(touched)


class _Recording(Roofline):
    """Keeps the operators of every pass."""

    def __init__(self, run: ObservedRun, device: Device, coefficients: Coefficients) -> None:
        super().__init__(run.shape, run.precision, device, coefficients)
        self._byte_s = 1 / device.memory_bandwidth
        self._flop_s = 1 / device.flops(run.precision.computed_in)
        self.at: list[int] = []
        self.kind: list[int] = []
        self.memory: list[float] = []
        self.compute: list[float] = []
        self.fixed: list[tuple[int, int, int]] = []
        self._layers = self._rows = 0

    def add_layers(self, cost: Cost, kind: LayerKind, rows: Rows, *, layers: int) -> None:
        for operator in self.operators.of_layer(kind, rows):
            self._keep(operator, times=layers)
        self._layers += layers
        self._rows += layers * rows.count
        super().add_layers(cost, kind, rows, layers=layers)

    def add_head(self, cost: Cost, sampled: int) -> None:
        self._keep(self.operators.head(sampled), times=1)
        super().add_head(cost, sampled)

    def finish(self, cost: Cost) -> None:
        self.fixed.append((self._layers, self._rows, 1))
        self._layers = self._rows = 0
        super().finish(cost)

    def _keep(self, operator: Operator, *, times: int) -> None:
        self.at.append(len(self.fixed))
        self.kind.append(KINDS.index(operator.kind))
        self.memory.append(times * operator.bytes * self._byte_s)
        self.compute.append(times * operator.flops * self._flop_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTimes:
    """The times of passes as a function of the coefficients, and their derivatives.

    The coefficients stand in one row: by operator how many times longer than at the device's peak
    its bytes take (1 over its share of the bandwidth), the same for its FLOPs, then `SECONDS`. In
    these a time is convex and of degree one, as it is `Roofline`'s sum of p-norms.

    Attributes:
        at: [terms] the pass that an operator belongs to.
        kind: [terms] which operator it is.
        memory: [terms] seconds of its bytes at the device's peak.
        compute: [terms] seconds of its FLOPs.
        fixed: [passes, 3] layers passed, rows through each summed over them, and 1.
        ridge: p of the norm.
    """

    at: NDArray[np.int64]
    kind: NDArray[np.int64]
    memory: Floats
    compute: Floats
    fixed: Floats
    ridge: float

    def only(self, passes: NDArray[np.bool_]) -> "PassTimes":
        """Return the times of some of the passes."""
        terms, place = passes[self.at], np.cumsum(passes) - 1
        return replace(
            self,
            at=place[self.at[terms]],
            kind=self.kind[terms],
            memory=self.memory[terms],
            compute=self.compute[terms],
            fixed=self.fixed[passes],
        )

    def __call__(self, coefficients: Floats) -> tuple[Floats, Floats]:
        """Return the seconds of every pass [n], and their derivatives [n, coefficients]."""
        kinds, passes = len(KINDS), len(self.fixed)
        memory = self.memory * coefficients[:kinds][self.kind]
        compute = self.compute * coefficients[kinds : 2 * kinds][self.kind]
        longer, shorter = np.maximum(memory, compute), np.minimum(memory, compute)
        if math.isinf(self.ridge):
            times = longer
            by_memory, by_compute = 1.0 * (memory >= compute), 1.0 * (memory < compute)
        else:
            p = self.ridge
            times = longer * (1 + (shorter / longer) ** p) ** (1 / p)
            by_memory, by_compute = (memory / times) ** (p - 1), (compute / times) ** (p - 1)
        seconds: Floats = self.fixed @ coefficients[2 * kinds :]
        seconds += np.bincount(self.at, times, minlength=passes)
        slopes = np.zeros((passes, len(coefficients)))
        for kind in range(kinds):
            of = self.kind == kind
            for column, slope in (
                (kind, by_memory * self.memory),
                (kinds + kind, by_compute * self.compute),
            ):
                slopes[:, column] = np.bincount(self.at[of], slope[of], minlength=passes)
        slopes[:, 2 * kinds :] = self.fixed
        return seconds, slopes


def pass_times(
    runs: Sequence[ObservedRun], device: Device, coefficients: Coefficients
) -> tuple[PassTimes, list[list[Floats]]]:
    """Return the times of all passes in order, and by run and arm their bytes and FLOPs [n, 2].

    Raises:
        InputError: the device does not state what a run's precision needs.
    """
    at: list[NDArray[np.int64]] = []
    terms: list[Floats] = []
    fixed: list[tuple[int, int, int]] = []
    work: list[list[Floats]] = []
    for run in runs:
        kept = _Recording(run, device, coefficients)
        work.append(
            [
                np.array([(cost.bytes, cost.flops) for cost in replay(run, arm, kept)])
                for arm in run.arms
            ]
        )
        at.append(np.array(kept.at, dtype=np.int64) + len(fixed))
        terms.append(np.array([kept.kind, kept.memory, kept.compute], dtype=np.float64))
        fixed += kept.fixed
    kind, memory, compute = np.concatenate(terms, axis=1)
    times = PassTimes(
        at=np.concatenate(at),
        kind=kind.astype(np.int64),
        memory=memory,
        compute=compute,
        fixed=np.array(fixed, dtype=np.float64),
        ridge=coefficients.ridge,
    )
    return times, work
