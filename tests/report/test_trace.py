"""A run as a trace: read back by the format's own protos, its sums are the record's."""

import json
import random
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.bench.listener import Silent
from lpbench.bench.logged import Iteration
from lpbench.errors import InputError
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.record.schema import Arm, Reading, Record, Window
from lpbench.testing.records import example_record

pytest.importorskip("perfetto", reason="the extra `trace`")

from lpbench.report.trace import draw
from lpbench.report.trace.arm import BYTES, ITERATIONS, TILES, parts_of
from lpbench.report.trace.draw import Drawn, draw_run
from lpbench.report.trace.packets import Packets
from tests.traced import Traced, read_trace

EVERYTHING = 1_000_000
CHUNKED = "chunked (max_num_batched_tokens=512)"
LAYERED = "layered (rule=ceil, tokens_per_group=512)"

Line = dict[str, Any]


def iteration(number: int, *, arm: str = "chunked", **changes: object) -> Line:
    """Return a line: 10 ms, one decode, 3 experts in each of 4 layers of 100 B each."""
    return {
        "arm": arm,
        "iteration": number,
        "start_ms": 10.0 * number,
        "duration_ms": 10.0,
        "device_ms": None,
        "decodes": [7],
        "tiles": [],
        "num_groups": None,
        "preempted": [],
        "distinct_experts": [3, 3, 3, 3],
        "distinct_experts_decode": [3, 3, 3, 3],
        "expert_bytes": 1200,
    } | changes


def request(number: int, *, arm: str = "chunked", **changes: object) -> Line:
    """Return a line: arrives at 0, scheduled after 10 ms, a token after 30, 40 and 90 ms."""
    return {
        "arm": arm,
        "request": number,
        "context_tokens": 0,
        "prompt_tokens": 8,
        "output_tokens": 3,
        "arrival_ms": 0.0,
        "queue_ms": 10.0,
        "token_ms": [30.0, 40.0, 90.0],
    } | changes


def run_in(
    folder: Path,
    iterations: Sequence[Mapping[str, object]],
    requests: Sequence[Mapping[str, object]] = (),
    **samples: Sequence[Mapping[str, object]],
) -> None:
    """Write the lines of a run."""
    files = {"iterations": iterations, "requests": requests}
    files |= {f"samples/{name}": lines for name, lines in samples.items()}
    (folder / "samples").mkdir()
    for name, lines in files.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def drawn(
    folder: Path, record: Record | None = None, *, most_iterations: int = EVERYTHING
) -> tuple[Traced, Drawn]:
    """Draw the run in a folder and read the trace back."""
    path = folder / "trace"
    with path.open("wb") as file:
        found = draw_run(
            folder,
            record or example_record(),
            file,
            most_iterations=most_iterations,
            listener=Silent(),
        )
    return read_trace(path), found


spans = st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda one: one[0] != one[1])


@given(
    tiles=st.lists(spans.map(lambda one: Span(min(one), max(one))), min_size=1, max_size=4),
    decodes=st.integers(0, 2),
    span_ns=st.integers(0, 10**12),
    distinct=st.lists(st.integers(1, 64), min_size=12, max_size=12),
    weight=st.integers(1, 10**9),
)
def test_segments_add_up(
    tiles: list[Span], decodes: int, span_ns: int, distinct: list[int], weight: int
) -> None:
    """Whatever is planned, times of segments sum to the iteration's; so do bytes where rows ran."""
    plan = IterationPlan(
        decodes=tuple(range(decodes)),
        prefill=tuple(PromptTile(at + 9, Tile(Span(0, 5), one)) for at, one in enumerate(tiles)),
    )
    ran = {layer for one in plan.segments(12) for layer in range(one.layers.start, one.layers.stop)}
    counted = [count if layer in ran else 0 for layer, count in enumerate(distinct)]
    line = Iteration.model_validate(
        iteration(
            0,
            duration_ms=span_ns / 1e6,
            distinct_experts=counted,
            distinct_experts_decode=[0] * 12,
            expert_bytes=sum(counted) * weight,
        )
    )
    parts = parts_of(line, plan, num_layers=12)
    assert span_ns == sum(one.stop_ns - one.start_ns for one in parts)
    assert (0, span_ns) == (parts[0].start_ns, parts[-1].stop_ns)
    assert sum(counted) * weight == sum(one.expert_bytes or 0 for one in parts)
    assert sum(counted) * weight == sum(one.added_bytes or 0 for one in parts)


