import pytest

from lpbench.analysis.ledger import build_ledger
from lpbench.bench.arm import COUNTS_PASS
from lpbench.record.schema import Ledger, Reading, Record
from lpbench.report.ledger import ledger_tables
from lpbench.shape.passes import PassBytes
from lpbench.testing.records import example_record


def with_ledgers(*ledgers: Ledger) -> Record:
    """Return the example record with one arm per ledger, called by its number."""
    (arm, _) = example_record().arms
    arms = [
        arm.model_copy(update={"label": str(number), "ledger": ledger})
        for number, ledger in enumerate(ledgers)
    ]
    return example_record(arms=arms)


def rows(record: Record) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the figures of the only table, by term and by how it is known."""
    (table,) = ledger_tables(record)
    assert {len(table.columns)} == {len(row) for row in table.rows}
    return {(row[0], row[1]): row[2:] for row in table.rows}


def test_every_column_of_the_ledger_is_a_row() -> None:
    """Counted, modelled term by term, measured and the residuals, a schedule a column."""
    (table,) = ledger_tables(example_record())
    assert ("term", "how", "chunked", "layered") == table.columns
    found = rows(example_record())
    assert ("2.00 GB", "1.20 GB") == found["experts", "counted"]
    assert ("2.50 GB", "1.50 GB") == found["experts, uniform routing", "modelled"]
    assert ("2.00 GB", "1.20 GB") == found["experts, this routing", "modelled"]
    assert ("300.00 MB", "300.00 MB") == found["attention weights", "modelled"]
    assert ("50.00 MB", "50.00 MB") == found["KV read", "modelled"]
    assert ("2.35 GB", "1.55 GB") == found["whole passes", "modelled"]
    assert ("-500.00 MB", "-300.00 MB") == found["counted - uniform", "residual"]
    assert ("0 B", "0 B") == found["counted - this routing", "residual"]


def test_what_was_not_measured_is_absent_with_its_reason() -> None:
    """Never a zero."""
    found = rows(example_record())
    assert ("-", "-") == found["experts", "measured"]
    assert ("-\nno_device",) * 2 == found["whole passes, DRAM", "measured"]
    assert ("-\nno_device",) * 2 == found["re-read factor", "measured"]


def test_what_was_measured_stands_beside_it() -> None:
    """DRAM bytes, their residual to the modelled passes, and the re-read factor."""
    dram = Reading(
        value=5_000_000_000, unit="B", method="measured", source="cupti", pass_=COUNTS_PASS
    )
    experts = dram.model_copy(update={"value": 2_500_000_000})
    ledger = build_ledger(
        counted=2_000_000_000,
        uniform=2e9,
        modelled=PassBytes(experts=2_000_000_000, kv_read=1_000_000_000),
        dram=dram,
        experts=experts,
    )
    found = rows(with_ledgers(ledger))
    assert ("2.50 GB",) == found["experts", "measured"]
    assert ("5.00 GB",) == found["whole passes, DRAM", "measured"]
    assert ("2.00 GB",) == found["DRAM - whole passes", "residual"]
    assert ("1.25",) == found["re-read factor", "measured"]


def test_an_invalid_figure_carries_its_reasons() -> None:
    """The value stands, with what is against it below."""
    (first, *_) = example_record().arms
    dram = Reading(
        value=7_000_000_000,
        unit="B",
        method="measured",
        source="cupti",
        validity="invalid",
        reasons=("impossible_bandwidth",),
        pass_=COUNTS_PASS,
    )
    ledger = first.ledger.model_copy(update={"dram_bytes": dram})
    expected = ("7.00 GB\nimpossible_bandwidth",)
    assert expected == rows(with_ledgers(ledger))["whole passes, DRAM", "measured"]


def test_a_record_that_has_only_experts_is_shown() -> None:
    """What it does not have is absent, in a column beside one that has it."""
    bare = Ledger(counted_bytes=5, modelled_bytes=None)
    (full, _) = example_record().arms
    found = rows(with_ledgers(bare, full.ledger))
    assert ("5 B", "2.00 GB") == found["experts", "counted"]
    assert ("-", "2.50 GB") == found["experts, uniform routing", "modelled"]
    assert ("-", "50.00 MB") == found["KV read", "modelled"]
    assert ("-", "2.35 GB") == found["whole passes", "modelled"]
    assert ("-", "-\nno_device") == found["re-read factor", "measured"]


@pytest.mark.parametrize(("arms", "expected"), [(1, [1]), (4, [4]), (5, [4, 1]), (9, [4, 4, 1])])
def test_many_schedules_make_several_tables(arms: int, expected: list[int]) -> None:
    """No more than four stand side by side."""
    (first, *_) = example_record().arms
    tables = ledger_tables(with_ledgers(*[first.ledger] * arms))
    assert expected == [len(table.columns) - 2 for table in tables]
    assert [str(arm) for arm in range(arms)] == [
        label for table in tables for label in table.columns[2:]
    ]
