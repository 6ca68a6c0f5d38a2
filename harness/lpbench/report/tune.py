"""What `lpbench tune` says: the shipped tiles beside the best ones, and which are kept.

Owns: the words and the rounding.
Must not know: how a time was taken.
"""

from lpbench.bench.tune import Tuning
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, Tile
from lpbench.executors.torch_engine.tuning import FINALS, MOST_LOST, Outcome
from lpbench.report.table import Table

ABSENT = "-"


def tuning_table(tuning: Tuning) -> Table:
    """Return a row for every number of rows that was tuned."""
    return Table(
        title=f"{tuning.model}, {tuning.key.dtype} on {tuning.key.device}, one layer's experts",
        columns=("rows", "shipped\nus", "best\nus", "gain", "noise", "tiles kept"),
        rows=tuple(_row(one) for one in tuning.outcomes),
        left=(5,),
    )


def _row(found: Outcome) -> tuple[str, ...]:
    best, gain = ABSENT, ABSENT
    if found.best_ms is not None:
        best, gain = f"{found.best_ms * 1e3:.1f}", f"{1 - found.best_ms / found.shipped_ms:.1%}"
    kept = "shipped"
    if found.wins and found.best is not None:
        kept = "\n".join(tiles_in_words(found.best))
    return (
        str(found.rows),
        f"{found.shipped_ms * 1e3:.1f}",
        best,
        gain,
        f"{found.noise:.1%}",
        kept,
    )


def tiles_in_words(tiles: ExpertTiles) -> tuple[str, str]:
    """Return pairs of a block with the tile of gate and up, and the tile of down."""
    return f"{tiles.block_rows}: {_in_words(tiles.gate_up)}", f"down: {_in_words(tiles.down)}"


def _in_words(tile: Tile) -> str:
    grouped = f" g{tile.group_rows}" if tile.group_rows > 1 else ""
    engine = " TMA" if tile.tma else ""
    return f"{tile.columns} x {tile.inner} w{tile.warps} s{tile.stages}{grouped}{engine}"


def tuning_notes(tuning: Tuning) -> tuple[str, ...]:
    """Return how the figures came about, what was left out, and where the tiles are."""
    found = tuning.outcomes
    tried, lost = sum(one.candidates for one in found), sum(one.not_compiled for one in found)
    said = [
        (
            "Times are medians by CUDA events around captured work, on random rows routed "
            "uniformly and weights from memory; noise: the shipped tiles against themselves."
        ),
        (
            "The best takes the place of the shipped tiles where its median gain exceeds the "
            f"noise and it was faster in {FINALS - MOST_LOST} of {FINALS} rounds run anew, or more."
        ),
        (
            "Tiles: pairs of a block: columns x inner values of gate and up, then of down; w "
            "warps, s stages, g blocks side by side, TMA where the chip's engine copies."
        ),
        f"{tried} candidates were timed; {lost} could not be compiled or launched here.",
    ]
    said += [
        f"Warning: {one.rows} rows: refused for a wrong result: "
        + "; ".join(", ".join(tiles_in_words(tiles)) for tiles in one.wrong)
        for one in found
        if one.wrong
    ]
    return (*said, f"Written to {tuning.path}, from where runs with --kernels triton take them.")
