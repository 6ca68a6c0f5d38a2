"""Tuning of the expert kernels: for every number of rows the tiles that are fastest here.

Owns: what `lpbench tune` refuses, the order of its work, what it keeps.
Must not know: how tiles are timed, how the findings are shown.

    model, device, cache file -> draw weights -> number of rows by number of rows: tune, keep
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from pydantic_core import to_json

from lpbench import __version__
from lpbench.bench.listener import Listener
from lpbench.bench.sizes import listed_counts
from lpbench.errors import InputError
from lpbench.registry import unknown
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS, Precision

if TYPE_CHECKING:
    from lpbench.executors.torch_engine.kernels.tile_table import TileTable
    from lpbench.executors.torch_engine.stopwatch import Stopwatch
    from lpbench.executors.torch_engine.tile_cache import TileKey, TunedSize
    from lpbench.executors.torch_engine.tuning import Outcome, Tuner

TUNED_DTYPES = ("bfloat16", "mxfp4")
"""What is tuned. Float32 is for correctness alone."""

_TMA_CAPABILITY = (9, 0)
"""Hopper's, the first with the copy engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was found.

    Attributes:
        model: its name.
        key: what the tiles are for.
        path: the file they stand in.
        outcomes: by number of rows.
    """

    model: str
    key: "TileKey"
    path: str
    outcomes: tuple["Outcome", ...]

    def to_json(self) -> str:
        """Return the findings as indented JSON, without the path."""
        document = {
            "lpbench_version": __version__,
            "model": self.model,
            "key": asdict(self.key),
            "outcomes": [asdict(one) for one in self.outcomes],
        }
        return to_json(document, indent=1).decode() + "\n"


def run_tuning(
    model: str, *, dtype: str, device: str, rows: str | None, listener: Listener
) -> Tuning:
    """Tune, and put what is found into the cache, number of rows by number of rows.

    Args:
        model: a catalogue name or a checkpoint folder; its weights are drawn.
        dtype: of `TUNED_DTYPES`.
        device: cuda or cuda:N.
        rows: numbers of rows, comma-separated; None for all that there are.
        listener: hears how far it is.

    Raises:
        InputError: the input cannot be tuned for, or the cache is not to be replaced.
        UnavailableError: the kernels cannot run here.
        RunError: the device failed, or the disk is full.
    """
    from lpbench.executors.torch_engine import tile_cache
    from lpbench.executors.torch_engine.build import build_tuner
    from lpbench.executors.torch_engine.choice import TRITON, pick_kernels
    from lpbench.executors.torch_engine.device import (
        DTYPES,
        cache_bytes,
        compute_on,
        errors_of_the_device,
        pick_device,
        shared_bytes,
    )
    from lpbench.executors.torch_engine.kernels.tile_table import TileTable
    from lpbench.executors.torch_engine.stopwatch import CudaStopwatch

    numbers = choose_rows(rows)
    shape, precision = _find_model(model, dtype)
    place = pick_device(device)
    computed_in = DTYPES[precision.computed_in]
    pick_kernels(shape, device=place, dtype=computed_in, layers=TRITON)
    path, key = tile_cache.cache_path(), tile_cache.TileKey.of(shape, precision, str(place))
    table = TileTable.of(
        shape, dtype=computed_in, mxfp4=precision.is_packed, major=key.capability[0]
    )
    tile_cache.check_cache(path)
    compute_on(place)
    with errors_of_the_device(f"experts of {shape.name!r} were tuned"):
        listener.stage("draw weights", 1)
        tuner = build_tuner(
            shape, precision, device=str(place), cache_bytes=cache_bytes(place) or 0
        )
        outcomes = tune_rows(
            numbers,
            tuner=tuner,
            table=table,
            most_shared=shared_bytes(place),
            has_tma=key.capability >= _TMA_CAPABILITY,
            stopwatch=partial(CudaStopwatch, place),
            keep=lambda size: tile_cache.write_sizes(path, key, (size,)),
            listener=listener,
        )
        return Tuning(model=shape.name, key=key, path=str(path), outcomes=tuple(outcomes))


def choose_rows(text: str | None) -> tuple[int, ...]:
    """Return the numbers of rows that were asked for.

    Raises:
        InputError: there is one that is not tuned.
    """
    from lpbench.executors.torch_engine.kernels.tile_table import TUNED_ROWS

    if text is None:
        return TUNED_ROWS
    found = listed_counts("--rows", text, most=TUNED_ROWS[-1])
    for rows in found:
        if rows not in TUNED_ROWS:
            msg = f"--rows {rows} is no power of two; accepted: 1, 2, 4 and so on to"
            raise InputError(f"{msg} {TUNED_ROWS[-1]}")
    return found


def _find_model(model: str, dtype: str) -> tuple[ModelShape, Precision]:
    """Return the geometry and the precision.

    Raises:
        InputError: one is not known, or they do not go together.
    """
    from lpbench.executors.torch_engine.checkpoint import check_family, check_packed

    if dtype not in TUNED_DTYPES:
        raise InputError(unknown("dtype", dtype, known=TUNED_DTYPES))
    shape, _ = find_shape(model)
    precision = PRECISIONS[dtype]
    check_family(shape)
    if precision.is_packed:
        check_packed(shape)
    return shape, precision


def tune_rows(
    numbers: Sequence[int],
    *,
    tuner: "Tuner",
    table: "TileTable",
    most_shared: int,
    has_tma: bool,
    stopwatch: "Callable[[], Stopwatch]",
    keep: "Callable[[TunedSize], None]",
    listener: Listener,
) -> "Iterator[Outcome]":
    """Yield what is found for each number of rows, once it is kept.

    Args:
        numbers: of rows.
        tuner: what tunes.
        table: the shipped tiles.
        most_shared: bytes of shared memory that a program can have.
        has_tma: whether the chip has the copy engine.
        stopwatch: makes what times, anew for each number of rows, whose memory goes with it.
        keep: keeps what was found.
        listener: hears how far it is.
    """
    from lpbench.executors.torch_engine.kernels.candidates import candidates
    from lpbench.executors.torch_engine.tile_cache import TunedSize
    from lpbench.executors.torch_engine.tuning import FINALS, HEATS

    for rows in numbers:
        pairs = rows * table.top_k
        shipped = table.shipped(pairs)
        tried = candidates(
            shipped,
            mean_pairs=pairs / table.num_experts,
            value_bytes=table.dtype.itemsize,
            mxfp4=table.mxfp4,
            most_shared=most_shared,
            has_tma=has_tma,
        )
        listener.stage(f"{rows} rows", len(tried) + HEATS + FINALS)
        found = tuner.tune(
            rows, shipped, tried, stopwatch=stopwatch(), progress=partial(listener.advance, 1)
        )
        keep(
            TunedSize(
                rows=rows,
                tiles=found.best if found.wins else None,
                shipped_ms=found.shipped_ms,
                tuned_ms=found.best_ms if found.wins else None,
                noise=found.noise,
                tuned_at=datetime.now(UTC),
                lpbench_version=__version__,
            )
        )
        yield found
