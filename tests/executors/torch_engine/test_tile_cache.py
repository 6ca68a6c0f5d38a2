"""The file with tuned tiles: where it lies, what stands side by side, what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lpbench.errors import InputError
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, Tile
from lpbench.executors.torch_engine.tile_cache import (
    FILE,
    TileKey,
    TunedSize,
    UnreadableCacheError,
    cache_path,
    check_cache,
    read_tiles,
    write_sizes,
)

KEY = TileKey(
    device="NVIDIA H200",
    capability=(9, 0),
    hidden_size=2048,
    expert_size=768,
    num_experts=128,
    top_k=8,
    dtype="bfloat16",
    triton="3.6.0",
)
TILE = Tile(columns=64, inner=128, warps=4, stages=3, tma=False)
TILES = ExpertTiles(block_rows=16, gate_up=TILE, down=replace(TILE, group_rows=4))


def size(rows: int, tiles: ExpertTiles | None = TILES) -> TunedSize:
    """Return a finding; without tiles the shipped ones stay."""
    return TunedSize(
        rows=rows,
        tiles=tiles,
        shipped_ms=0.5,
        tuned_ms=None if tiles is None else 0.25,
        noise=0.01,
        tuned_at=datetime(2026, 11, 27, tzinfo=UTC),
        lpbench_version="0.1.0",
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LPBENCH_CACHE": "/own", "XDG_CACHE_HOME": "/xdg"}, f"/own/{FILE}"),
        ({"XDG_CACHE_HOME": "/xdg"}, f"/xdg/lpbench/{FILE}"),
        ({"XDG_CACHE_HOME": "relative"}, f"/home/me/.cache/lpbench/{FILE}"),
        ({"LPBENCH_CACHE": "", "XDG_CACHE_HOME": ""}, f"/home/me/.cache/lpbench/{FILE}"),
    ],
)
def test_where_it_lies(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    """Ours first, then the user's cache folder; the XDG specification ignores relative ones."""
    for name in ("LPBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    assert Path(expected) == cache_path()


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container under a user id that no file knows: one line with the variable to set."""
    for name in ("LPBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InputError, match="set LPBENCH_CACHE"):
        cache_path()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Sizes of several writes and keys stand side by side; where shipped tiles stay is nothing."""
    path = tmp_path / FILE
    assert {} == read_tiles(path, KEY)
    other = replace(KEY, dtype="mxfp4")
    changed = replace(TILES, block_rows=32)
    write_sizes(path, KEY, (size(8), size(1)))
    write_sizes(path, other, (size(8),))
    write_sizes(path, KEY, (size(8, changed), size(2, None)))
    assert {1: TILES, 8: changed} == read_tiles(path, KEY)
    assert {8: TILES} == read_tiles(path, other)
    rows = [
        [one["rows"] for one in entry["sizes"]] for entry in json.loads(path.read_text())["entries"]
    ]
    assert [[8], [1, 2, 8]] == rows
    assert [FILE] == [one.name for one in tmp_path.iterdir()]


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "NVIDIA H100"},
        {"capability": (9, 1)},
        {"hidden_size": 1024},
        {"expert_size": 512},
        {"num_experts": 64},
        {"top_k": 4},
        {"dtype": "mxfp4"},
        {"triton": "3.7.1"},
        {"triton": None},
    ],
    ids=str,
)
def test_a_key_takes_its_own_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Another GPU, geometry, precision or Triton has nothing here."""
    write_sizes(tmp_path / FILE, KEY, (size(1),))
    assert {} == read_tiles(tmp_path / FILE, replace(KEY, **changes))


def change_first(changes: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """Return what changes the first size of a file."""

    def changed(text: str) -> str:
        document = json.loads(text)
        changes(document["entries"][0]["sizes"][0])
        return json.dumps(document)

    return changed


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda text: text[: len(text) // 2], "is no JSON"),
        (lambda _: "", "is no JSON"),
        (lambda _: "[" * 100_000, "is no JSON"),
        (lambda _: "{}", "is no tuning cache: version"),
        (lambda _: "[]", "is no tuning cache: the file"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "is of version 2"),
        (lambda text: text.replace('"version": 1', '"version": 0'), "is no tuning cache: version"),
        (change_first(lambda one: one.update(rows=3)), "entries.0.sizes.0.rows"),
        (change_first(lambda one: one.update(shipped_ms=0)), "shipped_ms"),
        (change_first(lambda one: one["tiles"].update(block_rows=8)), "sizes.0.tiles"),
        (change_first(lambda one: one["tiles"]["down"].update(columns=96)), "sizes.0.tiles"),
        (change_first(lambda one: one["tiles"]["down"].update(stages=0)), "sizes.0.tiles"),
        (change_first(lambda one: one["tiles"]["down"].update(warps=64)), "sizes.0.tiles"),
        (change_first(lambda one: one["tiles"]["down"].pop("inner")), "tiles.down.inner"),
    ],
)
def test_what_is_no_cache_of_ours(
    tmp_path: Path, broken: Callable[[str], str], reason: str
) -> None:
    """It is neither read nor replaced; the line names it and the fix, the reason alone no path."""
    path = tmp_path / FILE
    write_sizes(path, KEY, (size(1),))
    path.write_text(broken(path.read_text()))
    before = path.read_bytes()
    for use in (
        lambda: read_tiles(path, KEY),
        lambda: check_cache(path),
        lambda: write_sizes(path, KEY, (size(2),)),
    ):
        with pytest.raises(UnreadableCacheError) as caught:
            use()
        assert str(caught.value).startswith(str(path))
        assert str(caught.value).endswith("; delete it to tune anew")
        assert reason in caught.value.reason
        assert str(tmp_path) not in caught.value.reason
    assert before == path.read_bytes()


def test_bytes_that_are_no_text_and_a_folder(tmp_path: Path) -> None:
    """As any other file that is not ours."""
    path = tmp_path / FILE
    path.write_bytes(b"\xff")
    with pytest.raises(UnreadableCacheError, match="is no text"):
        read_tiles(path, KEY)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnreadableCacheError, match=r"cannot be read \(Is a directory\)"):
        read_tiles(path, KEY)


def test_the_folder_is_made_before_anything_is_tuned(tmp_path: Path) -> None:
    """One that cannot be made is told before minutes have gone by."""
    check_cache(tmp_path / "a" / "b" / FILE)
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        check_cache(tmp_path / "file" / FILE)
