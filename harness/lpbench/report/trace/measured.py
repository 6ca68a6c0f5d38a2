"""What meters found in a trace: their windows as slices, their samples as counters.

Owns: which series are drawn and in what unit, and whose zero their times are from.
Must not know: the trace format, files, how an instrument reads.

The windows of an energy campaign have one clock, which began when the model was loaded. Those of a
counter pass are each drawn from their own zero: when they were taken is not kept.
"""

from collections.abc import Sequence
from typing import Protocol

from lpbench.bench.dram import COUNTERS_PASS
from lpbench.bench.joules import ENERGY_PASS
from lpbench.bench.logged import LONGEST_MS, Sample, in_ns
from lpbench.record.schema import Record, Window
from lpbench.report.trace.packets import Packets, Value

NVML = {
    "nvml_power_w": ("GPU power", "W"),
    "nvml_sm_clock_mhz": ("SM clock", "MHz"),
    "nvml_memory_clock_mhz": ("memory clock", "MHz"),
    "nvml_gpu_temperature_c": ("GPU temperature", "degC"),
    "nvml_memory_temperature_c": ("memory temperature", "degC"),
}
"""Series of (seconds from the window's first edge, value) that are drawn, and their units."""

RAPL, DRAM = "rapl", "dram"
"""Series of (ns, a counter of microjoules a package), and of (start ns, end ns, read, written)."""


class Series(Protocol):
    """Takes the samples of a series in order."""

    def draw(self, line: Sample) -> bool:
        """Draw a sample; return whether it can be one of the series."""


class Campaign:
    """The windows of an energy campaign, one after the other."""

    def __init__(self, packets: Packets, record: Record) -> None:
        """Draw the windows; a record without one gets no track."""
        self._packets = packets
        windows = _energy_windows(record)
        self.starts_ns = tuple(in_ns(one.start_ms or 0) for _, one in windows)
        if not windows:
            return
        self._process = packets.process("energy windows (zero: when the model was loaded)")
        track, last_ns = packets.track(self._process, "windows"), 0
        for start_ns, (label, window) in zip(self.starts_ns, windows, strict=True):
            if start_ns < last_ns:
                continue  # no meter leaves windows that overlap: a damaged record
            last_ns = start_ns + in_ns(window.duration_ms)
            packets.begin(track, start_ns, _name(label, window), _readings(window))
            packets.end(track, last_ns)

    def series(self, name: str) -> Series | None:
        """Return what draws the series of this name; None for one that is not drawn."""
        if name in NVML:
            title, unit = NVML[name]
            counter = self._packets.counter(self._process, title, unit=unit)
            return _Nvml(self._packets, counter, self.starts_ns)
        if name == RAPL:
            title = "CPU packages' power, mean between reads"
            counter = self._packets.counter(self._process, title, unit="W")
            return _Rapl(self._packets, counter, self.starts_ns)
        return None


class _Nvml:
    """Values at times in a window."""

    def __init__(self, packets: Packets, counter: int, starts_ns: Sequence[int]) -> None:
        self._packets = packets
        self._counter = counter
        self._starts_ns = starts_ns

    def draw(self, line: Sample) -> bool:
        start_ns = _start_of(line, self._starts_ns)
        match line.sample:
            case (seconds, value) if start_ns is not None and _is_in_window(seconds * 1e9):
                self._packets.count(self._counter, start_ns + round(seconds * 1e9), value)
                return True
        return False


class _Rapl:
    """Counters that are read now and then: the first read of a window stands at its first edge."""

    def __init__(self, packets: Packets, counter: int, starts_ns: Sequence[int]) -> None:
        self._packets = packets
        self._counter = counter
        self._starts_ns = starts_ns
        self._first = self._before = Sample(arm=None, window=-1, sample=())

    def draw(self, line: Sample) -> bool:
        start_ns = _start_of(line, self._starts_ns)
        if start_ns is None or not line.sample:
            return False
        before, self._before = self._before, line
        if line.window != before.window:
            self._first = line
            return True
        (was_ns, *was_uj), (now_ns, *now_uj) = before.sample, line.sample
        at_ns, used = was_ns - self._first.sample[0], sum(now_uj) - sum(was_uj)
        if not (_is_in_window(at_ns) and now_ns > was_ns and len(now_uj) == len(was_uj)):
            return False
        if all(now >= was for was, now in zip(was_uj, now_uj, strict=True)):  # none wrapped
            watts = used / 1e6 / ((now_ns - was_ns) / 1e9)
            self._packets.count(self._counter, start_ns + round(at_ns), watts)
        return True


