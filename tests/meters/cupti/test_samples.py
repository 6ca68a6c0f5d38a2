from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.meters.cupti.samples import (
    GAP_SAMPLES,
    DramSamples,
    WindowBytes,
    join,
    window_bytes,
)

MS = 1_000_000
IDLE, PAD = 64, 4
"""Bytes of an idle sample of 1 ms; idle samples on either side of the work."""

busy_bytes = st.integers(1_000_000, 10_000_000)
"""A busy sample's work: far above the idle samples', by no more than a factor of ten apart."""


def series(work: list[int], *, idle: int = IDLE, pad: int = PAD, origin: int = 0) -> DramSamples:
    """Return samples of 1 ms: idle, the work's on top of idle, idle; half as much is written."""
    counts = np.array([0] * pad + work + [0] * pad, dtype=float)
    starts = origin + MS * np.arange(len(counts), dtype=np.int64)
    return DramSamples(
        start_ns=starts,
        end_ns=starts + MS,
        read=counts + idle,
        written=counts / 2 + idle,
        beside={"clock": np.full(len(counts), 1.5e9)},
    )


def cut(samples: DramSamples, *places: slice) -> DramSamples:
    """Return only these stretches of the series, joined."""
    return join(
        [
            replace(
                samples,
                start_ns=samples.start_ns[place],
                end_ns=samples.end_ns[place],
                read=samples.read[place],
                written=samples.written[place],
                beside={name: column[place] for name, column in samples.beside.items()},
            )
            for place in places
        ]
    )


def measured(samples: DramSamples) -> WindowBytes:
    """Return the window whose edges lie half way into the middle of either padding."""
    begin, end = int(samples.start_ns[0]), int(samples.end_ns[-1])
    return window_bytes(
        samples, start_ns=begin + PAD * MS // 2 + MS // 2, stop_ns=end - PAD * MS // 2 - MS // 2
    )


def test_a_window_by_hand() -> None:
    """3 MB and 1 MB of reads over 64 B an idle millisecond: the idle bytes are taken off.

    The window holds the samples of both edges: two idle, two of work, two idle.
    """
    found = measured(series([3_000_000, 1_000_000]))
    assert () == found.reasons
    assert pytest.approx(4_000_000) == found.read.bytes
    assert pytest.approx(2_000_000) == found.written.bytes
    assert pytest.approx(64_000) == found.read.idle_rate
    assert pytest.approx(0.006) == found.duration_s
    assert pytest.approx(0, abs=1e-6) == found.read.uncertainty


def test_an_edge_between_two_samples_takes_the_inner_one() -> None:
    """Edges exactly where samples meet: two idle samples, one of work, two idle ones."""
    found = window_bytes(series([3_000_000]), start_ns=2 * MS, stop_ns=7 * MS)
    assert () == found.reasons
    assert pytest.approx(0.005) == found.duration_s


def test_uneven_gaps_show_as_uncertainty() -> None:
    """Gaps at 64 and at 164 B a millisecond leave +-50 B a millisecond over the window."""
    samples = series([3_000_000])
    samples.read[-PAD:] += 100
    found = measured(samples)
    assert () == found.reasons
    assert pytest.approx(50 * 5) == found.read.uncertainty


