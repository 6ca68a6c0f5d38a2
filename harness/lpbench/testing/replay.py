"""Stored series of DRAM samples, replayed as if they were sampled now.

Owns: the .npz form of a series, its faults among it, and the sampler that replays one.
Must not know: how the series was sampled.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from lpbench.meters.cupti.samples import DramSamples

_BESIDE = "beside:"
_REQUIRED = ("start_ns", "end_ns", "read", "written", "overflow", "truncated")


def save_samples(path: Path, samples: DramSamples) -> None:
    """Write a series, its faults included, to an .npz file."""
    beside = {_BESIDE + name: column for name, column in samples.beside.items()}
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            start_ns=samples.start_ns,
            end_ns=samples.end_ns,
            read=samples.read,
            written=samples.written,
            overflow=np.array(samples.overflow),
            truncated=np.array(samples.truncated),
            **beside,  # type: ignore[arg-type] # numpy's stub takes any keyword for allow_pickle
        )


def load_samples(path: Path) -> DramSamples:
    """Read a series back.

    Raises:
        OSError: the file cannot be read.
        KeyError: it is no series.
    """
    with np.load(path, allow_pickle=False) as stored:
        columns = {name: stored[name] for name in _REQUIRED}
        return DramSamples(
            start_ns=columns["start_ns"],
            end_ns=columns["end_ns"],
            read=columns["read"],
            written=columns["written"],
            beside={
                name.removeprefix(_BESIDE): stored[name]
                for name in stored.files
                if name.startswith(_BESIDE)
            },
            overflow=bool(columns["overflow"]),
            truncated=bool(columns["truncated"]),
        )


class ReplaySampler:
    """A `DramSampler` that answers every window with one stored series.

    The series is moved in time so that it begins when `start` is called.
    """

    def __init__(
        self, samples: DramSamples, *, realtime_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Hold a series and the clock that its window is taken on."""
        self._samples = samples
        self._realtime_ns = realtime_ns
        self._shift_ns = 0

    def open(self) -> Mapping[str, JsonValue]:
        """Return that this is a replay."""
        return {"sampler": "replay", "samples": len(self._samples)}

    def start(self) -> None:
        """Fix the time at which the series begins."""
        self._shift_ns = self._realtime_ns() - int(self._samples.start_ns[0])

    def stop(self) -> DramSamples:
        """Return the series."""
        return replace(
            self._samples,
            start_ns=self._samples.start_ns + self._shift_ns,
            end_ns=self._samples.end_ns + self._shift_ns,
        )

    def close(self) -> None:
        """Do nothing."""
