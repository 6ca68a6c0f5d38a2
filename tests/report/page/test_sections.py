"""What a page of one run, of many, of a sweep and of a reproduction is made of."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("altair", reason="the extra `report`")

from lpbench.record.schema import Record
from lpbench.report.page import sections as page
from lpbench.report.page.overview import MOST_LINES
from lpbench.report.page.run import Reproduction, Run, Source, Sweep, find_sources
from lpbench.report.page.section import Block, Section
from lpbench.report.regime import Spot
from lpbench.testing.records import example_record
from tests.paged import EXAMPLE, reading, regime_rows, reproduction, row, write_run
from tests.revalued import example_with

SVG = '<svg role="graphics-document" aria-label="a"></svg>'


def drawn(spots: Sequence[Spot]) -> str:
    """Stand in for the map, which has tests of its own."""
    assert spots
    return SVG


def made(*sources: Source) -> list[Section]:
    """Return the sections of a page."""
    return list(page.sections(sources, heatmap=drawn))


def run(name: str, record: Record | None = None) -> Run:
    """Return a run without lines."""
    return Run(name=name, path=Path("nowhere", name), record=record or example_record())


def words(section: Section) -> str:
    """Return all sentences of a section."""
    return " ".join(line for one in section.blocks for line in (*one.words, *one.warnings))


def pictures(section: Section) -> list[str]:
    """Return the names of its pictures, without the section's."""
    found = [one.name for block in section.blocks for one in block.pictures]
    return [name.removeprefix(f"{section.id}-") for name in found]


def folded(section: Section) -> dict[str, Block]:
    """Return what is folded away."""
    return {one.fold: one for one in section.blocks if one.fold}


def test_one_run_in_full(tmp_path: Path) -> None:
    """Every picture that its record and lines have; its figures, machine and code, folded away."""
    (section,) = made(*find_sources([write_run(tmp_path / "mine")]))
    assert section.title.startswith("mine - traffic: builtin-moe mixed")
    expected = ["tiles", "experts", "ttft", "tbt", "heat", "coverage", "ledger"]
    assert expected == pictures(section)
    found = folded(section)
    assert ["The ledger in figures", "Every reading", "Experiment, machine and code"] == list(found)
    assert '"cpu": "Example CPU"' in found["Experiment, machine and code"].text
    assert "All schedules computed the same tokens" in words(section)
    assert f"lpbench check --baseline {tmp_path / 'mine'}" in words(section)
    assert "verdict" not in words(section).replace("no interval: no verdict", "")


def test_runs_of_one_experiment_have_verdicts() -> None:
    """Six in one section, each metric judged; before it all of them side by side."""
    overview, section = made(*(run(f"run-{at}") for at in range(6)))
    (table,) = (table for block in overview.blocks for table in block.tables)
    assert 12 == len(table.rows)
    assert ("run-0", "traffic", "counted, measured", "chunked", "2", "400", "20", "-", "-") == (
        table.rows[0]
    )
    assert "6 runs: run-0, run-1, run-2, run-3, run-4, run-5." in words(section)
    assert "shortest" not in words(section)
    judged = [block for block in section.blocks if block.tables and not block.fold]
    (verdicts,) = (table for block in judged for table in block.tables)
    assert len(verdicts.rows) > 5


def test_runs_of_several_experiments_are_apart() -> None:
    """One section each, in the order given, and no verdict across them."""
    records = [example_record(spec_hash=one) for one in ("b", "a", "b")]
    overview, first, second = made(*(run(f"r{at}", one) for at, one in enumerate(records)))
    assert "3 runs side by side" == overview.title
    assert ["r0 ", "r1 "] == [one.title[:3] for one in (first, second)]
    assert ["Example CPU"] * 2 == [
        json.loads(folded(one)["Experiment, machine and code"].text)["environment"]["cpu"]
        for one in (first, second)
    ]
    judged = [
        [block for block in one.blocks if block.tables and not block.fold]
        for one in (first, second)
    ]
    assert [] == judged[1]


