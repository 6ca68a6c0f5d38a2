from collections.abc import Mapping

from lpbench.bench.dram import COUNTERS_PASS
from lpbench.record.schema import Reading, Record
from lpbench.report.measured import measured_notes, measured_table
from lpbench.testing.records import example_record


def measured(value: float, *, source: str, uncertainty: float | None = None) -> Reading:
    """Return a reading of the counter pass."""
    return Reading(
        value=value,
        unit="B",
        method="measured",
        source=source,
        pass_=COUNTERS_PASS,
        uncertainty=uncertainty,
    )


def with_readings(readings: Mapping[str, Reading]) -> Record:
    """Return the example record, its first arm measured."""
    first, second = example_record().arms
    assert first.ledger.reread_factor is not None
    changes = {
        "metrics": {**first.metrics, **readings},
        "ledger": first.ledger.model_copy(
            update={"reread_factor": measured(1.25, source="cupti over router")}
        ),
    }
    return example_record(arms=(first.model_copy(update=changes), second))


def test_nothing_measured_is_no_table() -> None:
    """On a CPU neither a table nor a word."""
    assert () == measured_table(example_record())
    assert () == measured_notes(example_record())


def test_measured_stands_beside_counted() -> None:
    """In GB with what is left open below; in brackets with the codes what is not valid."""
    doubted = measured(2.5e9, source="cupti").model_copy(
        update={"validity": "invalid", "reasons": ("fits_in_cache",)}
    )
    record = with_readings(
        {
            "dram_bytes_read": measured(7e9, source="cupti", uncertainty=2e7),
            "dram_bytes_written": measured(1e9, source="cupti"),
            "expert_bytes_measured": doubted,
        }
    )
    (table,) = measured_table(record)
    (first, second) = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert ("7.00\n+-0.02", "1.00", "2.00", "(2.50)\nfits_in_cache", "1.25") == (
        first["read\nGB"],
        first["written\nGB"],
        first["experts\ncounted"],
        first["experts\nmeasured"],
        first["re-read\nfactor"],
    )
    assert ("-", "1.20") == (second["read\nGB"], second["experts\ncounted"])
    (said,) = measured_notes(record)
    assert said.startswith("DRAM bytes measured by cupti, in a pass of its own")
