"""A page's parts as plain values.

Owns: what a section may hold.
Must not know: what a section says, HTML.
"""

from dataclasses import dataclass

from lpbench.report.page.picture import Picture
from lpbench.report.page.told import Figures
from lpbench.report.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a section; the page draws what there is, in this order.

    Attributes:
        words: sentences.
        warnings: sentences to know before trusting a number.
        figures: metrics by schedule.
        labels: the schedules of `figures`.
        pictures: side by side.
        svg: a picture drawn elsewhere, with its alt text.
        tables: of text.
        text: as it stands, such as a command.
        fold: what it is called where it is folded away; empty where it is open.
    """

    words: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figures, ...] = ()
    labels: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    svg: tuple[str, str] | None = None
    tables: tuple[Table, ...] = ()
    text: str = ""
    fold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    blocks: tuple[Block, ...]
