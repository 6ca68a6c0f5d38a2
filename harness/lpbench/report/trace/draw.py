"""A run's folder as one Perfetto file: every arm from its own zero, and what meters found.

Owns: what of a run is drawn, in what order, where it is cut, and the notes that say so.
Must not know: the trace format, how progress or notes are shown.

Files are read line by line and drawn as they are read, so that memory does not grow with a run.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lpbench.analysis.comparable import is_modelled
from lpbench.bench.listener import Listener
from lpbench.bench.logged import (
    Iteration,
    Sample,
    Served,
    Survey,
    read_iterations,
    read_lines,
    survey,
)
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.report.trace.arm import ArmTracks
from lpbench.report.trace.measured import DRAM, Campaign, Counted, Series
from lpbench.report.trace.packets import Packets
from lpbench.report.trace.requests import RequestTracks

MOST_TOKENS = 1_000_000
"""Tokens that are marked, over all arms."""

MOST_SAMPLES = 200_000
"""Samples of one series that are drawn."""

HEARD = 1000
"""Lines after which progress is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was drawn.

    Attributes:
        iterations: by arm.
        notes: what a reader of the trace must know; they stand in it too.
    """

    iterations: Mapping[str, int]
    notes: tuple[str, ...]


def draw_run(
    folder: Path, record: Record, file: BinaryIO, *, most_iterations: int, listener: Listener
) -> Drawn:
    """Draw a run.

    Args:
        folder: the run's, with its lines.
        record: its record.
        file: where the trace goes.
        most_iterations: that are drawn, over all arms: the first ones of each.
        listener: hears how far it is.

    Raises:
        InputError: the run has no lines of iterations, or none that is whole.
        OSError: the file does not take the trace.
    """
    path = folder / "iterations.jsonl"
    try:
        found = survey(_told(read_iterations(path), path, "read", listener))
    except InputError as error:
        if record.status == "failed":
            raise InputError(f"the run failed ({record.failure}); {error}") from None
        raise
    if not found.iterations:
        raise InputError(f"{path}: no line of it is an iteration")
    return _Drawing(folder, record, found, Packets(file), listener).go(most_iterations)


def _told(
    lines: Iterator[tuple[int, Iteration | None]], path: Path, stage: str, listener: Listener
) -> Iterator[Iteration | None]:
    """Yield lines, and tell how much of their file is read."""
    listener.stage(f"{stage} {path.name}", path.stat().st_size if path.exists() else 1)
    done = 0
    for number, (size, line) in enumerate(lines, start=1):
        yield line
        done += size
        if number % HEARD == 0:
            listener.advance(done)
            done = 0


class _Drawing:
    """A trace under way."""

    def __init__(
        self, folder: Path, record: Record, found: Survey, packets: Packets, listener: Listener
    ) -> None:
        self._folder = folder
        self._record = record
        self._found = found
        self._packets = packets
        self._listener = listener
        self._is_modelled = is_modelled(record)
        self._about = packets.process("about this trace")
        self._arms: dict[str, ArmTracks] = {}
        self._processes: dict[str, int] = {}
        self._drawn: dict[str, int] = dict.fromkeys(found.iterations, 0)
        self._preempted: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._notes: list[str] = []

    def go(self, most_iterations: int) -> Drawn:
        share = max(1, most_iterations // len(self._found.iterations))
        self._explain()
        self._begin_arms()
        self._draw_iterations(share)
        self._say_cuts()
        self._draw_requests()
        self._draw_samples()
        self._write_notes()
        self._packets.flush()
        return Drawn(iterations=self._drawn, notes=tuple(self._notes[1:]))

    def _explain(self) -> None:
        record = self._record
        what = [record.spec.get(key) for key in ("model", "workload", "executor", "device")]
        said = ", ".join(str(one) for one in what if one is not None)
        self._notes.append(f"lpbench {record.lpbench_version}: {record.command} of {said}")
        if record.status == "failed":
            self._notes.append(f"the run failed ({record.failure}): this is what it left")
        if self._is_modelled:
            self._notes.append("nothing ran: times, bytes and joules are modelled")
        if len(self._found.iterations) > 1:
            self._notes.append(
                "the arms ran one after the other; each is drawn from its own start as zero"
            )
        if self._found.damaged:
            self._notes.append(
                f"iterations.jsonl: {self._found.damaged} lines are damaged and not drawn"
            )

    def _begin_arms(self) -> None:
        for label in self._found.iterations:
            process = self._packets.process(_title(label, self._record))
            self._processes[label] = process
            self._arms[label] = ArmTracks(
                self._packets,
                process,
                num_layers=self._found.num_layers,
                is_modelled=self._is_modelled,
            )

    def _draw_iterations(self, share: int) -> None:
        path = self._folder / "iterations.jsonl"
        left = sum(min(share, there) for there in self._found.iterations.values())
        for line in _told(read_iterations(path), path, "draw", self._listener):
            if line is None or self._drawn.get(line.arm, share) >= share:
                continue
            self._arms[line.arm].draw(line)
            self._drawn[line.arm] += 1
            for request in line.preempted:
                self._preempted[line.arm, request].append(line.start_ns)
            left -= 1
            if not left:
                break
        for arm in self._arms.values():
            arm.close()

    def _say_cuts(self) -> None:
        for label, there in self._found.iterations.items():
            if self._drawn[label] == there:
                continue
            cut = f"cut after {self._drawn[label]} of {there} iterations"
            track = self._packets.track(self._processes[label], cut)
            self._packets.mark(track, self._arms[label].last_ns, cut)
            self._notes.append(f"{label}: {cut}; --most-iterations draws more")

    def _draw_requests(self) -> None:
        path = self._folder / "requests.jsonl"
        if not path.exists():
            self._notes.append("the run left no requests.jsonl: no request's life is drawn")
            return
        tracks = {label: self._request_tracks(label) for label in self._arms}
        served = dict.fromkeys(self._arms, 0)
        damaged = 0
        for _, line in read_lines(path, Served):
            if line is None or line.arm not in tracks:
                damaged += 1
                continue
            served[line.arm] += 1
            tracks[line.arm].draw(line, self._preempted.get((line.arm, line.request), ()))
        if damaged:
            self._notes.append(f"requests.jsonl: {damaged} lines are damaged and not drawn")
        for label, one in tracks.items():
            if not served[label]:
                self._notes.append(f"{label}: its requests are not drawn: it did not end")
            if one.unmarked:
                self._notes.append(
                    f"{label}: tokens of {one.unmarked} requests are not marked one by one: "
                    f"the first {MOST_TOKENS // len(tracks)} at most are"
                )

    def _request_tracks(self, label: str) -> RequestTracks:
        is_cut = self._drawn[label] < self._found.iterations[label]
        return RequestTracks(
            self._packets,
            self._processes[label],
            until_ns=self._arms[label].last_ns if is_cut else None,
            most_tokens=MOST_TOKENS // len(self._arms),
        )

    def _draw_samples(self) -> None:
        campaign = Campaign(self._packets, self._record)
        for path in sorted((self._folder / "samples").glob("*.jsonl")):
            if path.stem == DRAM:
                self._draw_series(path, Counted(self._packets, self._record))
            elif campaign.starts_ns and (series := campaign.series(path.stem)):
                self._draw_series(path, series)

    def _draw_series(self, path: Path, series: Series) -> None:
        there = damaged = 0
        for _, line in read_lines(path, Sample):
            there += 1
            if line is None or (there <= MOST_SAMPLES and not series.draw(line)):
                damaged += 1
        if there > MOST_SAMPLES:
            cut = f"cut after {MOST_SAMPLES} of {there} samples"
            self._notes.append(f"samples/{path.name}: {cut}")
        if damaged:
            self._notes.append(f"samples/{path.name}: {damaged} lines are damaged and not drawn")

    def _write_notes(self) -> None:
        """Write the notes as slices, one in the other, as long as what they are about."""
        track = self._packets.track(self._about, "notes")
        last_ns = max(arm.last_ns for arm in self._arms.values())
        for note in self._notes:
            self._packets.begin(track, 0, note)
        for _ in self._notes:
            self._packets.end(track, last_ns)


def _title(label: str, record: Record) -> str:
    """Return an arm's label with the parameters in force, where its record has come to be."""
    arm = record.arm(label)
    if arm is None or not arm.schedule.params:
        return label
    return f"{label} ({', '.join(f'{key}={value}' for key, value in arm.schedule.params.items())})"
