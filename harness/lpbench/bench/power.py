"""Shares of the design power from windows of measured joules.

Owns: which windows count, their model, what is fitted to them.
Must not know: how joules are measured, times of passes: a window has its own.

The joules of a window are the design power times (idle_power x its seconds + memory_power x the
seconds that its bytes take at full bandwidth + compute_power x those of its FLOPs at full rate).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lpbench.bench.factors import Told, why_kept
from lpbench.bench.fit import Floats, fit
from lpbench.bench.observed import ObservedRun
from lpbench.executors.roofline.coefficients import Coefficients
from lpbench.record.schema import Window
from lpbench.record.toml import rounded
from lpbench.shape.device import Device

POWERS = ("idle_power", "memory_power", "compute_power")

LEAST_WINDOWS = 2
"""Windows with valid joules, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A window with valid joules.

    Attributes:
        run: which of the runs it is of.
        block: of its campaign; None outside of one.
        joules: measured.
        seconds: [3] of the window, of its bytes at full bandwidth, of its FLOPs at full rate.
    """

    run: int
    block: int | None
    joules: float
    seconds: tuple[float, float, float]


def metered_windows(
    runs: Sequence[ObservedRun], work: Sequence[Sequence[Floats]], device: Device
) -> list[Metered]:
    """Return the windows of all runs whose joules are valid.

    Args:
        runs: what was measured.
        work: by run and arm, bytes and FLOPs of its passes [n, 2].
        device: what they ran on.
    """
    return [
        one
        for at, (run, arms) in enumerate(zip(runs, work, strict=True))
        for one in _of_run(at, run, arms, device)
    ]


def _of_run(at: int, run: ObservedRun, arms: Sequence[Floats], device: Device) -> Iterator[Metered]:
    rates = (device.memory_bandwidth, device.flops(run.precision.computed_in))
    reading = "total_gpu_energy_j" if run.cuda_name else "total_cpu_package_energy_j"
    sums = {arm.label: done.sum(axis=0) for arm, done in zip(run.arms, arms, strict=True)}
    by_plans = {arm.plan_hash: sums[arm.label] for arm in run.record.arms if arm.label in sums}
    windows = [(window, np.zeros(2)) for window in run.record.windows]
    for arm in run.record.arms:
        if arm.plan_hash in by_plans:  # the A/A arm repeats another's passes
            windows += [(window, by_plans[arm.plan_hash]) for window in arm.windows]
    for window, done in windows:
        joules = _joules(window, reading)
        if joules is None:
            continue
        moved, computed = window.runs * done / rates
        yield Metered(
            run=at,
            block=window.block,
            joules=joules,
            seconds=(window.duration_ms / 1e3, float(moved), float(computed)),
        )


def _joules(window: Window, name: str) -> float | None:
    reading = window.readings.get(name)
    if reading is None or reading.validity != "valid" or not reading.value:
        return None
    return float(reading.value)


def fit_power(
    windows: Sequence[Metered], coefficients: Coefficients, device: Device
) -> tuple[Coefficients, tuple[Told, ...]]:
    """Return the coefficients with the shares of power fitted, and what became of each.

    Of fewer windows than `LEAST_WINDOWS`, or without the design power that they are shares of, they
    stay as they are.
    """
    start = np.array([getattr(coefficients, name) for name in POWERS])
    why = ""
    if device.tdp_w is None:
        why = "the device states no tdp_w"
    elif len(windows) < LEAST_WINDOWS:
        why = f"fewer than {LEAST_WINDOWS} windows with valid joules"
    if why or device.tdp_w is None:
        return coefficients, tuple(
            Told(name=name, start=value, value=value, why=why)
            for name, value in zip(POWERS, map(float, start), strict=True)
        )
    slopes = device.tdp_w * np.array([one.seconds for one in windows])
    fitted = fit(
        lambda shares: (slopes @ shares, slopes),
        np.array([one.joules for one in windows]),
        start,
        bounds=(np.zeros(len(POWERS)), np.ones(len(POWERS))),
    )
    values = [rounded(float(value)) for value in fitted.values]
    told = tuple(
        Told(
            name=name,
            start=float(start[at]),
            value=values[at],
            error=fitted.errors.get(at),
            why=why_kept(fitted, at, names=POWERS),
        )
        for at, name in enumerate(POWERS)
    )
    idle, memory, compute = values
    made = replace(coefficients, idle_power=idle, memory_power=memory, compute_power=compute)
    return made, told


def predicted_joules(
    windows: Sequence[Metered], coefficients: Coefficients, device: Device
) -> Floats:
    """Return the joules of windows [n] by these coefficients."""
    assert device.tdp_w is not None, device.name
    shares = np.array([getattr(coefficients, name) for name in POWERS])
    seconds = np.array([one.seconds for one in windows]).reshape(len(windows), len(POWERS))
    joules: Floats = device.tdp_w * seconds @ shares
    return joules