def test_two_hundred_runs_are_cut_to_what_can_be_read() -> None:
    """A line for each of so many, a dozen in full, and it is said what is left out."""
    records = (EXAMPLE.model_copy(update={"spec_hash": str(at)}) for at in range(250))
    overview, *full = made(*(run(f"r{at}", one) for at, one in enumerate(records)))
    assert page.MOST_DETAILED == len(full)
    (table,) = (table for block in overview.blocks for table in block.tables)
    assert MOST_LINES == len(table.rows)
    assert "100 more lines are left out." in words(overview)
    assert f"The first {page.MOST_DETAILED} experiments are shown in full" in words(overview)


@pytest.mark.parametrize(
    ("machines", "is_said"),
    [
        ([{"cpu": "A"}, {"cpu": "A"}], False),
        ([{"cpu": "A"}, {"cpu": "B"}], True),
        ([{"cpu": "A"}, {}], True),
        ([{"cpu": "A", "device_name": "G"}, {"cpu": "A", "device_name": "G"}], False),
    ],
)
def test_runs_of_two_machines(machines: list[dict[str, str]], *, is_said: bool) -> None:
    """It is said that their times do not compare; of one machine, nothing."""
    overview, *_ = made(
        *(
            run(str(at), example_record(environment=one, spec_hash=str(at)))
            for at, one in enumerate(machines)
        )
    )
    assert is_said == ("several machines" in words(overview))


def test_a_failed_run_is_marked() -> None:
    """In its own section, in the overview, and apart from the complete ones of its experiment."""
    failed = example_record(status="failed", failure="interrupted", arms=(), comparison=())
    overview, complete, broken = made(run("good"), run("bad", failed))
    assert "failed (interrupted)" in words(broken)
    assert "failed" not in words(complete)
    (table,) = (table for block in overview.blocks for table in block.tables)
    assert 2 == len(table.rows)
    failed = example_record(status="failed", failure="interrupted")
    overview, *_ = made(run("good"), run("bad", failed))
    (points,) = (one for block in overview.blocks for one in block.pictures)
    assert "(1 runs; measured)" in points.caption
    rows = [one for block in overview.blocks for table in block.tables for one in table.rows]
    assert ["traffic", "traffic", "traffic FAILED", "traffic FAILED"] == [one[1] for one in rows]


def test_an_invalid_figure_is_marked() -> None:
    """In the overview; and no point is drawn of it."""
    record = example_record()
    arm = record.arms[0]
    invalid = reading(3.0, validity="invalid", reasons=("r",))
    arm = arm.model_copy(update={"metrics": arm.metrics | {"ttft_ms_mean": invalid}})
    overview, _ = made(run("a", example_record(arms=(arm,))), run("b", example_record(arms=(arm,))))
    (table,) = (table for block in overview.blocks for table in block.tables)
    assert "3 (invalid)" == table.rows[0][5]
    assert [] == pictures(overview)


def test_rates_make_a_curve() -> None:
    """Runs of latency at several rates: SLO attainment over them, and TTFT against TBT."""
    records = []
    for rate in (1, 2.5):
        record = example_with(ttft_ms_mean=300.0)
        arms = [
            arm.model_copy(update={"metrics": arm.metrics | {"slo_attainment": reading(1 / rate)}})
            for arm in record.arms
        ]
        spec = record.spec | {"request_rate": rate}
        records.append(
            example_record(command="latency", arms=tuple(arms), spec=spec, spec_hash=str(rate))
        )
    overview, *_ = made(*(run(str(at), one) for at, one in enumerate(records)))
    assert ["pareto", "attainment"] == pictures(overview)


def at_rate(rate: float, share: float, **spec: str) -> Record:
    """Return a latency run at a rate, of which a share meets the SLO."""
    record = example_with(ttft_ms_mean=300.0)
    arms = [
        arm.model_copy(update={"metrics": arm.metrics | {"slo_attainment": reading(share)}})
        for arm in record.arms
    ]
    changed = record.spec | {"request_rate": str(rate)} | spec
    return example_record(
        command="latency", arms=tuple(arms), spec=changed, spec_hash=f"{rate}{spec}"
    )


def test_experiments_have_curves_of_their_own() -> None:
    """Two models at two rates: four curves, not two; runs of one rate are one point."""
    records = [
        at_rate(rate, share, model=model)
        for model in ("a", "b")
        for rate, share in ((1, 1.0), (2, 0.5), (2, 0.7))
    ]
    overview, *_ = made(*(run(str(at), one) for at, one in enumerate(records)))
    (found,) = (
        one for block in overview.blocks for one in block.pictures if one.name == "attainment"
    )
    assert "chunked, a mixed at 2/s: 60%" in found.alt
    assert "layered, b mixed at 1/s: 100%" in found.alt


