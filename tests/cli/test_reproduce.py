"""`lpbench reproduce`: reported tables beside ours; the quick ones are run, all are data."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.command import BAD_INPUT, OK, CommandLine, contents, one_line, read_json

QUICK = ("table-1", "fig-2", "--workers", "1")


def test_ours_stands_beside_what_was_reported(lpbench: CommandLine, tmp_path: Path) -> None:
    """Two tables: every figure with its ratio, claims judged, a verdict each; files hold it all."""
    result = lpbench("reproduce", *QUICK, "--output", tmp_path / "out")
    assert OK == result.code, result.err
    assert all(len(line) <= 80 for line in result.out.splitlines())
    assert 2 == result.out.count("Verdict: ")
    for said in ("764.1 GB  F", "32 decodes", "OFF", "Caveat: ", "second-hand"):
        assert said in result.out
    document = read_json(tmp_path / "out" / "reproduce.json")
    assert "kernels" == document["environment"]["coefficients"]["name"]
    assert ["table-1", "fig-2"] == [table["name"] for table in document["tables"]]
    cells = {cell["name"]: cell for cell in document["tables"][1]["cells"]}
    load = cells["load.512"]
    assert (764.1, "F", ["R"]) == tuple(
        load["reported"][key] for key in ("value", "mark", "sources")
    )
    assert ("modelled", "GB") == (load["ours"]["method"], load["ours"]["unit"])
    assert load["ratio"] == load["ours"]["value"] / 764.1
    assert load["ours"]["value"] == pytest.approx(764.1, rel=0.05)
    with (tmp_path / "out" / "cells.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [
        (table["name"], cell["name"]) for table in document["tables"] for cell in table["cells"]
    ] == [(line["table"], line["name"]) for line in lines]
    assert [str(load["ours"]["value"])] == [
        line["ours"] for line in lines if line["name"] == "load.512"
    ]


def test_json_on_stdout_stands_alone(lpbench: CommandLine) -> None:
    """And is the same from run to run, whatever the number of processes."""
    alone = json.loads(lpbench("reproduce", "table-1", "--json", "-", "--workers", "1").out)
    again = json.loads(lpbench("reproduce", "table-1", "--json", "-", "--workers", "2").out)
    assert alone["tables"] == again["tables"]


def test_quiet_leaves_the_tables_and_the_verdicts(lpbench: CommandLine) -> None:
    """No caveats, no notes."""
    out = lpbench("reproduce", "table-1", "--quiet").out
    assert "Verdict: " in out
    assert "Caveat: " not in out
    assert "second-hand" not in out


def test_a_cell_is_what_lpbench_latency_gives(lpbench: CommandLine) -> None:
    """The options of a run in the document lead to the same figure, there of both GPUs."""
    from lpbench.analysis.reported import find_paper_tables
    from lpbench.bench.reproduction import Job, read_spec, work

    (table,) = find_paper_tables(["table-7"])
    options = table.options("arxiv-layered")
    ours = work(Job(kind="served", spec=read_spec(options, where="here")))
    typed = [
        part
        for key, value in options.items()
        for part in (f"--{key.replace('_', '-')}", str(value))
    ]
    record = json.loads(lpbench("latency", *typed, "--json", "-").out)
    metrics = record["arms"][0]["metrics"]
    assert metrics["expert_bytes"]["value"] == ours.readings["expert_bytes"].value
    assert 100 == ours.num_prompts


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("table-3",), "unknown table 'table-3'"),
        (("table_6",), "did you mean 'table-6'?"),
        (("table-1", "--workers", "0"), "--workers 0 is out of range"),
        (("table-1", "--json", "/nowhere/cells.json"), "cannot be written"),
        (("table-1", "--output", "/proc/x"), "--output /proc/x cannot be written: "),
    ],
)
def test_bad_input(lpbench: CommandLine, options: tuple[str, ...], says: str) -> None:
    """One line, exit code 2."""
    result = lpbench("reproduce", *options)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)


def test_a_folder_that_is_in_use_is_left_alone(lpbench: CommandLine, tmp_path: Path) -> None:
    """It is refused before anything runs."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    before = contents(tmp_path)
    result = lpbench("reproduce", "table-1", "--output", tmp_path)
    assert BAD_INPUT == result.code
    assert "is not an empty folder" in one_line(result.err)
    assert before == contents(tmp_path)
