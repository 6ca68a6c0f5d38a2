from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from lpbench.meters.cupti.child import FOLDER_VARIABLE
from lpbench.meters.cupti.fault import SamplerError
from lpbench.meters.cupti.meter import CuptiMeter
from lpbench.meters.cupti.samples import DramSamples
from lpbench.meters.meter import Meter
from lpbench.testing.cupti import build_cupti_double
from tests.meters.cupti.stopped import MS, WORK, StoppedClock, meter, series

NAMES = ("dram_bytes_read", "dram_bytes_written")


class BrokenSampler:
    """A sampler that fails at one step."""

    def __init__(self, step: str) -> None:
        self._step = step
        self.closed = 0

    def _fail(self, step: str) -> None:
        if step == self._step:
            raise SamplerError("sampler_died", f"died in {step}")

    def open(self) -> Mapping[str, JsonValue]:
        """Fail, or not."""
        self._fail("open")
        return {}

    def start(self) -> None:
        """Fail, or not."""
        self._fail("start")

    def stop(self) -> DramSamples:
        """Fail."""
        self._fail("stop")
        raise AssertionError

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_a_window_is_read_between_its_gaps() -> None:
    """Bytes, unit, source; the edges lie in the middle of the idle gaps on the monotonic clock."""
    clock = StoppedClock()
    found: Meter = meter(series(), clock)
    found.start()
    clock.sleep(3e-3)
    measurement = found.stop()
    read = measurement.readings["dram_bytes_read"]
    assert (6_000_000, "B", "measured", "cupti pm sampling", "valid", (), "counters", 0) == (
        read.value,
        read.unit,
        read.method,
        read.source,
        read.validity,
        read.reasons,
        read.pass_,
        read.uncertainty,
    )
    assert 1_500_000 == measurement.readings["dram_bytes_written"].value
    assert (5 * MS, 18 * MS) == (measurement.start_ns, measurement.stop_ns)


def test_the_series_starts_at_the_windows_edge() -> None:
    """Rows of start, end (ns from the edge), read, written."""
    clock = StoppedClock()
    found = meter(series(), clock)
    found.start()
    clock.sleep(3e-3)
    rows = found.stop().series["dram"]
    assert [-5 * MS, -4 * MS, 0, 0] == rows[0]
    assert [5 * MS, 6 * MS, 3_000_000, 750_000] == rows[10]
    assert 23 == len(rows)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"overflow": True}, "overflow"), ({"truncated": True}, "truncated")],
)
def test_a_fault_of_the_series_makes_the_readings_invalid(
    changes: dict[str, bool], expected: str
) -> None:
    """The value stands, with the reason against it."""
    clock = StoppedClock()
    found = meter(replace(series(), **changes), clock)  # type: ignore[arg-type]
    found.start()
    clock.sleep(3e-3)
    readings = found.stop().readings
    assert [("invalid", (expected,))] * 2 == [
        (readings[name].validity, readings[name].reasons) for name in NAMES
    ]


def test_work_that_runs_over_the_windows_end_is_not_valid() -> None:
    """A caller that did not wait for the device: traffic at the edge."""
    clock = StoppedClock()
    found = meter(series(WORK * 5), clock)
    found.start()
    clock.sleep(6e-3)
    readings = found.stop().readings
    assert [("edge_not_idle",)] * 2 == [readings[name].reasons for name in NAMES]


def test_a_clock_that_is_set_in_the_window_makes_it_invalid() -> None:
    """Samples are joined on CLOCK_REALTIME: a step of 2 ms puts them elsewhere."""
    clock = StoppedClock()
    found = meter(series(), clock)
    found.start()
    clock.realtime_ns += 2 * MS
    clock.sleep(3e-3)
    assert "clock_step" in found.stop().readings["dram_bytes_read"].reasons


def test_bytes_that_are_no_number_are_absent() -> None:
    """Never a NaN in a record."""
    clock = StoppedClock()
    samples = series()
    samples.read[11] = np.nan
    found = meter(samples, clock)
    found.start()
    clock.sleep(3e-3)
    read = found.stop().readings["dram_bytes_read"]
    assert (None, "absent", ("bad_sample",)) == (read.value, read.validity, read.reasons)


def test_a_sampler_that_dies_in_the_window_leaves_absent_readings() -> None:
    """No exception in mid-window; the dead sampler is let go."""
    sampler = BrokenSampler("stop")
    clock = StoppedClock()
    found = CuptiMeter(sampler, clock=clock, realtime_ns=lambda: clock.realtime_ns)
    found.start()
    readings = found.stop().readings
    assert [(None, "absent", ("sampler_died",))] * 2 == [
        (readings[name].value, readings[name].validity, readings[name].reasons) for name in NAMES
    ]
    assert 1 == sampler.closed


@pytest.mark.parametrize("step", ["open", "start"])
def test_a_window_cannot_be_opened_without_a_sampler(step: str) -> None:
    """Before the window a failure is exit 77."""
    with pytest.raises(SamplerError) as caught, CuptiMeter(BrokenSampler(step)) as found:
        found.start()
    assert 77 == caught.value.exit_code


def test_a_probe_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code, reason and the line that sets the folder up."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    found = CuptiMeter().probe()
    assert (False, "cupti", "not_set_up") == (found.available, found.meter, found.code)
    assert found.fix is not None
    assert found.fix.startswith("pip install --target DIR cupti-python==13.4.0")


def test_a_probe_leaves_things_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed meter is closed afterwards, an open one goes on with its window."""
    marker = tmp_path / "disabled"
    monkeypatch.setenv("LPBENCH_CUPTI_DOUBLE_DISABLED", str(marker))
    monkeypatch.setenv(FOLDER_VARIABLE, str(build_cupti_double(tmp_path / "double")))
    clock = StoppedClock()
    with CuptiMeter(clock=clock) as found:
        capability = found.probe()
        assert (True, "GH100") == (capability.available, capability.facts["chip"])
        assert "disabled\n" == marker.read_text()
        found.start()
        assert found.probe().available
        assert "disabled\n" == marker.read_text()
        assert set(NAMES) == set(found.stop().readings)
    assert "disabled\n" * 2 == marker.read_text()
