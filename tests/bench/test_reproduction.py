"""What of a run stands beside a cell: its figures, or why there are none, and its cautions."""

from collections.abc import Sequence

import pytest

from lpbench.analysis.reported import AT_SLO, Cell, PaperTable
from lpbench.bench.reproduction import Done, ours_beside
from lpbench.record.schema import Caution, Reading

MODELLED = Caution(code="modelled", message="nothing ran")
UNSURE = Caution(code="rate_not_confirmed", message="chunked: 1.3 requests/s is not confirmed")


def reading(value: float | None, *, unit: str, reasons: Sequence[str] = ()) -> Reading:
    """Return a modelled figure, or one that is absent."""
    return Reading(
        value=value,
        unit=unit,
        method="modelled",
        source="made up",
        validity="absent" if value is None else "valid",
        reasons=tuple(reasons),
        pass_="latency",  # noqa: S106 - a pass over the workload, no password
    )


def done(rate: Reading, *cautions: Caution) -> Done:
    """Return a search that ended at a rate, or at none."""
    readings = {"request_rate_at_slo": rate, "ttft_ms_mean": reading(2400.0, unit="ms")}
    return Done(readings=readings, num_prompts=10, ranks=2, cautions=(MODELLED, *cautions))


def cell(name: str, at: float | str | None, *, metric: str = "ttft_ms_mean") -> Cell:
    """Return a cell of the run `r`."""
    unit = "1/s" if metric == "request_rate_at_slo" else "s"
    return Cell(name=name, row="", unit=unit, run="r", metric=metric, at=at)


def table(*cells: Cell) -> PaperTable:
    """Return a table of these cells."""
    return PaperTable(
        name="t", title="", about="", setup="", caveats=(), cells=cells, claims=(), sources={},
        base={}, runs={"r": {}},
    )  # fmt: skip


def test_a_figure_at_a_rate_that_was_found() -> None:
    """In the unit of the cell."""
    found = ours_beside(
        table(cell("ttft", AT_SLO)), {"ttft": done(reading(1.3, unit="1/s"), UNSURE)}
    )
    assert 2.4 == pytest.approx(found.readings["ttft"].value)
    assert "s" == found.readings["ttft"].unit


@pytest.mark.parametrize("reason", ["slo_missed_at_lowest_rate", "slo_met_at_highest_rate"])
def test_a_figure_at_a_rate_that_is_none(reason: str) -> None:
    """It is absent for the rate's reason: a bound of the search is no rate at which the SLO holds.

    A rate of the cell's own is another matter.
    """
    ended = done(reading(None, unit="1/s", reasons=[reason]))
    cells = (
        cell("ttft", AT_SLO),
        cell("rate", AT_SLO, metric="request_rate_at_slo"),
        cell("fixed", 1.3),
    )
    found = ours_beside(table(*cells), {one.name: ended for one in cells}).readings
    for name in ("ttft", "rate"):
        assert (None, "absent", (reason,)) == (
            found[name].value,
            found[name].validity,
            found[name].reasons,
        )
    assert "s" == found["ttft"].unit
    assert (2.4, "valid") == (found["fixed"].value, found["fixed"].validity)


def test_cautions_are_carried_once() -> None:
    """All but that a figure is modelled, which all are; each with its run."""
    both = table(cell("ttft", AT_SLO), cell("rate", AT_SLO, metric="request_rate_at_slo"))
    ended = done(reading(1.3, unit="1/s"), UNSURE)
    found = ours_beside(both, {"ttft": ended, "rate": ended})
    assert (f"ours, r: {UNSURE.message}",) == found.cautions
