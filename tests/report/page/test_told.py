"""What is said of a record, in words and figures."""

import pytest

from lpbench.analysis.metrics import ALL_METRICS
from lpbench.record.schema import Caution, Record
from lpbench.report.page import told
from lpbench.report.page.told import Figures
from lpbench.testing.records import example_record
from tests.revalued import example_with, revalued, without

CHUNKED, LAYERED = example_record().arms


def front(record: Record) -> dict[str, Figures]:
    """Return the figures in front by heading."""
    return {one.name: one for one in told.front_figures(record)}


def test_figures_in_their_units_beside_the_first_schedule() -> None:
    """2 GB against 1.2 GB, 40 % less, counted by the router; the first has nothing beside it."""
    found = front(example_record())["expert weights read, GB"]
    assert [("2", ""), ("1.2", "-40.0%")] == [(one.text, one.beside) for one in found.cells]
    assert (("counted",), ("router",)) == (found.methods, found.sources)
    assert ALL_METRICS["expert_bytes"].meaning == found.meaning


def test_what_nobody_has_is_not_in_front() -> None:
    """No joules in a traffic run; DRAM that nothing measured is among all readings."""
    record = example_record()
    assert not [name for name in front(record) if "joule" in name or "DRAM" in name]
    every = {one.name: one for one in told.all_figures(record)}
    assert {f"{name}, {one.unit}" for name, one in CHUNKED.metrics.items()} == set(every)
    assert [("-", ("no_device",))] * 2 == [
        (one.text, one.reasons) for one in every["dram_bytes_read, B"].cells
    ]


def test_invalid_and_absent_values_keep_their_reasons() -> None:
    """Neither has a difference beside it; an invalid one is shown, with what is against it."""
    time = LAYERED.metrics["ttft_ms_mean"]
    invalid = time.model_copy(update={"validity": "invalid", "reasons": ("clock_slow",)})
    changed = LAYERED.model_copy(update={"metrics": LAYERED.metrics | {"ttft_ms_mean": invalid}})
    record = example_record(arms=(CHUNKED, revalued(changed, tbt_ms_mean=None)))
    found = front(record)
    assert ("400", "", ("clock_slow",)) == _of(found["TTFT mean, ms"])
    assert ("-", "", ("no_such_rows",)) == _of(found["TBT mean, ms"])


def _of(figures: Figures) -> tuple[str, str, tuple[str, ...]]:
    """Return what stands in the second schedule's cell."""
    cell = figures.cells[1]
    return cell.text, cell.beside, cell.reasons


def test_a_metric_that_one_schedule_lacks() -> None:
    """Its cell is a dash without a reason; where the first lacks it nothing stands beside."""
    lacking = without(CHUNKED, "expert_bytes")
    found = front(example_record(arms=(lacking, LAYERED)))["expert weights read, GB"]
    assert [("-", ""), ("1.2", "")] == [(one.text, one.beside) for one in found.cells]


def test_a_repetition_is_called_one() -> None:
    """A/A stands behind its label, and it is no rival."""
    again = LAYERED.model_copy(update={"label": "chunked#2", "role": "aa"})
    record = example_record(arms=(CHUNKED, again))
    assert ("chunked", "chunked#2 (A/A)") == told.labels(record)
    assert not [line for line in told.headlines(record) if "mean T" in line]


def test_who_is_fastest_and_how_sure_that_is() -> None:
    """Against the first schedule, or where that wins, against the next."""
    layered = " ".join(told.headlines(example_with(ttft_ms_mean=300.0)))
    assert "layered has the shortest mean TTFT: 300 ms, 25.0% less than chunked" in layered
    assert "one run, no interval: no verdict" in layered
    chunked = " ".join(told.headlines(example_with(ttft_ms_mean=500.0)))
    assert "chunked has the shortest mean TTFT: 400 ms, layered takes 25.0% longer" in chunked
    record = example_with(ttft_ms_mean=300.0)
    spec = record.spec | {"executor": "roofline"}
    assert "modelled: no noise, no machine" in " ".join(
        told.headlines(record.model_copy(update={"spec": spec}))
    )


def test_a_tie_is_no_victory() -> None:
    """Equal means: both are named, and nobody is called faster."""
    said = list(told.headlines(example_record()))
    assert "chunked and layered have the same mean TTFT, the shortest: 400 ms." in said
    assert not [line for line in said if "ms longer" in line or "% longer" in line]
    assert said[-1].startswith("Requests arrive by iteration")


def test_a_failed_run_says_why_and_claims_nothing() -> None:
    """One line, whatever figures there are."""
    record = example_record(status="failed", failure="interrupted")
    (line,) = told.headlines(record)
    assert "failed (interrupted)" in line
    assert "not comparable" in line


def test_schedules_that_computed_something_else() -> None:
    """The headlines say that their figures do not compare."""
    audit = example_record().audit
    assert audit is not None
    record = example_record(audit=audit.model_copy(update={"far_disagreements": 1}))
    (line,) = told.headlines(record)
    assert "not comparable" in line
    assert not [cell for one in told.front_figures(record) for cell in one.cells if cell.beside]


@pytest.mark.parametrize("arms", [(), (CHUNKED,), (without(CHUNKED, *CHUNKED.metrics),)])
def test_a_record_with_little_in_it(arms: tuple[object, ...]) -> None:
    """None, one, or empty schedules: something is said or nothing, without an error."""
    record = example_record(arms=arms, spec={}, audit=None, comparison=())
    assert all(isinstance(line, str) for line in told.headlines(record))
    assert told.title(record).startswith("traffic")
    assert len(arms) == len(told.labels(record))
    for figures in (*told.front_figures(record), *told.all_figures(record)):
        assert len(arms) == len(figures.cells)


def test_warnings_stand_once_and_name_who_is_left_out() -> None:
    """The same of two schedules is one; the thirteenth is named, not shown."""
    warned = CHUNKED.model_copy(update={"warnings": (Caution(code="c", message="Take care."),)})
    arms = [warned.model_copy(update={"label": f"arm {at}"}) for at in range(13)]
    record = example_record(arms=tuple(arms))
    assert (
        "Take care. [c]",
        "Pictures show the first 6 of 13 schedules, heat maps 3.",
        "Not shown side by side: arm 12.",
    ) == told.warnings(record)
    assert 12 == len(told.labels(record))
    assert {12} == {len(one.cells) for one in told.front_figures(record)}


def test_no_ledger_without_terms() -> None:
    """Where no schedule has modelled terms there is no table."""
    assert told.ledgers(example_record())
    assert () == told.ledgers(example_record(arms=()))


def test_schedules_at_rates_of_their_own_are_not_put_against_each_other() -> None:
    """Of a search for the rate, no time is shorter than another."""
    record = example_record()
    (line,) = told.headlines(record.model_copy(update={"spec": record.spec | {"find_rate": True}}))
    assert "their rates compare, their times and joules do not" in line
