"""DRAM bytes of a run of the workload, and what of them the experts are.

Owns: the windows of N and 2N runs, the control with pinned experts, the formulas of the slope.
Must not know: which instrument reads the bytes, files.

A window also holds what starting it costs, what leaves the cache late, what others read meanwhile:
all the same whether it holds N runs or 2N, so the difference over N is one run's (MEASURING.md
1.10). Expert bytes are the difference to the same plans with every row sent to the same k experts:

    measured = counted in the control + slope - slope of the control        (DESIGN.md)

An instrument that does not tell reads from writes serves too: both passes write the same.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from lpbench.analysis.checks import CACHE_FACTOR, IMPOSSIBLE, against, is_impossible
from lpbench.meters.cupti.slope import slope
from lpbench.meters.meter import Measurement, Meter
from lpbench.record.schema import Caution, Reading, Window
from lpbench.shape.device import Device
from lpbench.units import BYTES

COUNTERS_PASS = "counters"  # noqa: S105 - a pass over the workload, no password
"""The pass in which DRAM bytes are measured; the instrument may lock the clocks in it."""

BLOCKS = 3
"""Times each slope is taken; the median counts."""

WINDOWS = BLOCKS * 2 * 2
"""Windows of an arm: a block has the run's and the control's, of N and of 2N runs."""

WINDOW_S = 0.5
"""Length of a window of N runs, at least."""

NOT_MEASURED = "not_measured"
"""Code of bytes that nobody has measured, or not yet."""

READ, WRITTEN, BY_GPM = "dram_bytes_read", "dram_bytes_written", "dram_bytes_gpm"
WINDOW_BYTES = (READ, WRITTEN, BY_GPM)
"""What windows are read for, the best first; what else a meter reads stands beside."""

EXPERTS, BY_NCU = "expert_bytes_measured", "expert_kernel_bytes_read"

READINGS: Mapping[str, tuple[str, ...]] = {
    "cupti": (READ, WRITTEN),
    "gpm": (BY_GPM,),
    "ncu": (BY_NCU,),
}
"""What each instrument gives of a run, by its meter's name; the experts' bytes are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What one run of the control pass is known to read of the experts.

    Attributes:
        run: runs the workload so often with every row sent to the same k experts.
        expert_bytes: counted in one such run.
    """

    run: Callable[[int], None]
    expert_bytes: int


class Company(Protocol):
    """Who else is on a device: its counters count every process's traffic.

    Attributes:
        most: the most processes at one look; None where none was had.
    """

    most: int | None

    def look(self) -> Sequence[str]:
        """Return the codes against what was measured since the last look."""

    def close(self) -> None:
        """Let go of the device; who is there at the next look belongs."""


class Alone:
    """The company on a device that nobody else can use."""

    most: int | None = None

    def look(self) -> Sequence[str]:
        """Return nothing against anything."""
        return ()

    def close(self) -> None:
        """Do nothing."""


def measure_dram(
    run: Callable[[int], None],
    control: Control,
    meter: Meter,
    *,
    seconds: float,
    iterations: int,
    device: Device | None,
    company: Company,
    keep: Callable[[Window, Measurement], None],
) -> dict[str, Reading]:
    """Measure the DRAM bytes of one run, and the expert bytes among them.

    Args:
        run: runs the workload so often, and returns when the device is idle.
        control: the same with pinned experts.
        meter: reads DRAM bytes of a window: read and written, or both together.
        seconds: one run takes about so long.
        iterations: passes of the model in one run.
        device: whose peak the bytes are held to; None for an unknown one.
        company: who else is on the device.
        keep: is given every window, void ones too, and what the meter found.

    Returns:
        The meter's bytes of one run, and `expert_bytes_measured`.

    Raises:
        UnavailableError: the meter was lost.
    """
    runs = max(1, math.ceil(WINDOW_S / seconds))
    slopes: dict[str, list[Reading]] = defaultdict(list)
    impossible: list[bool] = []

    def slopes_of(work: Callable[[int], None], name: str, block: int) -> dict[str, Reading]:
        found = []
        for count in (runs, 2 * runs):
            window, measurement = _window(work, meter, runs=count, device=device, company=company)
            changes = {"name": name, "block": block, "iterations": count * iterations}
            found.append(window.model_copy(update=changes))
            keep(found[-1], measurement)
            impossible.append(IMPOSSIBLE in _codes(window))
        once, twice = (window.readings for window in found)
        return {
            each: slope(once=once[each], twice=twice[each], repetitions=runs)
            for each in WINDOW_BYTES
            if each in once
        }

    for block in range(BLOCKS):
        mine = slopes_of(run, "measured", block)
        pinned = slopes_of(control.run, "control", block)
        for name, found in mine.items():
            slopes[name].append(found)
        base = next(iter(mine))  # what is read, where reads are told apart
        slopes[EXPERTS].append(_difference(mine[base], pinned[base], known=control.expert_bytes))
    readings = {name: _median(found) for name, found in slopes.items()}
    if any(impossible):
        # Not a window that went wrong: the instrument, the clock or the peak is wrong.
        readings = {name: against(one, IMPOSSIBLE) for name, one in readings.items()}
    return readings


def window_cautions(windows: Sequence[Window], *, label: str) -> list[Caution]:
    """Return what was wrong with the counter windows of the arm with this label."""
    void = [found for one in windows if (found := _codes(one))]
    if not void:
        return []
    codes = tuple(dict.fromkeys(code for found in void for code in found))
    named = ", ".join(codes)
    message = f"{label}: {len(void)} of {len(windows)} counter windows are void ({named})"
    said = [Caution(code="void_windows", message=message)]
    if IMPOSSIBLE in codes:
        message = f"{label}: measured bytes over time exceed the device's peak: nothing holds"
        said.append(Caution(code=IMPOSSIBLE, message=message))
    return said


def _codes(window: Window) -> tuple[str, ...]:
    """Return what stands against the bytes of a window."""
    found = (window.readings[name].reasons for name in WINDOW_BYTES if name in window.readings)
    return tuple(dict.fromkeys(code for reasons in found for code in reasons))


def unmeasured_dram(codes: Mapping[str, str]) -> dict[str, Reading]:
    """Return the readings of instruments that could not measure, each absent with its code.

    Args:
        codes: a reason's code by meter; the first one's stands against the experts' bytes too.
    """
    absent = {
        name: _absent(meter, code) for meter, code in codes.items() for name in READINGS[meter]
    }
    first = next(iter(codes))
    return {**absent, EXPERTS: _absent(first, codes[first])}


def _absent(meter: str, code: str) -> Reading:
    return Reading(
        value=None,
        unit=BYTES,
        method="measured",
        source=meter,
        validity="absent",
        reasons=(code,),
        pass_=COUNTERS_PASS,
    )


def all_dram(readings: Mapping[str, Reading]) -> Reading:
    """Return what was read and written together, by the best instrument that told."""
    told = [readings[BY_GPM]] if BY_GPM in readings else []
    if READ in readings:
        both = _combined(readings[READ], readings[WRITTEN], lambda read, written: read + written)
        told.insert(0, both)
    return max(told, key=_worth).model_copy(update={"samples": ()})


def _worth(reading: Reading) -> int:
    """Return how much a reading is worth beside another; of equal ones the first is kept."""
    if reading.value is None:
        return 0 if NOT_MEASURED in reading.reasons else 1
    return 3 if reading.validity == "valid" else 2


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
    run: Callable[[int], None],
    meter: Meter,
    *,
    runs: int,
    device: Device | None,
    company: Company,
) -> tuple[Window, Measurement]:
    meter.start()
    reasons = [*company.look()]  # once the meter is open: what it starts on the device belongs
    run(runs)
    found = meter.stop()
    reasons += company.look()
    if all(one.value is None for one in found.readings.values()):
        company.close()  # the meter failed: the next window starts it, and what it brings, anew
    duration_ms = (found.stop_ns - found.start_ns) / 1e6
    total = all_dram(found.readings).value or 0
    if is_impossible(total, duration_ms=duration_ms, device=device):
        reasons.append(IMPOSSIBLE)
    readings = {
        name: one.model_copy(update={"pass_": COUNTERS_PASS})
        for name, one in found.readings.items()
    }
    for reason in reasons:
        readings = {name: against(one, reason) for name, one in readings.items()}
    window = Window(
        name="measured",
        pass_=COUNTERS_PASS,
        iterations=0,
        duration_ms=duration_ms,
        runs=runs,
        readings=readings,
    )
    return window, found


def _difference(mine: Reading, pinned: Reading, *, known: int) -> Reading:
    """Return the expert bytes from a run's slope and its control's."""
    found = _combined(mine, pinned, lambda run, control: known + run - control)
    # A run reads at least what its control does: less is noise, and so is less than the noise.
    least = max(known, found.uncertainty or 0)
    is_lost = found.value is not None and found.value < least
    return against(found, "not_resolved") if is_lost else found


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
