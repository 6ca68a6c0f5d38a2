"""Whether what is modelled here follows what was reported: by a rule that is the same everywhere.

Owns: the rule: when a figure is off, when a claim holds, the verdict on a table and its reasons.
Must not know: how ours came about, how it is shown.

A figure is off where ours differs from the reported one by more than 25 % of it and its reading's
tolerance; from an upper bound, upwards.

A claim is a relation, one figure over another, or the level of one. A relation holds where ours
has the same direction, up or down, and where the change is within 25 % of the reported change: of a
reported -40 %, from -30 to -50 %. Sizes are judged by the change and not by the ratio, as every
small change has a ratio near 1. Below 1 % there is no direction. A level holds where it is not off,
or is below the bound; it has no direction of its own.

- follows: every claim holds.
- follows in part: not every claim, but a headline claim has the reported direction.
- does not follow: no headline claim has it.

What cannot be judged, as ours is absent, does not hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lpbench.analysis.reported import Cell, Claim, PaperTable
from lpbench.record.schema import Reading

WITHIN = 0.25
"""Share of the reported figure, or change, by which ours may differ."""

LEAST_CHANGE = 0.01
"""Changes that are smaller have no direction."""

Word = Literal["follows", "follows in part", "does not follow"]
Status = Literal["holds", "size off", "not so", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A reported figure and ours."""

    cell: Cell
    ours: Reading

    @property
    def ratio(self) -> float | None:
        """Ours over the reported; None for a bound, and where either is not there."""
        cell, value = self.cell, self.ours.value
        if value is None or not cell.value or cell.bound == "below":
            return None
        return value / cell.value

    @property
    def is_off(self) -> bool:
        """Whether ours is there, is held to the reported, and is not near it."""
        cell, value = self.cell, self.ours.value
        if value is None or cell.value is None or not cell.is_target:
            return False
        margin = WITHIN * abs(cell.value) + (cell.tolerance or 0)
        apart = value - cell.value
        return (apart if cell.bound == "below" else abs(apart)) > margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A claim, what was reported and what ours says.

    Attributes:
        claim: what is claimed.
        reported: the ratio, or the level in the cell's unit.
        ours: the same of ours; None where it is absent.
        status: whether it holds; "not so": ours has another direction, or none, or another level.
    """

    claim: Claim
    reported: float
    ours: float | None
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A table: every figure beside ours, every claim judged, and the verdict."""

    table: PaperTable
    figures: tuple[Beside, ...]
    claims: tuple[Judged, ...]

    @property
    def word(self) -> Word:
        """The verdict."""
        if all(one.status == "holds" for one in self.claims):
            return "follows"
        headlines = [one for one in self.claims if one.claim.headline]
        if any(one.status in ("holds", "size off") for one in headlines):
            return "follows in part"
        return "does not follow"

    @property
    def off(self) -> tuple[Beside, ...]:
        """The figures that are off."""
        return tuple(one for one in self.figures if one.is_off)

    @property
    def targets(self) -> tuple[Beside, ...]:
        """The figures that could be."""
        return tuple(
            one for one in self.figures if one.cell.is_target and one.cell.value is not None
        )


def agree(
    table: PaperTable, ours: Mapping[str, Reading], *, cautions: Sequence[str] = ()
) -> Agreement:
    """Put ours beside every reported figure and judge the claims.

    Args:
        table: what was reported.
        ours: by the name of a cell, in its unit.
        cautions: what to know of ours; they join the table's caveats.
    """
    figures = tuple(Beside(cell=cell, ours=ours[cell.name]) for cell in table.cells)
    return Agreement(
        table=replace(table, caveats=(*table.caveats, *cautions)),
        figures=figures,
        claims=tuple(_judge(table.claims, figures)),
    )


def _judge(claims: Sequence[Claim], figures: Sequence[Beside]) -> Iterator[Judged]:
    by_name = {one.cell.name: one for one in figures}
    for claim in claims:
        of = by_name[claim.of]
        yield _relation(claim, of, by_name[claim.over]) if claim.over else _level(claim, of)


def _level(claim: Claim, of: Beside) -> Judged:
    reported, ours = of.cell.value, of.ours.value
    assert reported is not None, claim
    status: Status = "holds"
    if ours is None:
        status = "absent"
    elif of.is_off or (of.cell.bound == "below" and ours >= reported):
        status = "not so"
    return Judged(claim=claim, reported=reported, ours=ours, status=status)


def _relation(claim: Claim, of: Beside, over: Beside) -> Judged:
    reported = claim.ratio
    if reported is None:
        assert of.cell.value is not None, claim
        assert over.cell.value, claim
        reported = of.cell.value / over.cell.value
    if of.ours.value is None or not over.ours.value:
        return Judged(claim=claim, reported=reported, ours=None, status="absent")
    ours = of.ours.value / over.ours.value
    status = _compare(reported - 1, ours - 1, tolerance=claim.tolerance)
    return Judged(claim=claim, reported=reported, ours=ours, status=status)


def _compare(reported: float, ours: float, *, tolerance: float) -> Status:
    """Return whether a change is the reported one."""
    if abs(ours) < LEAST_CHANGE or (ours > 0) != (reported > 0):
        return "not so"
    if abs(ours - reported) > WITHIN * abs(reported) + tolerance:
        return "size off"
    return "holds"
