"""From windows to joules per token: what an arm's measured windows add up to.

Owns: which windows count, the value of a block, the formulas of the energy metrics.
Must not know: engines, how a window is opened.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from lpbench.analysis.metrics import ENERGY_METRICS
from lpbench.analysis.stats import paired_effect
from lpbench.meters.meter import Measurement
from lpbench.record.schema import Comparison, Reading, Window

ENERGY_PASS = "energy"  # noqa: S105 - a pass over the workload, no password
"""The pass in which joules are measured: nothing is traced, and experts are counted as always, for
less than 1 % of an iteration."""

JOULES = ("total_gpu_energy_j", "total_cpu_package_energy_j")
"""The readings that hold the joules of a window, by meter."""

PER_UNIT = ("joules_per_total_token", "joules_per_output_token", "joules_per_request")
"""The metrics that arms are compared by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one run of the workload amounts to: prompt tokens, output tokens, requests.

    A token that a preemption computes again is no new token.
    """

    prompt_tokens: int
    output_tokens: int
    requests: int

    def per_unit(self, joules: float, runs: int) -> dict[str, float]:
        """Return the joules of `runs` runs per total token, output token and request."""
        total = self.prompt_tokens + self.output_tokens
        units = (total, self.output_tokens, self.requests)
        return {name: joules / (runs * unit) for name, unit in zip(PER_UNIT, units, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """One window of one arm.

    Attributes:
        block: of the campaign.
        runs: how often the workload ran in it.
        iterations: passes of the model in it.
        start_ms: when it began, from the start of the pass.
        found: what the meter found.
    """

    block: int
    runs: int
    iterations: int
    start_ms: float
    found: Measurement

    @property
    def reading(self) -> Reading:
        """The window's energy, valid or not."""
        return joules_of(self.found)

    @property
    def joules(self) -> float:
        """The window's energy; the window is valid."""
        assert self.reading.value is not None
        return self.reading.value

    @property
    def seconds(self) -> float:
        """Length between the edges."""
        return (self.found.stop_ns - self.found.start_ns) / 1e9

    def to_record(self) -> Window:
        """Return its part of the record."""
        changes = {
            "name": "measured",
            "iterations": self.iterations,
            "runs": self.runs,
            "block": self.block,
        }
        return idle_window(self.found, start_ms=self.start_ms).model_copy(update=changes)


def idle_window(found: Measurement, *, start_ms: float) -> Window:
    """Return a window without work as the record has it."""
    return Window(
        name="idle",
        pass_=ENERGY_PASS,
        iterations=0,
        start_ms=start_ms,
        duration_ms=(found.stop_ns - found.start_ns) / 1e6,
        runs=0,
        readings={
            name: reading.model_copy(update={"pass_": ENERGY_PASS})
            for name, reading in found.readings.items()
        },
    )


def joules_of(found: Measurement) -> Reading:
    """Return the reading that holds a window's joules."""
    return found.readings[joules_name(found)]


def joules_name(found: Measurement) -> str:
    """Return the name of that reading, which is also the metric's."""
    return next(name for name in JOULES if name in found.readings)


def processes_of(found: Measurement) -> float:
    """Return how many processes were on the GPU; 0 where the meter does not tell."""
    reading = found.readings.get("gpu_processes")
    return 0 if reading is None else reading.value or 0


def power_of(found: Measurement) -> float | None:
    """Return a window's mean power in watts; None where its joules are not valid."""
    joules = joules_of(found)
    if joules.validity != "valid" or joules.value is None:
        return None
    return joules.value * 1e9 / (found.stop_ns - found.start_ns)


