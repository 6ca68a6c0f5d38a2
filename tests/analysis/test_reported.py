"""The reported numbers as data: every cell says what it is, and claims point at cells."""

import pytest

from lpbench.analysis.metrics import ALL_METRICS
from lpbench.analysis.reported import AT_SLO, MARKS, PaperTable, find_paper_tables, paper_names
from lpbench.errors import InputError

TABLES = find_paper_tables(())
NAMES = [table.name for table in TABLES]
ONE_SET = ("dtype", "gpu_memory_utilization", "max_num_seqs", "routing", "seed")
"""Options in which no table may differ from another."""


def test_every_file_is_a_table() -> None:
    """The eight that the paper and the re-run give, found by name, each once."""
    paper = ["fig-2", "fig-3", "table-1", "table-2", "table-6", "table-7", "table-8"]
    expected = sorted([*paper, "rerun-2xh200"])
    assert expected == list(paper_names()) == NAMES
    (one,) = find_paper_tables(["table-6", "table-6"])
    assert "table-6" == one.name


def test_an_unknown_table_is_refused() -> None:
    """With the one that was meant."""
    with pytest.raises(InputError, match="did you mean 'table-6'"):
        find_paper_tables(["table-66"])


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_every_reported_number_says_where_it_is_from(table: PaperTable) -> None:
    """A value has a mark and sources, all of them written out; what has no value has neither."""
    assert all(table.sources.values())
    numbers = [(cell.value, cell.mark, cell.sources) for cell in table.cells]
    numbers += [(claim.ratio, claim.mark, claim.sources) for claim in table.claims]
    for value, mark, sources in numbers:
        assert (value is not None) == bool(mark) == bool(sources), (value, mark, sources)
        assert mark in ("", *MARKS)
    assert set(table.sources) == {key for _, _, sources in numbers for key in sources}


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_every_cell_has_a_run_of_ours(table: PaperTable) -> None:
    """Names are unique, runs are there and all used, metrics are declared."""
    names = [cell.name for cell in table.cells]
    assert len(names) == len(set(names))
    assert set(table.runs) == {cell.run for cell in table.cells}
    of_kernels = {"experts_ms", "attention_prefill_ms"}
    for cell in table.cells:
        assert cell.unit
        assert cell.metric in {*ALL_METRICS, *of_kernels}, cell
        assert cell.at is None or cell.at == AT_SLO or float(cell.at) > 0
        assert not (cell.per == "request" and cell.at == AT_SLO), (
            "requests differ from rate to rate"
        )


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_claims_are_on_cells_that_can_be_compared(table: PaperTable) -> None:
    """Both have one unit and a reported value or ratio, whose change has a direction."""
    cells = {cell.name: cell for cell in table.cells}
    assert any(claim.headline for claim in table.claims)
    for claim in table.claims:
        of = cells[claim.of]
        if not claim.over:
            assert of.value is not None
            continue
        over = cells[claim.over]
        assert of.unit == over.unit
        ratio = claim.ratio
        if ratio is None:
            assert of.value is not None
            assert over.value
            ratio = of.value / over.value
        assert abs(ratio - 1) > 0.05, claim


def test_one_set_of_options_is_behind_all_cells() -> None:
    """No table is tuned: none names coefficients, and what is not reported is the same."""
    for table in TABLES:
        for run in table.runs:
            options = table.options(run)
            assert "coefficients" not in options
            assert "calibrated" == options["routing"]
    served = [table.base for table in TABLES if table.base.get("executor") == "roofline"]
    assert len(TABLES) - 1 == len(served)  # coverage alone is no run
    for key in ONE_SET:
        assert 1 == len({str(base[key]) for base in served}), key


def test_changes_that_are_reported_are_not_derived_again() -> None:
    """Table 6 gives both changes of TBT; its levels follow from them (PAPER.md 3.7)."""
    (table,) = find_paper_tables(["table-6"])
    found = {claim.of: (claim.ratio, claim.mark) for claim in table.claims if claim.ratio}
    assert {"tbt.layered": (0.65, "F2"), "tbt_p99.layered": (0.73, "F2")} == found
