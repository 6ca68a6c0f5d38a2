"""The record's shape: what it refuses, and that nothing is lost on the way through a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lpbench.record.schema import (
    SCHEMA_VERSION,
    Audit,
    Comparison,
    Ledger,
    LedgerTerm,
    Reading,
    Record,
    Window,
)
from lpbench.testing.records import example_record

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / f"record-v{SCHEMA_VERSION}.json"
NOT_FINITE = (float("nan"), float("inf"))
READING = {"value": 5, "unit": "B", "method": "counted", "source": "router", "pass": "counts"}


def as_json(**changes: object) -> dict[str, Any]:
    """Return the example record as parsed JSON, with keys changed."""
    document: dict[str, Any] = json.loads(example_record().to_json())
    return {**document, **changes}


def refused(build: Callable[[], object]) -> str:
    """Return why a part of a record is refused."""
    with pytest.raises(ValidationError) as caught:
        build()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"value": None}, "null exactly where"),
        ({"value": None, "validity": "invalid", "reasons": ["late"]}, "null exactly where"),
        ({"validity": "absent", "reasons": ["late"]}, "null exactly where"),
        ({"reasons": ["late"]}, "reasons are given exactly"),
        ({"validity": "invalid"}, "reasons are given exactly"),
        ({"value": None, "validity": "absent"}, "reasons are given exactly"),
        ({"method": "guessed"}, "method"),
        ({"validity": "maybe"}, "validity"),
        ({"value": "many"}, "value"),
        ({"unit": None}, "unit"),
        ({"extra": 1}, "extra"),
    ],
    ids=str,
)
def test_a_reading_that_is_refused(changes: dict[str, object], says: str) -> None:
    """A value is null exactly where absent, and has reasons exactly where it is not valid."""
    assert says in refused(lambda: Reading.model_validate({**READING, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"value": 0},
        {"value": -1.5},
        {"value": None, "validity": "absent", "reasons": ["no_device"]},
        {"validity": "invalid", "reasons": ["above_peak", "throttled"]},
        {"samples": [1, 2.5]},
    ],
    ids=str,
)
def test_a_reading_that_is_taken(changes: dict[str, object]) -> None:
    """It comes back from JSON as it was, with `pass` as its key."""
    taken = Reading.model_validate({**READING, **changes})
    text = taken.model_dump_json(by_alias=True)
    assert "counts" == json.loads(text)["pass"]
    assert taken == Reading.model_validate_json(text)


@pytest.mark.parametrize("number", NOT_FINITE)
@pytest.mark.parametrize(
    ("kind", "fields", "key"),
    [
        (Reading, READING, "value"),
        (Reading, READING, "samples"),
        (Window, {"name": "arm", "pass": "counts", "iterations": 1}, "duration_ms"),
        (LedgerTerm, {"name": "rest"}, "bytes"),
        (Ledger, {"counted_bytes": 1, "modelled_bytes": 1}, "measured_bytes"),
        (Comparison, {"metric": "m", "baseline": "a", "candidate": "b"}, "ratio"),
        (Audit, as_json()["audit"], "max_abs_logit_diff"),
    ],
    ids=["value", "samples", "window", "term", "ledger", "comparison", "audit"],
)
def test_a_number_that_is_not_finite(
    kind: type[BaseModel], fields: dict[str, object], key: str, number: float
) -> None:
    """JSON has no such number: it would come back as null, or not at all."""
    value = (number,) if key == "samples" else number
    refused(lambda: kind.model_validate({**fields, key: value}))


def test_a_record_comes_back_as_it_was() -> None:
    """What is written is read again, equal in every part."""
    record = example_record()
    text = record.to_json()
    assert record == Record.model_validate_json(text)
    assert text == Record.model_validate_json(text).to_json()
    assert text.endswith("}\n")


def test_a_record_has_the_keys_of_the_design() -> None:
    """The names that readers of run.json rely on."""
    document = as_json()
    expected = {
        "schema_version", "lpbench_version", "status", "failure", "command", "started_at",
        "spec", "spec_hash", "environment", "protocol", "windows", "arms", "audit", "comparison",
    }  # fmt: skip
    assert expected == set(document)
    arm = {
        "label", "role", "schedule", "plan_hash", "effective_groups", "metrics", "windows",
        "ledger", "warnings",
    }  # fmt: skip
    assert arm == set(document["arms"][0])
    reading = {
        "value", "unit", "method", "source", "validity", "reasons", "pass", "uncertainty",
        "samples",
    }  # fmt: skip
    assert reading == set(document["arms"][0]["metrics"]["expert_bytes"])
    ledger = {
        "counted_bytes", "modelled_bytes", "measured_bytes", "modelled", "dram_bytes",
        "reread_factor", "residual",
    }  # fmt: skip
    assert ledger == set(document["arms"][0]["ledger"])


def test_a_ledger_of_experts_alone_is_read() -> None:
    """The columns that came later are null or empty where a record does not have them."""
    document = as_json()
    for arm in document["arms"]:
        for key in ("modelled", "dram_bytes", "reread_factor"):
            del arm["ledger"][key]
    ledger = Record.model_validate(document).arms[0].ledger
    assert ((), None, None) == (ledger.modelled, ledger.dram_bytes, ledger.reread_factor)


@pytest.mark.parametrize("value", [0, 2**53 + 1, 2**62 + 1, 0.1, 1e300])
def test_a_value_keeps_every_digit(value: float) -> None:
    """Whole numbers stay whole, beyond what a float holds too."""
    reading = Reading.model_validate({**READING, "value": value})
    again = Reading.model_validate_json(reading.model_dump_json(by_alias=True))
    assert (value, type(value)) == (again.value, type(again.value))


@pytest.mark.parametrize(
    "place",
    [(), ("audit",), ("audit", "arms", 0), ("comparison", 0), ("arms", 0), ("arms", 0, "ledger"),
     ("arms", 0, "schedule"), ("arms", 0, "windows", 0), ("arms", 0, "metrics", "iterations")],
    ids=str,
)  # fmt: skip
def test_an_unknown_key_is_refused(place: tuple[str | int, ...]) -> None:
    """A key of another version, or a typing error, is not dropped in silence."""
    document = as_json()
    inner: Any = document
    for key in place:
        inner = inner[key]
    inner["unknown"] = 1
    assert "unknown" in refused(lambda: Record.model_validate(document))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", 2),
        ("schema_version", 0),
        ("status", "running"),
        ("spec", []),
        ("arms", None),
        ("spec_hash", None),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(key: str, value: object) -> None:
    """The version is the one that is read, and every key has its type."""
    assert key in refused(lambda: Record.model_validate(as_json(**{key: value})))


@pytest.mark.parametrize("key", ["status", "spec", "spec_hash", "environment", "command"])
def test_a_missing_key_is_refused(key: str) -> None:
    """What every record has must be there."""
    document = as_json()
    del document[key]
    assert key in refused(lambda: Record.model_validate(document))


def test_a_record_does_not_change() -> None:
    """A record states what was; nobody sets a field of it."""
    with pytest.raises(ValidationError, match="frozen"):
        example_record().status = "failed"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("dtype", "tokens_equal", "far_disagreements", "is_sound"),
    [
        ("float32", True, 0, True),
        ("float32", False, 0, False),
        ("float32", True, 1, False),
        ("bfloat16", True, 0, True),
        ("bfloat16", False, 0, True),
        ("bfloat16", False, 1, False),
    ],
)
def test_what_a_sound_audit_is(
    dtype: str, *, tokens_equal: bool, far_disagreements: int, is_sound: bool
) -> None:
    """No disagreement but near ties; in float32 equal tokens besides."""
    changes = {
        "dtype": dtype,
        "tokens_equal": tokens_equal,
        "far_disagreements": far_disagreements,
    }
    assert is_sound == Audit.model_validate(as_json()["audit"] | changes).is_sound


def test_the_golden_record_of_each_version_is_read() -> None:
    """A record written by any released version is read, and nothing of it is lost."""
    assert [f"v{version}.json" for version in range(1, SCHEMA_VERSION + 1)] == sorted(
        path.name for path in GOLDEN.iterdir()
    )
    for path in GOLDEN.iterdir():
        text = path.read_text(encoding="utf-8")
        assert json.loads(text) == json.loads(Record.model_validate_json(text).to_json())


def test_the_schema_is_json_schema() -> None:
    """The schema can be exported, with the keys as they stand in a file."""
    schema = Record.model_json_schema(by_alias=True)
    assert set(as_json()) == set(schema["properties"])
    assert "pass" in schema["$defs"]["Reading"]["properties"]
    assert json.dumps(schema)


def test_the_schema_is_published() -> None:
    """docs/schema holds the schema as it is; `python -m tests.record.test_schema` writes it."""
    assert published() == json.loads(PUBLISHED.read_text(encoding="utf-8"))


def published() -> dict[str, Any]:
    """Return the schema of run.json."""
    schema = Record.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    PUBLISHED.write_text(json.dumps(published(), indent=1) + "\n", encoding="utf-8")