def energy_readings(
    windows: Sequence[Metered], work: Work, *, idle: Sequence[Measurement]
) -> dict[str, Reading]:
    """Return an arm's energy metrics: the median over its blocks, from valid windows alone.

    A block counts when each of the arm's windows in it is valid; its value is their mean. Where no
    block counts, every metric is absent, with all the windows' codes.

    Args:
        windows: of the arm, at least one.
        work: what one run amounts to.
        idle: the windows without work, before and after.
    """
    blocks, total = valid_blocks(windows), joules_name(windows[0].found)
    idle_power = [watts for one in idle if (watts := power_of(one)) is not None]
    samples: dict[str, list[float]] = defaultdict(list)
    for members in blocks.values():
        joules = fmean(one.joules for one in members)
        seconds = fmean(one.seconds for one in members)
        for name, value in work.per_unit(joules, members[0].runs).items():
            samples[name].append(value)
        samples[total].append(joules)
        samples["power_w_mean"].append(joules / seconds)
        if idle_power:
            samples["idle_share"].append(fmean(idle_power) * seconds / joules)
    samples["idle_power_w"] = idle_power
    source = windows[0].reading.source
    void = tuple(dict.fromkeys(code for one in windows for code in one.reading.reasons))
    idle_void = tuple(dict.fromkeys(code for one in idle for code in joules_of(one).reasons))
    reasons = {"idle_power_w": idle_void, "idle_share": (*void, *idle_void)}
    names = (*PER_UNIT, total, "power_w_mean", "idle_power_w", "idle_share")
    return {
        name: _reading(name, samples[name], source=source, reasons=reasons.get(name, void))
        for name in names
    }


def valid_blocks(windows: Sequence[Metered]) -> dict[int, list[Metered]]:
    """Return an arm's windows by block, the blocks alone whose every window is valid."""
    blocks: dict[int, list[Metered]] = defaultdict(list)
    for one in windows:
        blocks[one.block].append(one)
    return {
        block: members
        for block, members in blocks.items()
        if all(one.reading.validity == "valid" for one in members)
    }


def compare_energy(arms: Mapping[str, Sequence[Metered]], work: Work) -> tuple[Comparison, ...]:
    """Return every later arm's joules per unit over the first arm's, paired block by block.

    Args:
        arms: windows by label, the baseline first.
        work: what one run amounts to, whatever the schedule.
    """
    (baseline, base_windows), *others = arms.items()
    base = valid_blocks(base_windows)
    found = []
    for label, windows in others:
        mine = valid_blocks(windows)
        both = [block for block in base if block in mine]
        found += [
            _compare(
                name,
                (baseline, [_value(name, base[block], work) for block in both]),
                (label, [_value(name, mine[block], work) for block in both]),
            )
            for name in PER_UNIT
        ]
    return tuple(found)


def _value(name: str, members: Sequence[Metered], work: Work) -> float:
    joules = fmean(one.joules for one in members)
    return work.per_unit(joules, members[0].runs)[name]


def _compare(
    name: str, baseline: tuple[str, Sequence[float]], candidate: tuple[str, Sequence[float]]
) -> Comparison:
    if not baseline[1]:
        return Comparison(
            metric=name,
            baseline=baseline[0],
            candidate=candidate[0],
            ratio=None,
            reasons=("no_valid_block",),
        )
    effect = paired_effect(baseline[1], candidate[1])
    interval = effect.interval
    return Comparison(
        metric=name,
        baseline=baseline[0],
        candidate=candidate[0],
        ratio=effect.ratio,
        interval=None if interval is None else (interval.low, interval.high),
        coverage=None if interval is None else interval.coverage,
        samples=effect.ratios,
        reasons=("too_few_blocks",) if interval is None else (),
    )


def _reading(
    name: str, samples: Sequence[float], *, source: str, reasons: tuple[str, ...]
) -> Reading:
    return Reading(
        value=median(samples) if samples else None,
        unit=ENERGY_METRICS[name].unit,
        method="measured",
        source=source,
        validity="valid" if samples else "absent",
        reasons=() if samples else (reasons or ("no_window",)),
        pass_=ENERGY_PASS,
        samples=tuple(samples),
    )
