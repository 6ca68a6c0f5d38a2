from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lpbench.meters.cupti.samples import DramSamples
from lpbench.testing.replay import ReplaySampler, load_samples, save_samples


def series() -> DramSamples:
    """Return three samples with a clock beside them."""
    starts = np.array([1_795_000_000_000_000_001, 1_795_000_000_000_000_101], np.int64)
    return DramSamples(
        start_ns=starts,
        end_ns=starts + 100,
        read=np.array([1.5, 2.0]),
        written=np.array([0.0, 4.0]),
        beside={"gpc__cycles_elapsed.avg.per_second": np.array([1.5e9, 1.6e9])},
    )


@pytest.mark.parametrize("fault", [None, "overflow", "truncated"])
def test_a_series_survives_its_file(tmp_path: Path, fault: str | None) -> None:
    """Every column to the last bit, and the recorded fault."""
    expected = series()
    if fault:
        expected = replace(expected, **{fault: True})  # type: ignore[arg-type]
    path = tmp_path / "series.npz"
    save_samples(path, expected)
    found = load_samples(path)
    for name in ("start_ns", "end_ns", "read", "written"):
        assert getattr(expected, name).tolist() == getattr(found, name).tolist()
    assert {name: column.tolist() for name, column in expected.beside.items()} == {
        name: column.tolist() for name, column in found.beside.items()
    }
    assert ("overflow" == fault, "truncated" == fault) == (found.overflow, found.truncated)


def test_a_file_that_is_no_series_is_refused(tmp_path: Path) -> None:
    """A missing column is an error, not an empty series."""
    path = tmp_path / "other.npz"
    np.savez(path, start_ns=np.zeros(1))
    with pytest.raises(KeyError, match="end_ns"):
        load_samples(path)


def test_a_replay_begins_when_it_is_started() -> None:
    """The series is moved as a whole, on the clock that is given."""
    sampler = ReplaySampler(series(), realtime_ns=lambda: 5000)
    assert {"sampler": "replay", "samples": 2} == sampler.open()
    sampler.start()
    found = sampler.stop()
    sampler.close()
    assert [5000, 5100] == found.start_ns.tolist()
    assert [5100, 5200] == found.end_ns.tolist()
