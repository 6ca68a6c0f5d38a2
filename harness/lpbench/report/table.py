"""A table as plain values, to be drawn by whoever has a screen.

Owns: the value.
Must not know: terminals, colours.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows of text.

    Attributes:
        title: a line above, or empty.
        columns: the headings; a heading may have several lines.
        rows: the cells; a cell may have several lines.
        left: which columns are left-aligned: those of words. Numbers stand right.
    """

    title: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)
