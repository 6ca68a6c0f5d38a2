"""The roofline's coefficients from measured runs, and how far off they are on what was held out.

Owns: what is held out, the set of coefficients and the file that come of a fit.
Must not know: how a fit descends, which coefficients move together, how the outcome is shown.

    runs -> passes -> one block in five held out -> fit -> rounded coefficients -> errors

The errors are those of `Roofline` itself with the very coefficients that are written.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count

import numpy as np

from lpbench import __version__
from lpbench.bench.deviation import Flags, Off, off, off_times
from lpbench.bench.factors import FALL, Factors, Told
from lpbench.bench.fit import Floats, fit
from lpbench.bench.observed import ObservedRun, passes_of
from lpbench.bench.power import Metered, fit_power, metered_windows, predicted_joules
from lpbench.bench.replay import PassTimes, pass_times, replay
from lpbench.errors import InputError
from lpbench.executors.roofline.coefficients import Coefficients
from lpbench.executors.roofline.cost import Roofline
from lpbench.record.toml import to_toml
from lpbench.shape.device import Device

BLOCK = 10
"""Passes in a row that are fitted or held out together: what disturbs one disturbs the next."""

EVERY = 5
"""One block in so many is held out."""

LEAST_PASSES = EVERY * BLOCK
"""Passes of the runs that are fitted, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What came of it.

    Attributes:
        device: what the shares are of.
        start: the set that was started from.
        coefficients: the set that came of it.
        told: coefficient by coefficient; of those that move together, the first.
        seen: errors on what was fitted.
        held_out: errors on what was not.
        how: what was held out.
        runs: what was fitted, a line a run.
    """

    device: Device
    start: Coefficients
    coefficients: Coefficients
    told: tuple[Told, ...]
    seen: tuple[Off, ...]
    held_out: tuple[Off, ...]
    how: str
    runs: tuple[str, ...]

    def to_toml(self) -> str:
        """Return the coefficients as the text of their file, whose name is the set's."""
        values = asdict(self.coefficients)
        del values["name"]
        return to_toml(values)


def calibrate(
    runs: Sequence[ObservedRun],
    *,
    device: Device,
    start: Coefficients,
    name: str,
    held_out: Sequence[ObservedRun] = (),
) -> Calibration:
    """Fit the coefficients to runs.

    Args:
        runs: what to fit.
        device: what all of them ran on.
        start: the set to begin with, and to keep what the runs do not tell.
        name: of the set that comes of it.
        held_out: runs to take the errors from; without any, one block in five of `runs` is not
            fitted.

    Raises:
        InputError: too few passes, or the device does not state what a run's dtype needs.
    """
    passes = sum(1 for _ in passes_of(runs))
    if passes < LEAST_PASSES:
        raise InputError(f"{passes} passes are too few to fit; accepted: {LEAST_PASSES} or more")
    every = (*runs, *held_out)
    times, work = pass_times(every, device, start)
    measured = np.array([one.seconds for one in passes_of(every)])
    is_out = _held_out_passes(runs, held_out)
    made, told = _fit_times(times.only(~is_out), measured[~is_out], start)
    windows: dict[bool, list[Metered]] = {False: [], True: []}
    for one in metered_windows(every, work, device):
        windows[one.run >= len(runs) if held_out else _is_held_out(one)].append(one)
    made, powers = fit_power(windows[False], made, device)
    predicted, has_prefill = _predicted(every, made, device)
    errors = {
        out: (
            *off_times(predicted[among], measured[among], has_prefill[among]),
            *_off_joules(windows[out], made, device),
        )
        for out, among in ((False, ~is_out), (True, is_out))
    }
    names = ", ".join(one.name for one in held_out)
    found = Calibration(
        device=device,
        start=start,
        coefficients=replace(made, name=name),
        told=(*told, *powers),
        seen=errors[False],
        held_out=errors[True],
        how=f"runs that were not fitted: {names}"
        if names
        else f"one block of {BLOCK} passes in {EVERY}",
        runs=tuple(map(str, runs)),
    )
    return replace(found, coefficients=replace(found.coefficients, sources=_sources(found)))


def _held_out_passes(runs: Sequence[ObservedRun], held_out: Sequence[ObservedRun]) -> Flags:
    """Return which passes are held out: those of `held_out`, or whole blocks of `runs`."""
    if held_out:
        fitted, others = (sum(1 for _ in passes_of(some)) for some in (runs, held_out))
        return np.arange(fitted + others) >= fitted
    block, flags = count(1), []
    for run in runs:
        for arm in run.arms:
            for at in range(0, len(arm.passes), BLOCK):
                flags += [next(block) % EVERY == 0] * len(arm.passes[at : at + BLOCK])
    return np.array(flags, dtype=bool)


def _is_held_out(window: Metered) -> bool:
    """Return whether a window is of a block of its campaign that is held out."""
    return window.block is not None and window.block % EVERY == EVERY - 1


def _fit_times(
    times: PassTimes, measured: Floats, start: Coefficients
) -> tuple[Coefficients, tuple[Told, ...]]:
    """Return the coefficients of time fitted, and what became of each."""
    factors = Factors(start)
    fitted = fit(
        lambda values: factors.times(times, values),
        measured,
        factors.start,
        bounds=factors.bounds,
        doubts=factors.doubts,
        correlated=BLOCK,
    )
    return factors.coefficients(fitted.values), factors.told(fitted)


def _predicted(
    runs: Sequence[ObservedRun], coefficients: Coefficients, device: Device
) -> tuple[Floats, Flags]:
    """Return the seconds of every pass by these coefficients [n], and which carry a prefill."""
    seconds = [
        cost.seconds
        for run in runs
        for arm in run.arms
        for cost in replay(run, arm, Roofline(run.shape, run.precision, device, coefficients))
    ]
    has_prefill = [bool(one.plan.prefill) for one in passes_of(runs)]
    return np.array(seconds), np.array(has_prefill, dtype=bool)


def _off_joules(
    windows: Sequence[Metered], coefficients: Coefficients, device: Device
) -> tuple[Off, ...]:
    if not windows or device.tdp_w is None:
        return ()
    predicted = predicted_joules(windows, coefficients, device)
    return (off("joules of windows", predicted, np.array([one.joules for one in windows])),)


def _sources(found: Calibration) -> dict[str, str]:
    """Return where each coefficient is from, and what the whole rests on."""
    start = found.start.name
    sources = {key: f"as in {start}: {text}" for key, text in found.start.sources.items()}
    about: dict[str, list[str]] = {}
    for one in found.told:
        about.setdefault(one.name.partition(".")[0], []).append(_source(one, start))
    sources |= {key: "; ".join(said) for key, said in about.items()}
    for table in ("memory", "compute"):
        sources[table] += (
            "; projections, dense and head move with experts, and the two shares of an attention "
            f"together, in the ratios of {start}"
        )
    return sources | {
        "calibration": f"lpbench {__version__} calibrate, on the peaks of {found.device.name}",
        "runs": "; ".join(found.runs),
        "held_out": f"{found.how}: " + "; ".join(map(str, found.held_out)),
    }


def _source(one: Told, start: str) -> str:
    if one.why:
        return f"{one.name} assumed, as in {start}: {one.why}"
    fallen = f", which fell by more than {FALL:g}: it stands for something else"
    return f"{one.name} fitted, standard error {one.error:.2g}{fallen if one.has_fallen else ''}"
