"""The tile picture of a schedule: tokens to the right, layers upwards, iterations as letters.

Owns: the drawing, as lines of text.
Must not know: how the tiles were planned.
"""

from collections.abc import Sequence

from lpbench.plan.grid import Tile

MARKS = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
WIDTH = 64
HEIGHT = 16


def draw_tiles(tiles: Sequence[tuple[int, Tile]], *, num_tokens: int, num_layers: int) -> str:
    """Return the picture.

    Args:
        tiles: (iteration from 0, tile) pairs that cover the prefill.
        num_tokens: tokens of the prompt.
        num_layers: layers of the model.

    Each character stands for the tile at its middle; iterations are marked 1 to 9, a to z, A to Z,
    then from 1 again.
    """
    width, height = min(WIDTH, num_tokens), min(HEIGHT, num_layers)
    lines = []
    for row in reversed(range(height)):
        layer = (2 * row + 1) * num_layers // (2 * height)
        marks = [
            _mark(tiles, (2 * column + 1) * num_tokens // (2 * width), layer)
            for column in range(width)
        ]
        edge = str(num_layers) if row == height - 1 else ""
        lines.append(f"{edge:>8} |{''.join(marks)}|")
    lines.append(f"{'layers 0':>8} +{'-' * width}+")
    lines.append(f"{'':>8}  0{'tokens':^{max(width - 2, 6)}}{num_tokens}")
    return "\n".join(lines)


def _mark(tiles: Sequence[tuple[int, Tile]], token: int, layer: int) -> str:
    for iteration, tile in tiles:
        inside = tile.tokens.start <= token < tile.tokens.stop
        if inside and tile.layers.start <= layer < tile.layers.stop:
            return MARKS[iteration % len(MARKS)]
    return "?"