def test_tiles_stand_where_their_layers_do(tmp_path: Path) -> None:
    """A tile lasts as long as the layers that it is of; the last layers are on top."""
    tiles = [
        {"request": 0, "tokens": [0, 8], "layers": [0, 1]},
        {"request": 1, "tokens": [0, 8], "layers": [1, 4]},
        {"request": 2, "tokens": [4, 8], "layers": [1, 4]},
    ]
    run_in(tmp_path, [iteration(0, tiles=tiles)])
    trace, _ = drawn(tmp_path)
    assert [("request 0: tokens 0-8", 0, 2_500_000)] == [
        (one.name, one.start_ns, one.stop_ns) for one in trace.within(CHUNKED, TILES, "layers 0-1")
    ]
    stacked = [trace.within(CHUNKED, TILES, "layers 1-4", depth=depth)[0] for depth in (0, 1)]
    assert ["request 1: tokens 0-8", "request 2: tokens 4-8"] == [one.name for one in stacked]
    assert {(2_500_000, 10_000_000)} == {(one.start_ns, one.stop_ns) for one in stacked}
    assert {"request": 2, "tokens": 4, "layers": 3} == stacked[1].values
    above, below = (trace.ranks[CHUNKED, TILES, f"layers {one}"] for one in ("1-4", "0-1"))
    assert above < below


def test_counters_fall_where_nothing_runs(tmp_path: Path) -> None:
    """Between two iterations, and after the last one, no expert is read."""
    run_in(tmp_path, [iteration(0), iteration(1), iteration(5, expert_bytes=2400)])
    trace, _ = drawn(tmp_path)
    assert [
        (0, 1200),
        (10_000_000, 1200),
        (20_000_000, 0),
        (50_000_000, 2400),
        (60_000_000, 0),
    ] == trace.counted(CHUNKED, "expert bytes per iteration, counted (B)")


def test_a_timed_device_has_its_share(tmp_path: Path) -> None:
    """Where the device's passes were timed, the share of each iteration that they take is drawn."""
    run_in(tmp_path, [iteration(0, device_ms=7.5)])
    trace, _ = drawn(tmp_path)
    busy = trace.counted(CHUNKED, "device busy, by its own events (%)")
    assert [(0, 75.0), (10_000_000, 0)] == busy


def test_memory_does_not_grow_with_a_trace() -> None:
    """What is written is let go of: 100,000 marks leave less behind than they are."""

    class Nowhere(BytesIO):
        def write(self, text: Any) -> int:  # noqa: ANN401 - as io types it
            return len(text)

    packets = Packets(Nowhere())
    track = packets.track(packets.process("one"), "two")
    before = psutil.Process().memory_info().rss
    for at in range(100_000):
        packets.mark(track, at, "mark", {"at": at, "again": at})
    assert 20_000_000 > psutil.Process().memory_info().rss - before


def test_what_is_not_recorded_has_no_track(tmp_path: Path) -> None:
    """Without counted bytes, joules or samples there is no counter of them, and no zero."""
    bare = iteration(0)
    for key in ("distinct_experts", "distinct_experts_decode", "expert_bytes"):
        del bare[key]
    run_in(tmp_path, [bare])
    trace, _ = drawn(tmp_path)
    assert {"requests decoding (1)", "prompt tokens in some layer (1)"} == {
        one.place[-1] for one in trace.counts
    }
    assert not any(BYTES in one.values for one in trace.slices)


def test_a_requests_life(tmp_path: Path) -> None:
    """It waits, is prefilled, decodes; where it lost its pages it waits within its decoding."""
    run_in(tmp_path, [iteration(0), iteration(5, preempted=[3])], [request(3)])
    trace, _ = drawn(tmp_path)
    place = (CHUNKED, "requests", "request 3")
    assert [("queue", 0, 10), ("prefill", 10, 30), ("decode", 30, 90)] == [
        (one.name, one.start_ns / 1e6, one.stop_ns / 1e6) for one in trace.within(*place)
    ]
    (waited,) = trace.within(*place, depth=1)
    assert ("preempted, then computed anew", 50, 90) == (
        waited.name,
        waited.start_ns / 1e6,
        waited.stop_ns / 1e6,
    )
    assert [30, 40, 90] == [one.start_ns / 1e6 for one in trace.marked(*place)]


