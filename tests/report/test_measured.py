from collections.abc import Mapping

from lpbench.bench.dram import COUNTERS_PASS
from lpbench.record.schema import Reading, Record
from lpbench.report.measured import measured_notes, measured_tables
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


def with_readings(readings: Mapping[str, Reading], *, copies: int = 0) -> Record:
    """Return the example record, its first arm measured, and so often again at the end."""
    first, second = example_record().arms
    assert first.ledger.reread_factor is not None
    changes = {
        "metrics": {**first.metrics, **readings},
        "ledger": first.ledger.model_copy(
            update={"reread_factor": measured(1.25, source="cupti over router")}
        ),
    }
    mine = first.model_copy(update=changes)
    return example_record(arms=(mine, second, *([mine] * copies)))


def test_nothing_measured_is_no_table() -> None:
    """On a CPU neither a table nor a word."""
    assert () == measured_tables(example_record())
    assert () == measured_notes(example_record())


def test_measured_stands_beside_counted() -> None:
    """By whom, with what is left open below; in brackets with the codes what is not valid."""
    doubted = measured(2.5e9, source="cupti pm sampling").model_copy(
        update={"validity": "invalid", "reasons": ("fits_in_cache",)}
    )
    record = with_readings(
        {
            "dram_bytes_read": measured(7e9, source="cupti pm sampling", uncertainty=2e7),
            "dram_bytes_written": measured(1e9, source="cupti pm sampling"),
            "expert_bytes_measured": doubted,
            "expert_kernel_bytes_read": measured(2.1e9, source="ncu, kernels: 9"),
        }
    )
    (table,) = measured_tables(record)
    assert ("", "by", "chunked", "layered") == table.columns
    rows = {row[:2]: row[2:] for row in table.rows}
    assert ("7.00 GB\n±20.00 MB", "-\nno_device") == rows["DRAM read", "cupti"]
    assert "1.00 GB" == rows["DRAM written", "cupti"][0]
    assert ("2.00 GB", "1.20 GB") == rows["experts", "count"]
    assert "(2.50 GB)\nfits_in_cache" == rows["experts", "cupti"][0]
    assert "2.10 GB" == rows["experts' kernels, read", "ncu"][0]
    assert ("1.25", "-") == rows["measured over counted", ""]
    slopes, kernels = measured_notes(record)
    assert slopes.startswith("DRAM bytes measured by cupti pm sampling, in a pass of its own")
    assert kernels.startswith("ncu sums what the experts' kernels read")


def test_ncu_alone_has_no_slopes() -> None:
    """What is said is what was done."""
    record = with_readings({"expert_kernel_bytes_read": measured(1, source="ncu, kernels: 9")})
    (said,) = measured_notes(record)
    assert said.startswith("ncu sums")


def test_many_schedules_take_more_tables() -> None:
    """Four stand side by side."""
    readings = {"dram_bytes_gpm": measured(7e9, source="gpm: NVIDIA H200")}
    tables = measured_tables(with_readings(readings, copies=3))
    assert [2 + 4, 2 + 1] == [len(table.columns) for table in tables]
