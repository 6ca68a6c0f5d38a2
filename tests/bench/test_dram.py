"""The counter pass over an instrument that adds what a real one adds: constants and idle traffic.

A run reads 1000 bytes of experts and 400 of the rest; with pinned experts 100 and 400. A window
costs 77 bytes to begin, and 3 bytes a second run on all the time.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from lpbench.bench.dram import (
    Alone,
    Company,
    Control,
    all_dram,
    cached,
    measure_dram,
    unmeasured_dram,
    window_cautions,
)
from lpbench.meters.meter import Capability, Measurement
from lpbench.record.schema import Reading, Window
from lpbench.shape.device import Device, find_device
from lpbench.testing.clocks import VirtualClock

RUN_S, EXPERTS, PINNED, REST, WRITTEN = 0.1, 1000, 100, 400, 50
BEGIN, IDLE_RATE = 77, 3


class Dram:
    """Counts what the runs add between start and stop; windows named in `void` end invalid."""

    name = "dram"

    def __init__(
        self,
        clock: VirtualClock,
        void: Sequence[int] = (),
        *,
        uncertainty: float = 4,
        lost: Sequence[int] = (),
    ) -> None:
        """Count from zero; windows named in `lost` end without a number."""
        self._lost = frozenset(lost)
        self._clock = clock
        self._uncertainty = uncertainty
        self._void = frozenset(void)
        self.read = self.written = self.windows = 0
        self.runs: list[int] = []

    def probe(self) -> Capability:
        """Return that it is there."""
        return Capability(meter=self.name, available=True)

    def close(self) -> None:
        """Do nothing."""

    def start(self) -> None:
        """Begin at nothing."""
        self.read, self.written, self._start = BEGIN, BEGIN, self._clock.now_ns()

    def stop(self) -> Measurement:
        """Return the bytes since, idle ones included."""
        stop = self._clock.now_ns()
        idle = IDLE_RATE * (stop - self._start) / 1e9
        found = {"dram_bytes_read": self.read + idle, "dram_bytes_written": self.written + idle}
        void = self.windows in self._void
        self.windows += 1
        readings = {
            name: Reading(
                value=value,
                unit="B",
                method="measured",
                source=self.name,
                validity="invalid" if void else "valid",
                reasons=("overflow",) if void else (),
                pass_="",
                uncertainty=self._uncertainty,
            )
            for name, value in found.items()
        }
        if self.windows - 1 in self._lost:
            absent = {"value": None, "validity": "absent", "reasons": ("sampler_died",)}
            readings = {name: one.model_copy(update=absent) for name, one in readings.items()}
        return Measurement(start_ns=self._start, stop_ns=stop, readings=readings)


def worker(meter: Dram, clock: VirtualClock, experts: int) -> Callable[[int], None]:
    """Return work that reads and writes so much a run."""

    def run(runs: int) -> None:
        meter.runs.append(runs)
        clock.sleep(runs * RUN_S)
        meter.read += runs * (experts + REST)
        meter.written += runs * WRITTEN

    return run


def windows_of(
    meter: Dram,
    clock: VirtualClock,
    *,
    experts: int = EXPERTS,
    device: Device | None = None,
    company: Company | None = None,
) -> tuple[dict[str, Reading], list[Window]]:
    """Return the readings of a pass, and its windows."""
    kept: list[Window] = []
    readings = measure_dram(
        worker(meter, clock, experts),
        Control(run=worker(meter, clock, PINNED), expert_bytes=PINNED),
        meter,
        seconds=RUN_S,
        iterations=7,
        device=device,
        company=company or Alone(),
        keep=lambda window, _: kept.append(window),
    )
    return readings, kept


def measure(*, void: Sequence[int] = (), device: Device | None = None) -> dict[str, Reading]:
    """Return the readings of a whole pass; its windows are what they should be."""
    clock = VirtualClock()
    meter = Dram(clock, void)
    found, windows = windows_of(meter, clock, device=device)
    assert [5, 10] * 6 == meter.runs
    expected = [
        (name, block, runs, 7 * runs)
        for block in range(3)
        for name in ("measured", "control")
        for runs in (5, 10)
    ]
    assert expected == [(one.name, one.block, one.runs, one.iterations) for one in windows]
    marked = [one.readings["dram_bytes_read"].validity != "valid" for one in windows]
    fast = {0, 1, 4, 5, 8, 9} if device is not None else set()
    assert [at in void or at in fast for at in range(12)] == marked
    codes = [one.code for one in window_cautions(windows, label="an arm")]
    assert (["void_windows"] * any(marked) + ["impossible_bandwidth"] * bool(fast)) == codes
    return found


def test_constants_cancel_and_the_experts_are_left() -> None:
    """One run's bytes, what a window costs to begin not among them; idle traffic is its own."""
    found = measure()
    idle = IDLE_RATE * RUN_S
    assert pytest.approx(EXPERTS + REST + idle) == found["dram_bytes_read"].value
    assert pytest.approx(WRITTEN + idle) == found["dram_bytes_written"].value
    assert pytest.approx(EXPERTS) == found["expert_bytes_measured"].value
    assert {"counters"} == {one.pass_ for one in found.values()}