def test_a_cut_is_stated(tmp_path: Path) -> None:
    """Of every arm the first iterations are drawn, no request begins later, and it says so."""
    lines = [iteration(at, arm=arm) for arm in ("chunked", "layered") for at in range(6)]
    requests = [request(0), request(1, arrival_ms=25.0), request(2, queue_ms=25.0)]
    run_in(tmp_path, lines, requests)
    trace, found = drawn(tmp_path, most_iterations=5)
    assert {"chunked": 2, "layered": 2} == found.iterations
    (cut,) = trace.marked(CHUNKED, "cut after 2 of 6 iterations")
    assert 20_000_000 == cut.start_ns
    assert "chunked: cut after 2 of 6 iterations; --most-iterations draws more" in found.notes
    assert ["queue", "prefill"] == [
        one.name for one in trace.within(CHUNKED, "requests", "request 0")
    ]
    assert ["queue"] == [one.name for one in trace.within(CHUNKED, "requests", "request 2")]
    assert not trace.within(CHUNKED, "requests", "request 1")


def test_token_marks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of tokens requests keep their slices and lose the marks; it says so."""
    monkeypatch.setattr(draw, "MOST_TOKENS", 4)
    run_in(tmp_path, [iteration(0)], [request(0), request(1)])
    trace, found = drawn(tmp_path)
    assert 3 == len(trace.marked(CHUNKED, "requests", "request 0"))
    assert not trace.marked(CHUNKED, "requests", "request 1")
    assert 3 == len(trace.within(CHUNKED, "requests", "request 1"))
    assert any("tokens of 1 requests are not marked" in note for note in found.notes)


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    """A line that a kill cut short, or that begins before its time, is left out and counted."""
    run_in(tmp_path, [iteration(0), iteration(0), iteration(1)], [request(0)])
    for name in ("iterations", "requests"):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(path.read_bytes() + path.read_bytes()[:50])
    trace, found = drawn(tmp_path)
    assert 2 == len(trace.within(CHUNKED, ITERATIONS))
    assert "iterations.jsonl: 2 lines are damaged and not drawn" in found.notes
    assert "requests.jsonl: 1 lines are damaged and not drawn" in found.notes


def test_a_failed_run_is_drawn_as_far_as_it_went(tmp_path: Path) -> None:
    """An arm that did not end has iterations and no requests; the failure stands in the trace."""
    run_in(tmp_path, [iteration(0), iteration(0, arm="layered")], [request(0)])
    record = example_record(status="failed", failure="RunError", arms=example_record().arms[:1])
    trace, found = drawn(tmp_path, record)
    assert 1 == len(trace.within("layered", ITERATIONS))
    assert "the run failed (RunError): this is what it left" in found.notes
    assert "layered: its requests are not drawn: it did not end" in found.notes
    notes = [one.name for depth in range(9) for one in trace.within("about", depth=depth)]
    assert set(found.notes) < set(notes)


def test_a_run_without_iterations_is_refused(tmp_path: Path) -> None:
    """The file that is missing is named, and so is the failure that it is missing for."""
    with pytest.raises(InputError, match=r"iterations\.jsonl does not exist"):
        draw_run(tmp_path, example_record(), BytesIO(), most_iterations=1, listener=Silent())
    failed = example_record(status="failed", failure="RunError")
    with pytest.raises(InputError, match=r"failed \(RunError\); .*iterations\.jsonl does not"):
        draw_run(tmp_path, failed, BytesIO(), most_iterations=1, listener=Silent())
    (tmp_path / "iterations.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="no line of it is an iteration"):
        draw_run(tmp_path, failed, BytesIO(), most_iterations=1, listener=Silent())


def test_names_are_text(tmp_path: Path) -> None:
    """Control characters and very long labels come through as they are."""
    label = "a\x00\x1b[31m\n" + "é" * 10_000
    run_in(tmp_path, [iteration(0, arm=label)])
    trace, _ = drawn(tmp_path)
    assert 1 == len(trace.within(label, ITERATIONS))


def joules(value: float | None, **changes: object) -> Reading:
    """Return a window's reading."""
    return Reading.model_validate(
        {"value": value, "unit": "J", "method": "measured", "source": "nvml", "pass": "energy"}
        | changes
    )


def window(start_ms: float | None, **changes: object) -> Window:
    """Return a second's window."""
    values = {"name": "measured", "pass": "energy", "iterations": 4, "duration_ms": 1e3}
    values |= {"start_ms": start_ms, "readings": {"total_gpu_energy_j": joules(300.0)}}
    return Window.model_validate(values | changes)


