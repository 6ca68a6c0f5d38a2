"""The verdict's rule on tables made up for it."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.analysis.agreement import Agreement, agree
from lpbench.analysis.reported import Cell, Claim, PaperTable
from lpbench.record.schema import Reading

REPORTED = {"chunked": 10.0, "layered": 6.0, "level": 50.0}
RELATION = Claim(says="layered needs less", of="layered", over="chunked", headline=True)
LEVEL = Claim(says="half", of="level")


def table(*claims: Claim, **changes: Cell) -> PaperTable:
    """Return a table of the three cells and some claims."""
    cells = {
        name: Cell(
            name=name,
            row=name,
            unit="s",
            run="r",
            metric="m",
            value=value,
            mark="F",
            sources=("S",),
        )
        for name, value in REPORTED.items()
    }
    return PaperTable(
        name="made-up",
        title="",
        about="",
        setup="",
        caveats=(),
        cells=tuple({**cells, **changes}.values()),
        claims=claims,
        sources={},
        base={},
        runs={"r": {}},
    )


def reading(value: float | None) -> Reading:
    """Return a modelled reading."""
    return Reading(
        value=value,
        unit="s",
        method="modelled",
        source="made up",
        validity="absent" if value is None else "valid",
        reasons=("no_reason",) if value is None else (),
        pass_="latency",  # noqa: S106 - a pass over the workload, no password
    )


def judged(paper: PaperTable, **ours: float | None) -> Agreement:
    """Return the agreement with these values of ours, the reported ones for the others."""
    values: Mapping[str, float | None] = {**REPORTED, **ours}
    return agree(paper, {name: reading(value) for name, value in values.items()})


def test_the_reported_numbers_follow_themselves() -> None:
    """Every claim holds, nothing is off."""
    found = judged(table(RELATION, LEVEL))
    assert "follows" == found.word
    assert ({"holds"}, ()) == ({one.status for one in found.claims}, found.off)
    assert [1.0, 1.0, 1.0] == [one.ratio for one in found.figures]


@pytest.mark.parametrize(
    ("ours", "status"),
    [
        (6.0, "holds"),
        (7.0, "holds"),  # -30 % for -40 %
        (5.0, "holds"),  # -50 %
        (7.01, "size off"),
        (4.99, "size off"),
        (9.89, "size off"),
        (9.91, "not so"),  # less than a per cent is no direction
        (10.0, "not so"),
        (14.0, "not so"),
        (None, "absent"),
    ],
)
def test_a_relation_holds_within_a_quarter_of_the_change(ours: float | None, status: str) -> None:
    """Of a reported -40 %, from -30 to -50 %; the ratio of ratios is not what is judged."""
    (found,) = judged(table(RELATION), layered=ours).claims
    assert status == found.status


def test_scale_does_not_matter_to_a_relation() -> None:
    """All of ours ten times as large: the claim holds, and the figures are off."""
    found = judged(table(RELATION), chunked=100.0, layered=60.0)
    assert ("follows", ["chunked", "layered"]) == (
        found.word,
        [one.cell.name for one in found.off],
    )


def test_follows_in_part() -> None:
    """The direction of the headline with another size, or with another claim that fails."""
    assert "follows in part" == judged(table(RELATION), layered=9.0).word
    found = judged(table(RELATION, LEVEL), level=80.0)
    assert ("follows in part", ["half"]) == (
        found.word,
        [one.claim.says for one in found.claims if one.status != "holds"],
    )


def test_does_not_follow() -> None:
    """The headline's direction is not ours, whatever else holds; nor is it where ours is absent."""
    assert "does not follow" == judged(table(RELATION, LEVEL), layered=11.0).word
    assert "does not follow" == judged(table(RELATION, LEVEL), layered=None).word


def test_an_upper_bound_is_kept_below() -> None:
    """Above it the claim fails; the figure is off where it is by a quarter."""
    bound = Cell(
        name="level", row="", unit="s", run="r", metric="m", value=50.0, bound="below", mark="F"
    )
    claims = {
        value: judged(table(LEVEL, level=bound), level=value) for value in (1.0, 49.0, 51.0, 63.0)
    }
    assert ["holds", "holds", "not so", "not so"] == [
        found.claims[0].status for found in claims.values()
    ]
    assert [False, False, False, True] == [bool(found.off) for found in claims.values()]
    assert claims[1.0].figures[-1].ratio is None


def test_what_a_reading_may_be_off_counts() -> None:
    """A figure of 50 read off to 5 either way is off from 67.5 up."""
    read = Cell(name="level", row="", unit="s", run="r", metric="m", value=50.0, tolerance=5.0)
    assert [False, True] == [
        bool(judged(table(level=read), level=value).off) for value in (67.4, 67.6)
    ]


def test_a_figure_that_is_no_target_is_never_off() -> None:
    """Its ratio is shown all the same."""
    loose = Cell(name="level", row="", unit="s", run="r", metric="m", value=50.0, is_target=False)
    found = judged(table(level=loose), level=500.0)
    assert () == found.off
    assert [10.0] == [one.ratio for one in found.figures if one.cell is loose]


def test_a_ratio_may_be_reported_by_itself() -> None:
    """Its own tolerance counts; the cells need no value."""
    bare = {
        name: Cell(name=name, row="", unit="s", run="r", metric="m")
        for name in ("chunked", "layered")
    }
    claim = Claim(says="", of="layered", over="chunked", ratio=0.9, tolerance=0.01, headline=True)
    for ours, status in ((9.0, "holds"), (8.66, "holds"), (8.64, "size off")):
        (found,) = judged(table(claim, **bare), layered=ours).claims
        assert (status, 0.9) == (found.status, found.reported)


def test_cautions_of_ours_join_the_caveats() -> None:
    """Behind the table's own; the table itself stays as it is."""
    paper = table(RELATION)
    found = agree(paper, {name: reading(1.0) for name in REPORTED}, cautions=["ours, r: doubt"])
    assert (*paper.caveats, "ours, r: doubt") == found.table.caveats


@given(st.floats(min_value=0.1, max_value=100))
def test_a_claim_that_holds_has_the_direction(ours: float) -> None:
    """Never does one hold that says more where less was reported."""
    (found,) = judged(table(RELATION), layered=ours).claims
    if found.status in ("holds", "size off"):
        assert ours < REPORTED["chunked"]