@given(
    work=st.lists(busy_bytes, min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_a_sum_does_not_depend_on_how_decoding_is_cut(work: list[int], cuts: list[int]) -> None:
    """Property: any consecutive parts join to the same window."""
    whole = series(work)
    places = sorted({0, len(whole), *(min(at, len(whole)) for at in cuts)})
    parts = [cut(whole, slice(begin, end)) for begin, end in pairwise(places)]
    assert measured(whole) == measured(join(parts))
    assert whole.beside["clock"].tolist() == join(parts).beside["clock"].tolist()


@given(
    busy=st.lists(st.booleans(), min_size=1, max_size=24),
    level=busy_bytes,
    start=st.floats(0, 1, exclude_max=True),
    length=st.floats(0, 1, exclude_min=True),
)
def test_edges_lie_in_idle_gaps_or_the_window_is_rejected(
    *, busy: list[bool], level: int, start: float, length: float
) -> None:
    """Property: valid exactly where each edge has idle samples around it and work between.

    Where it is valid, the work of the samples between the edges is found exactly.
    """
    work = [level * flag for flag in busy]
    samples = series(work, pad=0)
    start_ns = int(start * len(work) * MS)
    stop_ns = min(start_ns + max(int(length * len(work) * MS), 1), len(work) * MS)
    found = window_bytes(samples, start_ns=start_ns, stop_ns=stop_ns)

    first, last = start_ns // MS, (stop_ns - 1) // MS
    around = busy[max(first - GAP_SAMPLES, 0) : first + 1] + busy[last : last + GAP_SAMPLES + 1]
    has_gaps = GAP_SAMPLES <= first and last < len(busy) - GAP_SAMPLES
    is_sound = has_gaps and not any(around) and any(busy[first : last + 1])
    assert is_sound == (not found.reasons)
    if is_sound:
        assert pytest.approx(sum(work[first : last + 1])) == found.read.bytes


@given(work=st.lists(busy_bytes, min_size=3, max_size=20), lost=st.data())
def test_a_lost_record_is_detected(work: list[int], lost: st.DataObject) -> None:
    """Property: a window with any one of its samples missing is `truncated`."""
    whole = series(work)
    at = lost.draw(st.integers(PAD // 2, len(whole) - PAD // 2 - 1))
    begin, end = int(whole.start_ns[0]), int(whole.end_ns[-1])
    found = window_bytes(
        cut(whole, slice(0, at), slice(at + 1, None)),
        start_ns=begin + PAD * MS // 2,
        stop_ns=end - PAD * MS // 2,
    )
    assert "truncated" in found.reasons


@given(work=st.lists(busy_bytes, min_size=1, max_size=20), kept=st.data())
def test_a_series_that_ends_early_or_begins_late_is_truncated(
    work: list[int], kept: st.DataObject
) -> None:
    """Property: samples that do not reach over both edges are never summed as valid."""
    whole = series(work)
    begin, end = PAD * MS // 2, int(whole.end_ns[-1]) - PAD * MS // 2
    at = kept.draw(st.integers(1, len(whole) - PAD // 2 - 1))
    ended = window_bytes(cut(whole, slice(0, at)), start_ns=begin, stop_ns=end)
    begun = window_bytes(cut(whole, slice(PAD // 2 + 1, None)), start_ns=begin, stop_ns=end)
    assert "truncated" in ended.reasons
    assert "truncated" in begun.reasons


@pytest.mark.parametrize("code", ["overflow", "truncated"])
def test_what_the_sampler_says_is_passed_on(code: str) -> None:
    """A series marked overflowed or truncated gives no valid window, whatever it holds."""
    found = measured(replace(series([5_000_000]), **{code: True}))  # type: ignore[arg-type]
    assert (code,) == found.reasons


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_a_sample_that_is_no_count_is_rejected(value: float) -> None:
    """Not a number, infinite or negative bytes: `bad_sample`, and no warning of numpy's."""
    samples = series([5_000_000])
    samples.read[PAD] = value
    assert ("bad_sample",) == measured(samples).reasons


def test_a_sample_without_duration_is_rejected() -> None:
    """A rate cannot be taken of it."""
    samples = series([5_000_000])
    samples.end_ns[PAD - 1] = samples.start_ns[PAD - 1]
    assert "bad_sample" in measured(samples).reasons


def test_a_first_sample_without_duration_is_no_matter_behind_a_gap() -> None:
    """Only the window and the gaps' nearest samples are looked at."""
    samples = series([5_000_000])
    samples.start_ns[0] = samples.end_ns[0]
    found = window_bytes(samples, start_ns=3 * MS + 1, stop_ns=int(samples.end_ns[-1]) - 2 * MS - 1)
    assert () == found.reasons


def test_counters_that_see_nothing_are_no_measurement_of_zero() -> None:
    """All samples zero: a device that ran anything at all moved some bytes."""
    assert ("no_traffic",) == measured(series([0, 0], idle=0)).reasons


@given(
    work=st.lists(busy_bytes, min_size=1, max_size=10), pad=st.integers(0, 3), outlier=busy_bytes
)
def test_the_first_sample_does_not_matter_behind_a_gap(
    work: list[int], pad: int, outlier: int
) -> None:
    """Property: an outlier as first sample, or none at all, leaves the window as it is."""
    samples = series(work, pad=PAD + pad)
    edges = {"start_ns": 3 * MS + MS // 2, "stop_ns": int(samples.end_ns[-1]) - 3 * MS}
    expected = window_bytes(samples, **edges)
    without = window_bytes(cut(samples, slice(1, None)), **edges)
    samples.read[0] = outlier
    assert expected == without
    assert expected == window_bytes(samples, **edges)


def test_time_stamps_of_today_keep_their_nanoseconds() -> None:
    """CLOCK_REALTIME needs 61 bits: a window there equals the same one at the origin."""
    expected = measured(series([5_000_000], origin=0))
    assert expected == measured(series([5_000_000], origin=1_795_000_000_123_456_789))