def with_windows(record: Record, windows: Mapping[str, Sequence[Window]]) -> Record:
    """Return the record with its arms' windows replaced."""
    arms: list[Arm] = [
        one.model_copy(update={"windows": tuple(windows.get(one.label, ()))}) for one in record.arms
    ]
    return record.model_copy(update={"arms": tuple(arms)})


def test_an_energy_campaign_has_one_clock(tmp_path: Path) -> None:
    """Windows stand in the order in which samples number them; power is drawn within them."""
    void = {"total_gpu_energy_j": joules(1.5, validity="invalid", reasons=["fault"])}
    idle = window(100.0, name="idle", runs=0)
    record = with_windows(
        example_record(command="energy", windows=(idle,)),
        {
            "layered": [window(1200.0, block=0)],
            "chunked": [window(2300.0, block=0, readings=void)],
        },
    )
    samples: list[Line] = [
        {"arm": None, "block": None, "window": 0, "sample": [0.5, 80.0]},
        {"arm": "layered", "block": 0, "window": 1, "sample": [0.25, 310.0]},
        {"arm": "chunked", "block": 0, "window": 2, "sample": [0.0, 290.0]},
        {"arm": "chunked", "block": 0, "window": 9, "sample": [0.0, 290.0]},
    ]
    packages: list[Line] = [
        {"arm": None, "block": None, "window": 0, "sample": [7e9, 1e6, 5e6]},
        {"arm": None, "block": None, "window": 0, "sample": [7.5e9, 11e6, 10e6]},
        {"arm": None, "block": None, "window": 0, "sample": [8e9, 0, 11e6]},
    ]
    run_in(tmp_path, [iteration(0)], nvml_power_w=samples, rapl=packages)
    trace, found = drawn(tmp_path, record)
    windows = trace.within("energy windows", "windows")
    assert [("idle", 100), ("layered, block 0", 1200), ("chunked, block 0", 2300)] == [
        (one.name, one.start_ns / 1e6) for one in windows
    ]
    assert "1.5, fault" == windows[2].values["total_gpu_energy_j (J)"]
    assert [(600_000_000, 80.0), (1_450_000_000, 310.0), (2_300_000_000, 290.0)] == trace.counted(
        "energy windows", "GPU power"
    )
    assert [(100_000_000, 30.0)] == trace.counted("energy windows", "CPU packages")
    assert "samples/nvml_power_w.jsonl: 1 lines are damaged and not drawn" in found.notes


def test_dram_bytes_come_back(tmp_path: Path) -> None:
    """Bandwidth times the samples' lengths is the bytes that were read, window by window."""
    windows = [window(None, **{"pass": "counters"}, block=0, runs=runs) for runs in (2, 4)]
    record = with_windows(example_record(), {"chunked": windows})
    drawn_ = random.Random(0)
    counts = {runs: [drawn_.randrange(10**9) for _ in range(10)] for runs in (2, 4)}
    place = {"arm": "chunked", "window": "measured", "block": 0}
    samples: list[Line] = [
        {**place, "runs": runs, "sample": [at * 1e6, (at + 1) * 1e6, count, 5.0, 1.0]}
        for runs, found in counts.items()
        for at, count in enumerate(found)
    ]
    run_in(tmp_path, [iteration(0)], dram=samples)
    trace, _ = drawn(tmp_path, record)
    for runs, found in counts.items():
        group = ("DRAM of chunked", f"measured, block 0, {runs} runs")
        assert [1_000_000_000] == [one.stop_ns for one in trace.within(*group)]
        read = trace.counted(*group, "DRAM bytes read (B/s)")
        assert sum(found) == pytest.approx(sum(value * 1e-3 for _, value in read))


def test_samples_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of samples a series is cut, and it says so."""
    monkeypatch.setattr(draw, "MOST_SAMPLES", 2)
    record = with_windows(example_record(), {"chunked": [window(0.0)]})
    samples: list[Line] = [
        {"arm": "chunked", "window": 0, "sample": [at / 9, 1.0]} for at in range(9)
    ]
    run_in(tmp_path, [iteration(0)], nvml_power_w=samples)
    trace, found = drawn(tmp_path, record)
    assert 2 == len(trace.counted("energy windows", "GPU power"))
    assert "samples/nvml_power_w.jsonl: cut after 2 of 9 samples" in found.notes
