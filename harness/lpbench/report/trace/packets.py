"""Perfetto's trace format: tracks, slices, marks and counters, written as they come.

Owns: packets and their protos, which names are written once and referred to.
Must not know: what a track is of.

The format is Perfetto's TrackEvent (https://perfetto.dev/docs/reference/synthetic-track-event).
"""

from collections.abc import Mapping
from typing import BinaryIO, TypeAlias

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    CounterDescriptor,
    Trace,
    TracePacket,
    TrackDescriptor,
    TrackEvent,
)

Value: TypeAlias = int | float | str
Values: TypeAlias = Mapping[str, Value]
"""What stands beside a slice, by name; Perfetto replaces dots and square brackets in the names."""

SEQUENCE = 1
"""All packets are of one writer."""

TOGETHER = 512
"""Packets that are serialised at a time; traces one after the other are one trace."""

MOST_NAMES = 4096
"""Names of slices that are written once and referred to; further ones are written each time."""

UNITS = {"B": CounterDescriptor.UNIT_SIZE_BYTES, "1": CounterDescriptor.UNIT_COUNT}
"""Units that the format has a number for; others are given by name."""


class Packets:
    """A trace under way; times are whole nanoseconds."""

    def __init__(self, file: BinaryIO) -> None:
        """Write to a file, from where it stands."""
        self._file = file
        self._trace = Trace()
        self._tracks = 0
        self._processes = 0
        self._names: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        first = self._packet()
        first.sequence_flags = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        first.first_packet_on_sequence = True

    def process(self, name: str) -> int:
        """Begin a group at the top; return its track."""
        self._processes += 1
        track = self._track(0, name="", rank=0)
        track.process.pid = self._processes
        track.process.process_name = name
        return track.uuid

    def track(self, parent: int, name: str, *, rank: int = 0) -> int:
        """Begin a track of slices and marks, or of further tracks; the least rank is on top."""
        return self._track(parent, name=name, rank=rank).uuid

    def counter(self, parent: int, name: str, *, unit: str, rank: int = 0) -> int:
        """Begin a track of values, each of which holds until the next one."""
        track = self._track(parent, name=f"{name} ({unit})", rank=rank)
        if unit in UNITS:
            track.counter.unit = UNITS[unit]
        else:
            track.counter.unit_name = unit
        return track.uuid

    def begin(self, track: int, at_ns: int, name: str, values: Values | None = None) -> None:
        """Open a slice within what is open on the track."""
        self._event(TrackEvent.TYPE_SLICE_BEGIN, track, at_ns, name=name, values=values)

    def end(self, track: int, at_ns: int) -> None:
        """Close the slice that was opened last on the track."""
        self._event(TrackEvent.TYPE_SLICE_END, track, at_ns)

    def mark(self, track: int, at_ns: int, name: str, values: Values | None = None) -> None:
        """Mark a moment."""
        self._event(TrackEvent.TYPE_INSTANT, track, at_ns, name=name, values=values)

    def count(self, track: int, at_ns: int, value: float) -> None:
        """Give a counter the value that it has from now on."""
        event = self._event(TrackEvent.TYPE_COUNTER, track, at_ns)
        if isinstance(value, int):
            event.counter_value = value
        else:
            event.double_counter_value = value

    def flush(self) -> None:
        """Write what is left.

        Raises:
            OSError: the file does not take it.
        """
        self._file.write(self._trace.SerializeToString())
        self._trace = Trace()  # clearing one keeps its memory

    def _packet(self) -> TracePacket:
        if len(self._trace.packet) >= TOGETHER:
            self.flush()
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = SEQUENCE
        return packet

    def _track(self, parent: int, *, name: str, rank: int) -> TrackDescriptor:
        self._tracks += 1
        track = self._packet().track_descriptor
        track.uuid = self._tracks
        track.child_ordering = TrackDescriptor.EXPLICIT
        # Tracks of one name are several: what they are of is in the order.
        track.sibling_merge_behavior = TrackDescriptor.SIBLING_MERGE_BEHAVIOR_NONE
        if parent:
            track.parent_uuid = parent
            track.name = name
            track.sibling_order_rank = rank
        return track

    def _event(
        self,
        kind: TrackEvent.Type,
        track: int,
        at_ns: int,
        *,
        name: str | None = None,
        values: Values | None = None,
    ) -> TrackEvent:
        packet = self._packet()
        packet.timestamp = at_ns
        packet.sequence_flags = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        event = packet.track_event
        event.type = kind
        event.track_uuid = track
        if name is not None:
            self._name(packet, name)
        for key, value in (values or {}).items():
            self._annotate(packet, key, value)
        return event

    def _name(self, packet: TracePacket, name: str) -> None:
        if name not in self._names and len(self._names) < MOST_NAMES:
            self._names[name] = len(self._names) + 1
            packet.interned_data.event_names.add(iid=self._names[name], name=name)
        if name in self._names:
            packet.track_event.name_iid = self._names[name]
        else:
            packet.track_event.name = name

    def _annotate(self, packet: TracePacket, key: str, value: Value) -> None:
        if key not in self._keys:
            self._keys[key] = len(self._keys) + 1
            packet.interned_data.debug_annotation_names.add(iid=self._keys[key], name=key)
        note = packet.track_event.debug_annotations.add(name_iid=self._keys[key])
        if isinstance(value, str):
            note.string_value = value
        elif isinstance(value, int):
            note.int_value = value
        else:
            note.double_value = value
