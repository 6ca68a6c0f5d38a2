"""The document: nothing in a record becomes anything but text of it."""

from pathlib import Path

import pytest

pytest.importorskip("altair", reason="the extra `report`")

from lpbench.record.schema import Caution, Record, Schedule
from lpbench.testing.records import example_record
from tests.cli.command import write_lines
from tests.paged import (
    harmless,
    iteration,
    regime_rows,
    reproduction,
    row,
    served,
    to_page,
    write_reproduction,
    write_run,
    write_sweep,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</style></title></textarea><svg onload=alert(1)>",
    "<!--",
    "]]><x xlink:href='http://example.com/x'/>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#x3c;",
    "url(http://example.com/x) \x07\x1b[31m\u202e",
)


def hostile_record(text: str) -> Record:
    """Return the example record with such a text wherever one may stand."""
    arms = []
    for at, arm in enumerate(example_record().arms):
        metrics = {
            name: one.model_copy(update={"source": text, "reasons": (text,) if one.reasons else ()})
            for name, one in arm.metrics.items()
        }
        terms = tuple(
            one.model_copy(update={"name": f"{text} {at}"})
            for at, one in enumerate(arm.ledger.modelled)
        )
        arms.append(
            arm.model_copy(
                update={
                    "label": f"{text}{at}",
                    "schedule": Schedule(name=text, params={text: text}),
                    "metrics": metrics | {text: metrics["iterations"]},
                    "ledger": arm.ledger.model_copy(update={"modelled": terms}),
                    "warnings": (Caution(code=text, message=text),),
                }
            )
        )
    spec = dict.fromkeys(example_record().spec, text) | {text: {text: [text]}}
    return example_record(
        arms=tuple(arms),
        command=text,
        spec=spec | {"request_rate": 1},
        environment={"cpu": text, "device_name": text, text: text},
        protocol={text: text},
        lpbench_version=text,
    )


@pytest.mark.parametrize("text", [HOSTILE[1], HOSTILE[-1]])
def test_hostile_records(text: str, tmp_path: Path) -> None:
    """As label, source, reason, spec, environment, line, folder: text each time, shown as it is."""
    folder = tmp_path / text.replace("/", "|")
    run = write_run(folder, hostile_record(text), is_logged=False)
    write_lines(run / "iterations.jsonl", iteration(text, 0, tiles=[((0, 8), (0, 2))], experts=3))
    write_lines(run / "requests.jsonl", served(text, 1.0, 2.0))
    seen = harmless(to_page(folder))
    assert 20 <= seen.words.count(" ".join(text.split()))
    assert 3 <= seen.tags.count("svg")


def test_hostile_failures(tmp_path: Path) -> None:
    """As the reason of a failed run, whatever the trick."""
    for at, text in enumerate(HOSTILE):
        record = hostile_record(text)
        bare = [
            arm.model_copy(update={"ledger": arm.ledger.model_copy(update={"modelled": ()})})
            for arm in record.arms
        ]
        changes = {"status": "failed", "failure": text, "spec_hash": text, "arms": tuple(bare)}
        folder = tmp_path / f"{at} {text.replace('/', '|')}"
        write_run(folder, record.model_copy(update=changes), is_logged=False)
    seen = harmless(to_page(tmp_path))
    for text in HOSTILE:
        assert f"This run failed ({' '.join(text.split())})." in seen.words
    assert len(HOSTILE) + 1 == seen.tags.count("section")


@pytest.mark.parametrize("text", HOSTILE[:2])
def test_hostile_sweeps_and_reproductions(text: str, tmp_path: Path) -> None:
    """As machine, key, reason, title: text each time."""
    sweep = write_sweep(
        tmp_path / "map",
        [row(one, 100 + at, 40, model=text) for at, one in enumerate(("chunked", "layered"))],
    )
    rows = [
        row("whole", 1, 1).model_copy(
            update={"point": {text: text, "schedule": text}, "reason": text, "status": "failed"}
        )
    ]
    other = write_sweep(tmp_path / "rows", rows)
    document = reproduction(text) | {"rule": [text]}
    document["tables"][0] |= {"name": text, "why": text, "verdict": text}
    document["tables"][0]["cells"][0] |= {"row": text, "unit": text}
    document["tables"][0]["claims"][0] |= {"says": text, "status": text}
    seen = harmless(to_page(sweep, other, write_reproduction(tmp_path / "paper", document)))
    assert 5 <= seen.words.count(text)


def test_a_page_of_all_kinds(tmp_path: Path) -> None:
    """Contents link to every section; each heading, picture and table has its name."""
    page = to_page(
        write_run(tmp_path / "run"),
        write_run(tmp_path / "more" / "a", example_record(spec_hash="other")),
        write_sweep(tmp_path / "map", list(regime_rows())),
        write_reproduction(tmp_path / "paper"),
    )
    seen = harmless(page)
    links = [value[1:] for tag, name, value in seen.attributes if (tag, name) == ("a", "href")]
    assert ["overview", "run-1", "run-2", "sweep-3", "reproduction-4"] == links
    assert seen.tags.count("h2") == len(links)
    labels = [value for _, name, value in seen.attributes if name == "aria-label"]
    assert all(labels)
    assert seen.tags.count("svg") >= 15
    policy = [value for _, _, value in seen.attributes if "default-src" in value]
    assert ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"] == policy
    assert 5_000_000 > len(page.encode())


def test_one_run_needs_no_contents(tmp_path: Path) -> None:
    """A page of one section has no list of them."""
    assert "nav" not in harmless(to_page(write_run(tmp_path / "run", is_logged=False))).tags


def test_half_characters(tmp_path: Path) -> None:
    """Of a folder whose name is no UTF-8, and in JSON: question marks, and a page that is UTF-8."""
    paper = write_reproduction(tmp_path / "paper", reproduction() | {"rule": ["a\ud800b"]})
    page = to_page(paper, write_run(tmp_path / "r\udcffn", is_logged=False))
    assert "a?b" in harmless(page).words
    assert "r?n - traffic" in page
    assert page.encode()
