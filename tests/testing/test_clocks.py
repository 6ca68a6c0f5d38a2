import struct
from pathlib import Path

from lpbench.testing.clocks import VirtualClock


def test_sleep_moves_time_and_takes_none() -> None:
    """A thousand years pass at once, to the nanosecond."""
    clock = VirtualClock(start_ns=5)
    clock.sleep(3.2e10)
    clock.sleep(1e-9)
    assert 32_000_000_000_000_000_006 == clock.now_ns()


def test_calls_happen_at_their_times_in_order() -> None:
    """Two rates interleave by time; each call sees its own time on the clock."""
    clock = VirtualClock()
    seen: list[tuple[str, int]] = []
    clock.drive(lambda: seen.append(("slow", clock.now_ns())), every_s=3e-9)
    clock.drive(lambda: seen.append(("fast", clock.now_ns())), every_s=2e-9)
    clock.sleep(6.5e-9)
    assert [("fast", 2), ("slow", 3), ("fast", 4), ("slow", 6), ("fast", 6)] == seen


def test_a_call_that_was_ended_happens_no_more() -> None:
    """The returned function ends it; a clock without calls still moves."""
    clock = VirtualClock()
    seen: list[int] = []
    end = clock.drive(lambda: seen.append(clock.now_ns()), every_s=1e-9)
    clock.sleep(2e-9)
    end()
    clock.sleep(2e-9)
    assert ([1, 2], 4) == (seen, clock.now_ns())


def test_a_call_may_itself_sleep() -> None:
    """Time that a call takes is time on the clock."""
    clock = VirtualClock()
    clock.drive(lambda: clock.sleep(0.4), every_s=1)
    clock.sleep(2.2)
    assert 2_400_000_000 == clock.now_ns()


def test_the_time_is_in_the_file(tmp_path: Path) -> None:
    """Another process reads the nanoseconds as a native int64."""
    clock = VirtualClock(start_ns=7, path=tmp_path / "clock")
    clock.sleep(1)
    assert (1_000_000_007,) == struct.unpack("=q", (tmp_path / "clock").read_bytes())
