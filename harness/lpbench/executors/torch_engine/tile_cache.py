"""The tuning cache: tiles that `lpbench tune` found, in a file beside all others of this user.

Owns: where the file lies, its form, what of it is taken for a device, a model and a Triton.
Must not know: how tiles are tuned, what a run does with them.

A writer reads the file, puts its own sizes in and replaces the file whole: a reader never sees half
of one. There is no lock, so that of two writers at the same moment one may lose the sizes of the
other, which are then tuned again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
)

from lpbench.errors import InputError
from lpbench.executors.torch_engine.kernels.expert_tiles import (
    FEWEST_BLOCK_ROWS,
    MOST_BLOCK_ROWS,
    ExpertTiles,
)
from lpbench.executors.torch_engine.kernels.tile_table import REVISION, TUNED_ROWS
from lpbench.record.provenance import installed_version
from lpbench.record.store import check_writable, write_atomically
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision

FILE = "expert-tiles.json"

FOLDER_VARIABLE = "LPBENCH_CACHE"

VERSION: Literal[1] = 1

_LEAST_SIZE = 32
"""Of a tile: values of mxfp4 that share a scale, and twice what tensor cores take at least."""

_MOST_SIZE, _MOST_WARPS, _MOST_STAGES, _MOST_GROUP = 256, 16, 8, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TileKey:
    """What tiles are tuned for.

    Attributes:
        device: name of the GPU.
        capability: its compute capability.
        hidden_size: of the model.
        expert_size: inner width of an expert.
        num_experts: of a layer.
        top_k: experts of a row.
        dtype: of the weights, as the user calls it.
        triton: version of Triton; None where that is not known.
        kernels: revision of the kernels and of the shipped tiles.
    """

    device: str
    capability: tuple[int, int]
    hidden_size: int
    expert_size: int
    num_experts: int
    top_k: int
    dtype: str
    triton: str | None
    kernels: int = REVISION

    @classmethod
    def of(cls, shape: ModelShape, precision: Precision, device: str) -> "TileKey":
        """Return the key of a model on a GPU of this machine, such as "cuda:0"."""
        return cls(
            device=torch.cuda.get_device_name(device),
            capability=torch.cuda.get_device_capability(device),
            hidden_size=shape.hidden_size,
            expert_size=shape.expert_size,
            num_experts=shape.num_experts,
            top_k=shape.top_k,
            dtype=precision.name,
            triton=installed_version("triton"),
        )


def _check_tiles(tiles: ExpertTiles) -> ExpertTiles:
    """Hold tiles to what a kernel can be compiled with.

    Raises:
        ValueError: they are not.
    """
    sizes = [tiles.block_rows]
    limits = FEWEST_BLOCK_ROWS <= tiles.block_rows <= MOST_BLOCK_ROWS
    for tile in (tiles.gate_up, tiles.down):
        sizes += [tile.columns, tile.inner, tile.warps]
        limits &= min(tile.columns, tile.inner) >= _LEAST_SIZE
        limits &= max(tile.columns, tile.inner) <= _MOST_SIZE
        limits &= 1 <= tile.warps <= _MOST_WARPS and 1 <= tile.stages <= _MOST_STAGES
        limits &= 1 <= tile.group_rows <= _MOST_GROUP
    if not limits or any(size.bit_count() != 1 for size in sizes):
        raise ValueError("no tiles")
    return tiles


def _check_rows(rows: int) -> int:
    if rows not in TUNED_ROWS:
        raise ValueError("no number of rows that is tuned")
    return rows


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TunedSize(_Part):
    """What was found for one number of rows.

    Attributes:
        rows: of the batch.
        tiles: what takes the shipped tiles' place; null where they stay.
        shipped_ms: one layer's experts with the shipped tiles.
        tuned_ms: the same with `tiles`; null where the shipped ones stay.
        noise: how much two times of the shipped tiles differ, as a ratio less 1.
        tuned_at: when.
        lpbench_version: by which version.
    """

    rows: Annotated[int, AfterValidator(_check_rows)]
    tiles: Annotated[ExpertTiles, AfterValidator(_check_tiles)] | None
    shipped_ms: Annotated[FiniteFloat, Field(gt=0)]
    tuned_ms: Annotated[FiniteFloat, Field(gt=0)] | None
    noise: Annotated[FiniteFloat, Field(ge=0)]
    tuned_at: AwareDatetime
    lpbench_version: str


class Entry(_Part):
    """The sizes of one key, by ascending rows."""

    key: TileKey
    sizes: tuple[TunedSize, ...]


class _File(_Part):
    version: Literal[1]
    entries: tuple[Entry, ...]


class UnreadableCacheError(InputError):
    """A file that is no tuning cache of ours (exit 2).

    Attributes:
        reason: why, without a path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """Say which file and what to do about it."""
        super().__init__(f"{path} {reason}; delete it to tune anew")
        self.reason = reason


def cache_path() -> Path:
    """Return where the file lies: in $LPBENCH_CACHE, or in lpbench of the user's cache folder.

    The latter is $XDG_CACHE_HOME where that is absolute, as the XDG Base Directory Specification
    has it, else ~/.cache.

    Raises:
        InputError: nobody knows the home folder.
    """
    if own := os.environ.get(FOLDER_VARIABLE):
        return Path(own) / FILE
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = base if base.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        raise InputError(f"there is no home folder to cache in; set {FOLDER_VARIABLE}") from None
    return folder / "lpbench" / FILE


def read_tiles(path: Path, key: TileKey) -> Mapping[int, ExpertTiles]:
    """Return what was tuned for a key: tiles by rows. Without a file nothing was.

    Raises:
        UnreadableCacheError: the file is none of ours, of a newer version, or broken.
    """
    entries = (one for one in _read(path).entries if one.key == key)
    return {
        size.rows: size.tiles for one in entries for size in one.sizes if size.tiles is not None
    }


def write_sizes(path: Path, key: TileKey, sizes: Sequence[TunedSize]) -> None:
    """Put sizes of a key into the file, in the place of those of the same rows.

    Raises:
        UnreadableCacheError: what stands there is not to be replaced.
        RunError: the disk is full, or the like; the file is as it was before.
    """
    entries = _read(path).entries
    before = (size for one in entries if one.key == key for size in one.sizes)
    merged = {size.rows: size for size in (*before, *sizes)}
    own = Entry(key=key, sizes=tuple(merged[rows] for rows in sorted(merged)))
    others = (one for one in entries if one.key != key)
    file = _File(version=VERSION, entries=(*others, own))
    write_atomically(path, file.model_dump_json(indent=1) + "\n")


def check_cache(path: Path) -> None:
    """Check that sizes can be put into the file, before any is tuned, and make its folder.

    Raises:
        UnreadableCacheError: what stands there is not to be replaced.
        InputError: the file cannot be written.
    """
    _read(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be made: {error.strerror}") from None
    check_writable(path)


def _read(path: Path) -> _File:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _File(version=VERSION, entries=())
    except UnicodeDecodeError:
        raise UnreadableCacheError(path, "is no text") from None
    except OSError as error:
        raise UnreadableCacheError(path, f"cannot be read ({error.strerror})") from None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableCacheError(path, "is no JSON") from None
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > VERSION:
        newer = f"is of version {version}, this lpbench reads version {VERSION}"
        raise UnreadableCacheError(path, newer)
    try:
        return _File.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UnreadableCacheError(path, f"is no tuning cache: {place}: {first['msg']}") from None
