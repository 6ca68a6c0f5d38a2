"""A trace read back by the format's own protos: tracks by name, slices, marks, counts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    Trace,
    TracePacket,
    TrackDescriptor,
    TrackEvent,
)

Value: TypeAlias = int | float | str
Place: TypeAlias = tuple[str, ...]
"""Names of a track and of those that it stands in, the outermost first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A slice, a mark or a value of a counter."""

    place: Place
    name: str
    start_ns: int
    stop_ns: int
    depth: int = 0
    value: float = 0
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def span_ns(self) -> int:
        """How long it lasts."""
        return self.stop_ns - self.start_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What is in a trace; slices in the order in which they begin."""

    places: tuple[Place, ...]
    ranks: Mapping[Place, int]
    units: Mapping[Place, str]
    slices: tuple[Event, ...]
    marks: tuple[Event, ...]
    counts: tuple[Event, ...]

    def within(self, *place: str, depth: int = 0) -> list[Event]:
        """Return the slices of a track, or of those in it, whose names begin so."""
        return [one for one in self.slices if one.depth == depth and _is_in(one.place, place)]

    def marked(self, *place: str) -> list[Event]:
        """Return the marks of such a track."""
        return [one for one in self.marks if _is_in(one.place, place)]

    def counted(self, *place: str) -> list[tuple[int, float]]:
        """Return the times and values of such counters."""
        return [(one.start_ns, one.value) for one in self.counts if _is_in(one.place, place)]


def _is_in(place: Place, wanted: Sequence[str]) -> bool:
    return len(place) >= len(wanted) and all(
        name.startswith(start) for name, start in zip(place, wanted, strict=False)
    )


def read_trace(path: Path) -> Traced:
    """Read a trace back; its slices must nest, and refer to what came before them."""
    packets = Trace.FromString(path.read_bytes()).packet
    assert packets[0].sequence_flags == TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert {1} == {one.trusted_packet_sequence_id for one in packets}
    tracks: dict[int, TrackDescriptor] = {}
    names: dict[int, str] = {}
    keys: dict[int, str] = {}
    timed: list[tuple[int, int, str, dict[str, Value], TrackEvent]] = []
    for packet in packets:
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid not in tracks
            assert not track.parent_uuid or track.parent_uuid in tracks
            tracks[track.uuid] = track
        names |= {one.iid: one.name for one in packet.interned_data.event_names}
        keys |= {one.iid: one.name for one in packet.interned_data.debug_annotation_names}
        if packet.HasField("track_event"):
            event = packet.track_event
            assert event.track_uuid in tracks
            name = names[event.name_iid] if event.name_iid else event.name
            values = {
                keys[one.name_iid]: getattr(one, one.WhichOneof("value"))
                for one in event.debug_annotations
            }
            timed.append((packet.timestamp, event.track_uuid, name, values, event))
    timed.sort(key=lambda one: one[0])  # as Perfetto does; what is at one time stays in order
    places = {uuid: _place(track, tracks) for uuid, track in tracks.items()}
    return _events(timed, tracks, places)


def _place(track: TrackDescriptor, tracks: Mapping[int, TrackDescriptor]) -> Place:
    if track.HasField("process"):
        return (track.process.process_name,)
    return (*_place(tracks[track.parent_uuid], tracks), track.name)


def _events(
    timed: Sequence[tuple[int, int, str, dict[str, Value], TrackEvent]],
    tracks: Mapping[int, TrackDescriptor],
    places: Mapping[int, Place],
) -> Traced:
    slices: list[tuple[int, Event]] = []
    marks, counts = [], []
    open_: dict[int, list[tuple[int, int, str, dict[str, Value]]]] = defaultdict(list)
    for order, (at_ns, uuid, name, values, event) in enumerate(timed):
        place = places[uuid]
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            open_[uuid].append((order, at_ns, name, values))
        elif event.type == TrackEvent.TYPE_SLICE_END:
            began, start_ns, name_, values_ = open_[uuid].pop()
            found = Event(
                place=place,
                name=name_,
                start_ns=start_ns,
                stop_ns=at_ns,
                depth=len(open_[uuid]),
                values=values_,
            )
            slices.append((began, found))
        elif event.type == TrackEvent.TYPE_INSTANT:
            marks.append(
                Event(place=place, name=name, start_ns=at_ns, stop_ns=at_ns, values=values)
            )
        else:
            assert tracks[uuid].HasField("counter")
            value = getattr(event, event.WhichOneof("counter_value_field"))
            counts.append(Event(place=place, name=name, start_ns=at_ns, stop_ns=at_ns, value=value))
    assert not any(open_.values()), "a slice was never closed"
    return Traced(
        places=tuple(places.values()),
        ranks={places[uuid]: track.sibling_order_rank for uuid, track in tracks.items()},
        units={
            places[uuid]: track.counter.unit_name
            for uuid, track in tracks.items()
            if track.HasField("counter")
        },
        slices=tuple(one for _, one in sorted(slices, key=lambda one: one[0])),
        marks=tuple(marks),
        counts=tuple(counts),
    )
