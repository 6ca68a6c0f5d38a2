"""From the log of a window to the readings and series of its record.

Owns: names, units and uncertainties of what NVML measured.
Must not know: NVML's calls, how the log came about.

    total_gpu_energy_j             J      the counter's rise from the opening to the closing tick
    gpu_power_w_mean               W      that over the window's length
    gpu_energy_by_power_j          J      mean integrated power times the window's length
    energy_tick_period_s           s      of the counter, between two ticks before the window
    energy_window_tail_s           s      from the end of the work to the closing tick
    gpu_power_limit_w              W      the limit in force
    gpu_processes                  1      on the GPU, the most at one look: theirs are its joules
    event_*                        1      rise of an accumulated event reason, in the driver's unit
    sw_power_cap_share             ratio  samples of the state that show the software power cap
    sm_clock_mhz_min _mean _max    MHz    over the samples of the state; so for memory_clock_mhz
    gpu_temperature_c_first _last  degC   of those samples; so for memory_temperature_c

The uncertainty of joules is what the times of the two edges leave open, at the highest power
read, and the counter's last digit. The sensor's gain error (often quoted as 5 %, the same for all
windows on one board) is not in it. Readings carry an empty `pass`: the pass that opened the window
fills it in.
"""

from collections.abc import Mapping, Sequence

from lpbench.meters.nvml import energy
from lpbench.meters.nvml.absent import Absent
from lpbench.meters.nvml.state import EVENTS, POWER_CAP_BIT, State
from lpbench.meters.nvml.validity import Window, window_faults
from lpbench.record.schema import Reading

_PASS = ""
_DIGIT_J = 1e-3
_CLOCKS = ("sm_clock_mhz", "memory_clock_mhz")
_TEMPERATURES = ("gpu_temperature_c", "memory_temperature_c")


def measured(
    value: float | Absent,
    *,
    unit: str,
    source: str,
    uncertainty: float | None = None,
    reasons: Sequence[str] = (),
) -> Reading:
    """Return a measured reading; absent where the value is, invalid where there are reasons."""
    if isinstance(value, Absent):
        return Reading(
            value=None,
            unit=unit,
            method="measured",
            source=source,
            validity="absent",
            reasons=tuple(reasons) or (value.code,),
            pass_=_PASS,
        )
    return Reading(
        value=value,
        unit=unit,
        method="measured",
        source=source,
        validity="invalid" if reasons else "valid",
        reasons=tuple(reasons),
        pass_=_PASS,
        uncertainty=uncertainty,
    )


def window_readings(
    window: Window, *, device: str, limit_w: float | Absent, called_ns: int
) -> dict[str, Reading]:
    """Return all readings of a window.

    Args:
        window: its log.
        device: the GPU's name.
        limit_w: the power limit in force, in watts.
        called_ns: when the work had ended.
    """
    source = f"nvml: {device}"
    return {
        **_energy(window, source=source),
        **_edges(window, source=source, called_ns=called_ns),
        **_clocks(window.states, source=source),
        **_temperatures(window.states, source=source),
        **_events(window.states, source=source),
        "gpu_processes": measured(_num_processes(window.states), unit="1", source=source),
        "sw_power_cap_share": measured(_cap_share(window.states), unit="ratio", source=source),
        "gpu_power_limit_w": measured(limit_w, unit="W", source=source),
    }


def _energy(window: Window, *, source: str) -> dict[str, Reading]:
    """A counter that never moved has counted nothing that one could give, not 0 J."""
    reasons = window_faults(window)
    seconds = window.seconds
    joules = energy.counted_j(window.samples)
    counted: float | Absent = joules or Absent("energy_counter_stuck")
    mean = joules / seconds if joules and seconds else Absent("energy_counter_stuck")
    power = _mean_power_w(window)
    width_j = _uncertainty_j(window)
    by_power = f"{source} ({window.source.power_name})"
    return {
        "total_gpu_energy_j": measured(
            counted, unit="J", source=source, uncertainty=width_j, reasons=reasons
        ),
        "gpu_power_w_mean": measured(
            mean,
            unit="W",
            source=source,
            uncertainty=width_j / seconds if width_j and seconds else None,
            reasons=reasons,
        ),
        "gpu_energy_by_power_j": measured(
            power if isinstance(power, Absent) else power * seconds,
            unit="J",
            source=by_power,
            reasons=reasons,
        ),
    }


