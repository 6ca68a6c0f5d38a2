"""The tiles of a run's expert kernels, and what its record says of them.

Owns: the look into the tuning cache, once a run.
Must not know: how tiles are tuned, what a kernel does with them.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from lpbench.errors import InputError
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision

if TYPE_CHECKING:
    from lpbench.executors.torch_engine.kernels.tile_table import TileTable


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTiles:
    """What a run computes with.

    Attributes:
        table: the tiles by rows.
        ignored: why the cache was not looked into, without a path; None where it was.
    """

    table: "TileTable"
    ignored: str | None

    @property
    def facts(self) -> dict[str, JsonValue]:
        """What the record says: ranges of rows, those of padding included, and their tiles.

        The last range has no last number.
        """
        tiles: list[JsonValue] = [
            {"rows": [one.first, one.last], "source": one.source, **asdict(one.tiles)}
            for one in self.table.ranges()
        ]
        return {"tiles": tiles, "tiles_ignored": self.ignored}


def find_tiles(shape: ModelShape, precision: Precision, device: str) -> RunTiles:
    """Return what was tuned for this model, GPU and Triton over the shipped tiles.

    A cache that cannot be read ends no run: it is ignored, and the record says why.
    """
    from lpbench.executors.torch_engine import tile_cache
    from lpbench.executors.torch_engine.device import DTYPES
    from lpbench.executors.torch_engine.kernels.tile_table import TileTable

    key = tile_cache.TileKey.of(shape, precision, device)
    tuned, ignored = None, None
    try:
        tuned = tile_cache.read_tiles(tile_cache.cache_path(), key)
    except tile_cache.UnreadableCacheError as error:
        ignored = f"{tile_cache.FILE} {error.reason}; the experts ran on shipped tiles"
    except InputError as error:
        ignored = f"{error}; the experts ran on shipped tiles"
    table = TileTable.of(
        shape,
        dtype=DTYPES[precision.computed_in],
        mxfp4=precision.is_packed,
        major=key.capability[0],
        tuned=tuned,
    )
    return RunTiles(table=table, ignored=ignored)
