"""What the paper and a re-run of its code report: one data file a table, results/paper/*.toml.

Owns: the files: every reported number with its unit, where it is from and how it was had, and which
run of ours stands beside it.
Must not know: how ours is run, how the two compare.

    title = "..."             # about = what was reported on, setup = how ours is made
    caveats = ["..."]         # what to know before comparing
    cells = [{ name = "ttft.chunked", row = "mean TTFT", column = "chunked", unit = "s",
               value = 2.8, mark = "F2", sources = ["H"], run = "chunked", metric = "..." }]
    claims = [{ says = "...", of = "ttft.layered", over = "ttft.chunked", headline = true }]
    [sources]                 # by key, where the numbers were found
    [base]                    # options that all runs of ours share, as a suite spells them
    [runs]                    # by name, what each run has besides
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.registry import unknown

MARKS: Mapping[str, str] = {
    "F": "found in a source",
    "F2": "second-hand, from notes by readers of the paper's full text",
    "I": "computed for this project from reported figures",
    "P": "read off the pixels of a plot",
}
"""How a reported number was had."""

AT_SLO = "slo"
"""Instead of a rate: the highest at which enough requests meet the SLO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A number of a table, and which of ours stands beside it.

    Attributes:
        name: what claims call it.
        row: of its table.
        unit: of `value` and of ours.
        run: which run of the file ours is from.
        metric: of that run.
        column: of its table; empty for a table of one column.
        value: as reported; None where ours alone is shown.
        bound: below, where the value is an upper bound; about, where the source says so.
        mark: how it was had, of `MARKS`; empty without a value.
        sources: keys of the file's sources.
        tolerance: by how much the reading may be off either way, in the unit; None where unstated.
        at: requests per second, or `AT_SLO`; None for what the run states.
        per: what ours is divided by: request, or rank (devices that share the model).
        is_target: whether ours is held to it; a caveat says why not.
    """

    name: str
    row: str
    unit: str
    run: str
    metric: str
    column: str = ""
    value: float | None = None
    bound: Literal["", "about", "below"] = ""
    mark: str = ""
    sources: tuple[str, ...] = ()
    tolerance: float | None = None
    at: float | str | None = None
    per: Literal["", "request", "rank"] = ""
    is_target: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a table says: a cell over another, or a cell alone.

    Attributes:
        says: in words.
        of: the cell.
        over: the cell it is compared with; empty for the level of `of`.
        headline: whether the table is about this.
        ratio: `of` over `over` as reported; None where it follows from the cells.
        tolerance: by how much that may be off either way.
        mark: how it was had; empty without a ratio.
        sources: keys of the file's sources.
    """

    says: str
    of: str
    over: str = ""
    headline: bool = False
    ratio: float | None = None
    tolerance: float = 0.0
    mark: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """One table or figure, or a re-run.

    Attributes:
        name: of its file.
        title: a line.
        about: what was reported on.
        setup: how ours is made.
        caveats: what to know before comparing.
        cells: the numbers.
        claims: what they say.
        sources: by key, where the numbers were found.
        base: options that all runs of ours share.
        runs: by name, options that each has besides.
    """

    name: str
    title: str
    about: str
    setup: str
    caveats: tuple[str, ...]
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]
    sources: Mapping[str, str]
    base: Mapping[str, object]
    runs: Mapping[str, Mapping[str, object]]

    def options(self, run: str) -> dict[str, object]:
        """Return all options of a run."""
        return {**self.base, **self.runs[run]}


def paper_names() -> tuple[str, ...]:
    """Return the names of the tables."""
    return tuple(sorted(path.stem for path in data_folder("results", "paper").glob("*.toml")))


def find_paper_tables(names: Sequence[str]) -> tuple[PaperTable, ...]:
    """Return the tables of these names, each once; all where none is named.

    Raises:
        InputError: there is no such table.
    """
    known = paper_names()
    for name in names:
        if name not in known:
            raise InputError(unknown("table", name, known=known))
    return tuple(_read(name) for name in dict.fromkeys(names or known))


def _read(name: str) -> PaperTable:
    path = data_folder("results", "paper") / f"{name}.toml"
    entry = tomllib.loads(path.read_text(encoding="utf-8"))
    cells = tuple(Cell(**_tupled(cell)) for cell in entry.pop("cells"))
    claims = tuple(Claim(**_tupled(claim)) for claim in entry.pop("claims"))
    caveats = tuple(entry.pop("caveats"))
    return PaperTable(name=name, cells=cells, claims=claims, caveats=caveats, **entry)


def _tupled(entry: Mapping[str, object]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