def _mean_power_w(window: Window) -> float | Absent:
    """Return integrated power over the window, without the front that a lagging power misses."""
    start_ns = window.start_ns + round(window.source.lag_s * 1e9)
    power = energy.mean_power_w(window.samples, start_ns=start_ns, stop_ns=window.stop_ns)
    return Absent("no_cross_check") if power is None else power


def _uncertainty_j(window: Window) -> float | None:
    peak = energy.peak_power_w(window.samples)
    if peak is None or window.opening is None or window.closing is None:
        return None
    return peak * (window.opening.half_s + window.closing.half_s) + _DIGIT_J


def _edges(window: Window, *, source: str, called_ns: int) -> dict[str, Reading]:
    stuck = Absent("energy_counter_stuck")
    unclosed = Absent("gpu_lost") if "gpu_lost" in window.faults else stuck
    # Both ticks that the period is between were seen at the grain of the opening one.
    period_width_s = 2 * window.opening.half_s if window.opening else None
    return {
        "energy_tick_period_s": measured(
            window.period_s or stuck, unit="s", source=source, uncertainty=period_width_s
        ),
        "energy_window_tail_s": measured(
            (window.stop_ns - called_ns) / 1e9 if window.closing else unclosed,
            unit="s",
            source=source,
        ),
    }


def _clocks(states: Sequence[State], *, source: str) -> dict[str, Reading]:
    readings = {}
    for name in _CLOCKS:
        known = _known(states, name)
        for kind, of in (("min", min), ("mean", _mean), ("max", max)):
            value = known if isinstance(known, Absent) else of(known)
            readings[f"{name}_{kind}"] = measured(value, unit="MHz", source=source)
    return readings


def _temperatures(states: Sequence[State], *, source: str) -> dict[str, Reading]:
    return {
        f"{name}_{kind}": measured(getattr(state, name), unit="degC", source=source)
        for name in _TEMPERATURES
        for kind, state in (("first", states[0]), ("last", states[-1]))
    }


def _events(states: Sequence[State], *, source: str) -> dict[str, Reading]:
    return {
        f"event_{name}": measured(
            _rise(states[0].counters[number], states[-1].counters[number]),
            unit="1",
            source=f"{source}, field {number}",
        )
        for number, name in EVENTS.items()
    }


def _rise(first: float | Absent, last: float | Absent) -> float | Absent:
    if isinstance(first, Absent):
        return first
    return last if isinstance(last, Absent) else last - first


def _num_processes(states: Sequence[State]) -> float | Absent:
    """Return the most at one look; absent where a look could not be had."""
    looks = [state.processes for state in states]
    absent = next((look for look in looks if isinstance(look, Absent)), None)
    return absent or max(len(look) for look in looks if not isinstance(look, Absent))


def _cap_share(states: Sequence[State]) -> float | Absent:
    known = _known(states, "reasons")
    if isinstance(known, Absent):
        return known
    return _mean([bool(int(reasons) & POWER_CAP_BIT) for reasons in known])


def _known(states: Sequence[State], name: str) -> list[float] | Absent:
    """Return the values that could be had, or why there is none."""
    values = [getattr(state, name) for state in states]
    return [value for value in values if not isinstance(value, Absent)] or values[0]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def window_series(window: Window) -> Mapping[str, list[list[float]]]:
    """Return the raw samples: rows of (seconds from the window's first edge, value).

    `nvml_energy_j` is the counter since the first sample; `nvml_event_counter_N` is field N. What
    is absent has no row.
    """
    start_ns, samples = window.start_ns, window.samples
    base_mj = samples[0].counter_mj
    series = {
        "nvml_energy_j": [
            [(sample.at_ns - start_ns) / 1e9, (sample.counter_mj - base_mj) / 1e3]
            for sample in samples
        ],
        "nvml_power_w": [
            [(sample.at_ns - start_ns) / 1e9, sample.power_w]
            for sample in samples
            if sample.power_w is not None
        ],
    }
    for name in (*_CLOCKS, *_TEMPERATURES):
        values = [(state.at_ns, getattr(state, name)) for state in window.states]
        series[f"nvml_{name}"] = _rows(values, start_ns=start_ns)
    for field in window.states[0].counters:
        values = [(state.at_ns, state.counters[field]) for state in window.states]
        series[f"nvml_event_counter_{field}"] = _rows(values, start_ns=start_ns)
    return series


def _rows(values: Sequence[tuple[int, float | Absent]], *, start_ns: int) -> list[list[float]]:
    return [
        [(at_ns - start_ns) / 1e9, float(value)]
        for at_ns, value in values
        if not isinstance(value, Absent)
    ]