class Counted:
    """The windows of a counter pass on DRAM bytes, each from its own zero."""

    def __init__(self, packets: Packets, record: Record) -> None:
        """Draw nothing: a window is drawn with its first sample."""
        self._packets = packets
        self._windows = {
            _key(arm.label, one.name, one.block, one.runs): one
            for arm in record.arms
            for one in arm.windows
            if one.pass_ == COUNTERS_PASS and 0 <= one.duration_ms <= LONGEST_MS
        }
        self._processes: dict[str, int] = {}
        self._key: tuple[str, ...] = ()
        self._counters: tuple[int, int] = (0, 0)

    def draw(self, line: Sample) -> bool:
        """Draw a sample of bytes read and written; return whether it can be one."""
        key = _key(str(line.arm), str(line.window), line.block, line.runs)
        match line.sample:
            case (start_ns, end_ns, read, written, *_) if (
                key in self._windows and start_ns < end_ns and _is_in_window(end_ns)
            ):
                self._begin(key)
                seconds = (end_ns - start_ns) / 1e9
                for counter, count in zip(self._counters, (read, written), strict=True):
                    # A sample may begin before its window, which is where the trace begins.
                    self._packets.count(counter, max(0, round(start_ns)), count / seconds)
                return True
        return False

    def _begin(self, key: tuple[str, ...]) -> None:
        """Begin the tracks of a window, unless they are those of the sample before."""
        if key == self._key:
            return
        self._key = key
        packets, label, window = self._packets, key[0], self._windows[key]
        if label not in self._processes:
            name = f"DRAM of {label} (each window from its own zero)"
            self._processes[label] = packets.process(name)
        name = f"{_name(window.name, window)}, {window.runs} runs"
        group = packets.track(self._processes[label], name)
        packets.begin(group, 0, name, _readings(window))
        packets.end(group, in_ns(window.duration_ms))
        self._counters = (
            packets.counter(group, "DRAM bytes read", unit="B/s", rank=1),
            packets.counter(group, "DRAM bytes written", unit="B/s", rank=2),
        )


def _energy_windows(record: Record) -> tuple[tuple[str, Window], ...]:
    """Return the windows as they came, each with whose it is; samples know them by that order."""
    labelled = [("idle", one) for one in record.windows]
    labelled += [(arm.label, one) for arm in record.arms for one in arm.windows]
    placed = (one for one in labelled if _is_placed(one[1]))
    return tuple(sorted(placed, key=lambda one: one[1].start_ms or 0))


def _is_placed(window: Window) -> bool:
    """Return whether a meter measured over a window, and when is known."""
    if window.pass_ != ENERGY_PASS or not window.readings or window.start_ms is None:
        return False
    return all(0 <= one <= LONGEST_MS for one in (window.start_ms, window.duration_ms))


def _start_of(line: Sample, starts_ns: Sequence[int]) -> int | None:
    """Return when a sample's window began, by its number; None for no such window."""
    number = line.window
    if isinstance(number, int) and 0 <= number < len(starts_ns):
        return starts_ns[number]
    return None


def _is_in_window(at_ns: float) -> bool:
    return 0 <= at_ns <= LONGEST_MS * 1e6


def _key(label: str, name: str, block: int | None, runs: int | None) -> tuple[str, ...]:
    return (label, name, str(block), str(runs))


def _name(label: str, window: Window) -> str:
    return label if window.block is None else f"{label}, block {window.block}"


def _readings(window: Window) -> dict[str, Value]:
    """Return what the meter found over a window, void readings with the codes against them."""
    found: dict[str, Value] = {"runs": str(window.runs), "iterations": str(window.iterations)}
    for name, one in window.readings.items():
        value = "absent" if one.value is None else f"{one.value:.15g}"
        found[f"{name} ({one.unit})"] = ", ".join((value, *one.reasons))
    return found