def test_schedules_at_rates_of_their_own_are_in_no_chart() -> None:
    """A search for the rate has no common load."""
    records = [at_rate(rate, 1.0) for rate in (1, 2)]
    found = [one.model_copy(update={"spec": one.spec | {"find_rate": True}}) for one in records]
    overview, *_ = made(*(run(str(at), one) for at, one in enumerate(found)))
    assert [] == pictures(overview)


def test_a_regime_map_is_drawn_with_its_notes() -> None:
    """Its alt text says what the fields are, and where their figures stand."""
    (section,) = made(Sweep(name="s", rows=tuple(regime_rows())))
    assert "12 rows, a schedule of a cell each: 12 complete." in words(section)
    (svg,) = (block.svg for block in section.blocks if block.svg)
    assert "<svg></svg>" == svg[0]
    assert "4 fields" in svg[1]
    assert "chunked loses to layered" in words(section)


def test_another_sweep_is_a_table() -> None:
    """A line a row with what varied, what it came to, and why where it came to nothing."""
    rows = (
        row("layered", 100, 40).model_copy(update={"point": {"rate": 1, "schedule": "layered"}}),
        row("whole", 9, 9).model_copy(
            update={
                "status": "refused",
                "reason": "too large",
                "metrics": {},
                "point": {"rate": 2, "schedule": "whole"},
            }
        ),
    )
    (section,) = made(Sweep(name="s", rows=rows))
    (table,) = (table for block in section.blocks for table in block.tables)
    assert ("rate", "schedule", "status") == table.columns[:3]
    assert ("1", "layered", "complete", "-", "100") == table.rows[0][:5]
    assert ("2", "whole", "refused: too large") == table.rows[1][:3]
    assert "1 complete, 1 refused" in words(section)


def test_a_long_sweep_is_cut() -> None:
    """The title of its table says so."""
    one = row("layered", 100, 40).model_copy(update={"point": {"schedule": "layered"}})
    (section,) = made(Sweep(name="s", rows=(one,) * (MOST_LINES + 7)))
    (table,) = (table for block in section.blocks for table in block.tables)
    assert MOST_LINES == len(table.rows)
    assert f"the first {MOST_LINES} of {MOST_LINES + 7} rows" == table.title


def test_a_sweep_without_rows() -> None:
    """Is said to have none."""
    (section,) = made(Sweep(name="s", rows=()))
    assert "0 rows" in words(section)


def test_a_reproduction_has_claims_open_and_cells_folded() -> None:
    """Reported beside ours, the ratio, and OFF where they are apart."""
    (section,) = made(Reproduction(name="r", document=reproduction()))
    claims, cells = (table for block in section.blocks for table in block.tables)
    assert (("layered loads less", "2", "1.9", "follows"),) == claims.rows
    assert (("512 load", "764.1", "1,528", "GB", "2", "OFF"),) == cells.rows
    assert "table-1: Table 1" == claims.title
    assert "Bytes alone." in words(section)
    assert ["All figures of table-1"] == list(folded(section))


@pytest.mark.parametrize(
    "document",
    [
        {"tables": []},
        {"tables": [None, 3, "x"]},
        {"tables": [{}], "rule": 3},
        {"tables": [{"cells": [{}], "claims": [{"reported": [], "ours": None}]}]},
        {"tables": [{"cells": [{"reported": 3, "ratio": 10**400}]}]},
        {"tables": [{"cells": [{"ratio": float("nan")}]}]},
    ],
    ids=str,
)
def test_a_reproduction_of_little(document: dict[str, object]) -> None:
    """What is not there is a dash or nothing, never an error."""
    sources = [Reproduction(name="r", document=document)]  # type: ignore[arg-type]
    (section,) = made(*sources)
    assert section.blocks


def test_sections_have_ids_of_their_own() -> None:
    """Whatever a page is made of, and however often."""
    sweep = Sweep(name="s", rows=tuple(regime_rows()))
    paper = Reproduction(name="r", document=reproduction())
    ids = [one.id for one in made(run("a"), sweep, run("b"), sweep, paper, paper)]
    assert 6 == len(ids) == len(set(ids))
