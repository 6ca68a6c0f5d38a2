"""The counter pass: DRAM bytes of a run of the workload, and what of them the experts are.

Owns: the windows of N and 2N runs, the control with pinned experts, the formulas of the slope.
Must not know: which instrument reads the bytes, files.

A window also holds what starting it costs, what leaves the cache late, what others read meanwhile:
all the same whether it holds N runs or 2N, so the difference over N is one run's (MEASURING.md
1.10). Expert bytes are the difference to the same plans with every row sent to the same k experts:

    measured = counted in the control + slope - slope of the control        (DESIGN.md)
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from lpbench.analysis.checks import CACHE_FACTOR, IMPOSSIBLE, against, is_impossible
from lpbench.meters.cupti.slope import slope
from lpbench.meters.meter import Meter
from lpbench.record.schema import Reading, Window
from lpbench.shape.device import Device
from lpbench.units import BYTES

COUNTERS_PASS = "counters"  # noqa: S105 - a pass over the workload, no password
"""The pass in which DRAM bytes are measured; the instrument may lock the clocks in it."""

BLOCKS = 3
"""Times each slope is taken; the median counts."""

WINDOW_S = 0.5
"""Length of a window of N runs, at least."""

READ, WRITTEN, EXPERTS = "dram_bytes_read", "dram_bytes_written", "expert_bytes_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What one run of the control pass is known to read of the experts.

    Attributes:
        run: runs the workload so often with every row sent to the same k experts.
        expert_bytes: counted in one such run.
    """

    run: Callable[[int], None]
    expert_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the counter pass of one arm came to.

    Attributes:
        readings: `dram_bytes_read`, `dram_bytes_written` and `expert_bytes_measured` of one run.
        windows: all it was taken from, void ones with their codes.
    """

    readings: Mapping[str, Reading]
    windows: tuple[Window, ...]


def measure_dram(
    run: Callable[[int], None],
    control: Control,
    meter: Meter,
    *,
    seconds: float,
    iterations: int,
    device: Device | None,
) -> Measured:
    """Measure the DRAM bytes read and written by one run, and the expert bytes among them.

    Args:
        run: runs the workload so often, and returns when the device is idle.
        control: the same with pinned experts.
        meter: reads `dram_bytes_read` and `dram_bytes_written` of a window.
        seconds: one run takes about so long.
        iterations: passes of the model in one run.
        device: whose peak the bytes are held to; None for an unknown one.
    """
    runs = max(1, math.ceil(WINDOW_S / seconds))
    slopes: dict[str, list[Reading]] = defaultdict(list)
    windows: list[Window] = []

    def slopes_of(work: Callable[[int], None], name: str, block: int) -> dict[str, Reading]:
        for count in (runs, 2 * runs):
            window = _window(work, meter, runs=count, device=device)
            changes = {"name": name, "block": block, "iterations": count * iterations}
            windows.append(window.model_copy(update=changes))
        once, twice = (window.readings for window in windows[-2:])
        return {
            each: slope(once=once[each], twice=twice[each], repetitions=runs)
            for each in (READ, WRITTEN)
        }

    for block in range(BLOCKS):
        mine = slopes_of(run, "measured", block)
        pinned = slopes_of(control.run, "control", block)
        for name in (READ, WRITTEN):
            slopes[name].append(mine[name])
        slopes[EXPERTS].append(_difference(mine[READ], pinned[READ], known=control.expert_bytes))
    readings = {name: _median(found) for name, found in slopes.items()}
    return Measured(readings=readings, windows=tuple(windows))


def unmeasured_dram(reason: str) -> dict[str, Reading]:
    """Return the readings of a pass that could not be: absent, with the reason's code."""
    absent = Reading(
        value=None,
        unit=BYTES,
        method="measured",
        source="cupti",
        validity="absent",
        reasons=(reason,),
        pass_=COUNTERS_PASS,
    )
    return dict.fromkeys((READ, WRITTEN, EXPERTS), absent)


def all_dram(readings: Mapping[str, Reading]) -> Reading:
    """Return what was read and written together."""
    both = _combined(readings[READ], readings[WRITTEN], lambda read, written: read + written)
    return both.model_copy(update={"samples": ()})


def cached(
    readings: Mapping[str, Reading], *, layer_bytes: float, cache_bytes: int | None
) -> dict[str, Reading]:
    """Return the readings, expert bytes invalid where a cache may have served them.

    The control reads the same k experts again and again: where a layer's experts are not far more
    than the last-level cache, the difference to it says nothing of DRAM.
    """
    if cache_bytes is not None and layer_bytes > CACHE_FACTOR * cache_bytes:
        return dict(readings)
    return {**readings, EXPERTS: against(readings[EXPERTS], "fits_in_cache")}


def _window(
    run: Callable[[int], None], meter: Meter, *, runs: int, device: Device | None
) -> Window:
    meter.start()
    run(runs)
    found = meter.stop()
    duration_ms = (found.stop_ns - found.start_ns) / 1e6
    readings = {
        name: found.readings[name].model_copy(update={"pass_": COUNTERS_PASS})
        for name in (READ, WRITTEN)
    }
    if is_impossible(all_dram(readings).value or 0, duration_ms=duration_ms, device=device):
        readings = {name: against(one, IMPOSSIBLE) for name, one in readings.items()}
    return Window(
        name="measured",
        pass_=COUNTERS_PASS,
        iterations=0,
        duration_ms=duration_ms,
        runs=runs,
        readings=readings,
    )


def _difference(mine: Reading, pinned: Reading, *, known: int) -> Reading:
    """Return the expert bytes from a run's slope and its control's."""
    found = _combined(mine, pinned, lambda run, control: known + run - control)
    return found if (found.value or 0) >= 0 else against(found, "not_resolved")


def _combined(first: Reading, second: Reading, formula: Callable[[float, float], float]) -> Reading:
    """Return the sum or difference of two: as valid as both, its uncertainty the sum of theirs."""
    reasons = tuple(dict.fromkeys((*first.reasons, *second.reasons)))
    if first.value is None or second.value is None:
        changes: Mapping[str, object] = {
            "value": None,
            "validity": "absent",
            "reasons": reasons,
            "uncertainty": None,
        }
    else:
        parts = (first.uncertainty, second.uncertainty)
        known = [part for part in parts if part is not None]
        changes = {
            "value": formula(first.value, second.value),
            "validity": "invalid" if reasons else "valid",
            "reasons": reasons,
            "uncertainty": sum(known) if len(known) == len(parts) else None,
        }
    return first.model_copy(update=changes)


def _median(found: Sequence[Reading]) -> Reading:
    """Return the median of the valid ones; where none is, the last one with all their codes."""
    valid = [one for one in found if one.validity == "valid" and one.value is not None]
    reasons = tuple(dict.fromkeys(code for one in found for code in one.reasons))
    if not valid:
        return found[-1].model_copy(update={"reasons": reasons})
    values = [one.value for one in valid if one.value is not None]
    parts = [one.uncertainty for one in valid if one.uncertainty is not None]
    return valid[0].model_copy(
        update={
            "value": median(values),
            "uncertainty": max(parts) if len(parts) == len(valid) else None,
            "samples": tuple(values),
        }
    )