def test_uncertainty_is_that_of_all_windows_a_run() -> None:
    """4 bytes a window: two windows over 5 runs make 1.6, two slopes 3.2."""
    found = measure()
    assert pytest.approx(1.6) == found["dram_bytes_read"].uncertainty
    assert pytest.approx(3.2) == found["expert_bytes_measured"].uncertainty


def test_a_void_window_takes_its_slope_out() -> None:
    """The first window overflowed: two of three slopes are left, and they are valid."""
    found = measure(void=(0,))
    assert [2] * 3 == [len(one.samples) for one in found.values()]
    assert {"valid"} == {one.validity for one in found.values()}


def test_a_void_control_leaves_the_device_s_bytes() -> None:
    """All control windows void: the bytes of the device stand, the experts' do not."""
    found = measure(void=(2, 3, 6, 7, 10, 11))
    assert "valid" == found["dram_bytes_read"].validity
    experts = found["expert_bytes_measured"]
    assert ("invalid", ("overflow",)) == (experts.validity, experts.reasons)


@pytest.mark.parametrize(("uncertainty", "expected"), [(149, "valid"), (151, "invalid")])
def test_expert_bytes_below_their_noise_are_none(uncertainty: float, expected: str) -> None:
    """Four windows over 5 runs leave 4/5 of a window's uncertainty, here against 120 bytes.

    All that a run reads stands out: 520 bytes.
    """
    clock = VirtualClock()
    found, _ = windows_of(Dram(clock, uncertainty=uncertainty), clock, experts=PINNED + 20)
    assert "valid" == found["dram_bytes_read"].validity
    assert expected == found["expert_bytes_measured"].validity


def test_a_run_that_reads_less_than_its_control_is_noise() -> None:
    """Each reads the pinned experts at least: what is below them was not resolved."""
    clock = VirtualClock()
    found, _ = windows_of(Dram(clock), clock, experts=PINNED - 20)
    experts = found["expert_bytes_measured"]
    assert pytest.approx(80) == experts.value
    assert ("not_resolved",) == experts.reasons


def test_void_windows_are_told() -> None:
    """How many of how many, and why."""
    clock = VirtualClock()
    _, windows = windows_of(Dram(clock, (0, 4)), clock)
    (said,) = window_cautions(windows, label="chunked")
    assert ("void_windows", "chunked: 2 of 12 counter windows are void (overflow)") == (
        said.code,
        said.message,
    )


def test_a_meter_that_failed_starts_with_company_of_its_own() -> None:
    """A sampler that was started anew is another process: it belongs from then on."""

    class Watch(Alone):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    clock, watch = VirtualClock(), Watch()
    _, windows = windows_of(Dram(clock, lost=(3,)), clock, company=watch)
    assert 1 == watch.closed
    assert ("sampler_died",) == windows[3].readings["dram_bytes_read"].reasons


def reading(validity: str, value: float | None, *, source: str) -> Reading:
    """Return a reading of the device's bytes."""
    return Reading(
        value=value,
        unit="B",
        method="measured",
        source=source,
        validity=cast("Any", validity),
        reasons=() if validity == "valid" else ("a_reason",),
        pass_="",
    )


@pytest.mark.parametrize(
    ("cupti", "gpm", "expected"),
    [
        (("valid", 5), ("valid", 12), 10),
        (("invalid", 5), ("valid", 12), 12),
        (("invalid", 5), ("invalid", 12), 10),
        (("absent", None), ("invalid", 12), 12),
        (("absent", None), ("absent", None), None),
    ],
)
def test_all_bytes_are_those_of_the_best_instrument(
    cupti: tuple[str, float | None], gpm: tuple[str, float | None], expected: float | None
) -> None:
    """A valid figure comes before one that is not; of equal ones the one that tells more."""
    both = dict.fromkeys(("dram_bytes_read", "dram_bytes_written"), reading(*cupti, source="c"))
    found = all_dram({**both, "dram_bytes_gpm": reading(*gpm, source="g")})
    assert expected == found.value


def test_bytes_above_the_peak_are_impossible() -> None:
    """15 kB/s against a peak of 10 kB/s: no such number is valid, and the arm says so.

    The control's windows are slow enough; yet nothing of an instrument that counts too much holds.
    """
    slow = replace(find_device("h200"), memory_bandwidth=10_000)
    found = measure(device=slow)
    assert {("impossible_bandwidth",)} == {one.reasons for one in found.values()}


@pytest.mark.parametrize(
    ("layer_bytes", "cache_bytes", "expected"),
    [(401, 100, "valid"), (400, 100, "invalid"), (401, None, "invalid")],
)
def test_expert_bytes_need_weights_beyond_the_cache(
    layer_bytes: int, cache_bytes: int | None, expected: str
) -> None:
    """Four times the last-level cache is the bound; an unknown cache proves nothing."""
    found = cached(measure(), layer_bytes=layer_bytes, cache_bytes=cache_bytes)
    assert expected == found["expert_bytes_measured"].validity
    assert "valid" == found["dram_bytes_read"].validity


def test_what_was_not_measured_is_absent() -> None:
    """A CPU has no device to count on: three absent readings with the reason."""
    found = unmeasured_dram({"cupti": "no_device"})
    assert {(None, ("no_device",))} == {(one.value, one.reasons) for one in found.values()}
