import pytest

from lpbench.record.schema import Audit, Caution, Record
from lpbench.report.traffic import finding, notes, traffic_table
from lpbench.testing.records import example_record
from tests.revalued import example_with, revalued

RECORD = example_record()
GROUNDS = (
    "counted from the router (calibrated draws), in one engine. Times are CPU times of this "
    "machine, one run, no interval."
)


def audited(record: Record = RECORD, **changes: object) -> Audit:
    """Return the example's audit with fields set."""
    assert record.audit is not None
    return record.audit.model_copy(update=changes)


def test_the_finding_says_what_how_much_and_on_what_it_rests() -> None:
    """The share, both figures, the counting and whose times these are."""
    expected = (
        "layered reads 40.0% fewer expert bytes than chunked (1.20 GB against 2.00 GB); " + GROUNDS
    )
    assert expected == finding(RECORD)


@pytest.mark.parametrize(
    ("expert_bytes", "expected"),
    [
        (2_500_000_000, "layered reads 25.0% more expert bytes than chunked (2.50 GB against"),
        (2_000_000_000, "layered reads as many expert bytes as chunked (2.00 GB); counted"),
        (2_000_900_000, "layered reads as many expert bytes as chunked (2.00 GB); counted"),
        (1_998_000_000, "layered reads 0.1% fewer expert bytes than chunked (2.00 GB against"),
    ],
)
def test_the_finding_says_more_fewer_or_as_many(expert_bytes: int, expected: str) -> None:
    """A difference too small to show is called none."""
    assert finding(example_with(expert_bytes=expert_bytes)).startswith(expected)


def test_every_later_arm_is_set_against_the_first() -> None:
    """Three arms make two clauses and one sentence about the grounds."""
    chunked, layered = RECORD.arms
    other = revalued(layered, expert_bytes=2_200_000_000).model_copy(update={"label": "whole"})
    expected = (
        "layered reads 40.0% fewer expert bytes than chunked (1.20 GB against 2.00 GB); whole "
        "reads 10.0% more expert bytes than chunked (2.20 GB against 2.00 GB); " + GROUNDS
    )
    assert expected == finding(example_record(arms=(chunked, layered, other)))


def test_a_single_arm_is_stated_alone() -> None:
    """Without another arm there is nothing to compare."""
    expected = "chunked reads 2.00 GB of expert weights; " + GROUNDS
    assert expected == finding(example_record(arms=RECORD.arms[:1]))


def test_the_models_own_router_and_another_device_are_named() -> None:
    """The grounds follow the spec."""
    spec = RECORD.spec | {"routing": "model", "device": "cuda"}
    expected = (
        "counted from the model's own router, in one engine. Times are CUDA times of this "
        "machine, one run, no interval."
    )
    assert finding(example_record(spec=spec)).endswith(expected)


def test_the_table_has_a_row_per_arm() -> None:
    """Iterations, GB, GB that prefill added, reload, coverage, mean over max, sameness."""
    table = traffic_table(RECORD)
    assert "builtin-moe, workload mixed, calibrated routing, float32 on cpu" == table.title
    assert (
        ("chunked", "100", "2.00", "1.50", "1.75", "50.0%", "400\n800", "20\n40", "yes"),
        ("layered", "110", "1.20", "0.70", "1.00", "37.5%", "400\n800", "20\n40", "yes"),
    ) == table.rows
    assert 9 == len(table.columns)


def test_what_is_absent_is_shown_as_absent() -> None:
    """Never as zero."""
    record = example_with(reload_factor=None, ttft_ms_mean=None, tbt_ms_max=None)
    row = traffic_table(record).rows[1]
    assert ("-", "-\n800", "20\n-") == (row[4], row[6], row[7])


def test_sameness_is_shown_arm_by_arm() -> None:
    """An arm with other tokens is called out; without an audit nothing is claimed."""
    arms = audited().arms
    other = (arms[0], arms[1].model_copy(update={"tokens_equal": False}))
    differing = example_record(audit=audited(arms=other, tokens_equal=False))
    assert ["yes", "NO"] == [row[-1] for row in traffic_table(differing).rows]
    unaudited = example_record(audit=None)
    assert ["-", "-"] == [row[-1] for row in traffic_table(unaudited).rows]


def test_the_notes_say_that_slow_arms_are_offered_load_more_slowly() -> None:
    """The iteration clock's catch stands under every table."""
    expected = (
        "Requests arrive by iteration: an arm with longer iterations is offered its load more "
        "slowly."
    )
    assert expected in notes(example_record(audit=None))


def test_the_notes_state_the_audit() -> None:
    """Sameness with its evidence: dtype, logits, sampled tokens, routing, near ties."""
    expected = (
        "All schedules computed the same tokens (audit in float32: largest logit difference "
        "1.5e-05 over 64 tokens, routing agreement 100.0000%, near ties 0)."
    )
    assert expected in notes(RECORD)
    assert not [note for note in notes(example_record(audit=None)) if "audit" in note]


def test_the_notes_shout_where_schedules_differ() -> None:
    """Unequal tokens and far disagreements are errors, and said so."""
    audit = audited(
        tokens_equal=False, near_ties=2, far_disagreements=3, routing_agreement=0.9987654
    )
    expected = (
        "THE SCHEDULES DID NOT COMPUTE THE SAME TOKENS (audit in float32: largest logit "
        "difference 1.5e-05 over 64 tokens, routing agreement 99.8765%, near ties 2). ERROR: 3 "
        "routing decisions differ without a near tie."
    )
    assert expected in notes(example_record(audit=audit))


def test_a_warning_is_said_once_for_all_arms() -> None:
    """Warnings come last, each message once, in their order."""
    first = Caution(code="fits_in_cache", message="the experts fit the cache")
    second = Caution(code="random_prompts", message="prompts are random")
    chunked, layered = RECORD.arms
    arms = (
        chunked.model_copy(update={"warnings": (first,)}),
        layered.model_copy(update={"warnings": (first, second)}),
    )
    expected = ("Warning: the experts fit the cache", "Warning: prompts are random")
    assert expected == notes(example_record(arms=arms))[-2:]
    assert not [note for note in notes(RECORD) if "Warning" in note]
