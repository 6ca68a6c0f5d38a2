"""`lpbench compare`: records, folders of them, and what is no record."""

import json
from pathlib import Path

import pytest

from lpbench.analysis.verdict import Verdicts
from lpbench.record.schema import Record
from lpbench.testing.records import example_record
from tests.cli.command import BAD_INPUT, OK, CommandLine, contents, one_line
from tests.fuzzed import fuzz
from tests.revalued import revalued

RECORD = example_record()


def stored(folder: Path, record: Record) -> Path:
    """Write a run's folder."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(record.to_json(), encoding="utf-8")
    return folder


def replicates(folder: Path, *ttft: float) -> Path:
    """Write a folder of runs, one for each mean TTFT."""
    for at, value in enumerate(ttft):
        first, second = RECORD.arms
        arms = (first, revalued(second, ttft_ms_mean=value))
        stored(folder / str(at), example_record(arms=arms))
    return folder


def test_a_run_against_itself(lpbench: CommandLine, tmp_path: Path) -> None:
    """A folder, its file and a copy are all the same; exit 0, 80 columns."""
    run = stored(tmp_path / "run", RECORD)
    result = lpbench("compare", run, run / "run.json")
    assert (OK, "") == (result.code, result.err)
    assert "same: exact" in result.out
    assert "worse" not in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_the_arms_of_a_run(lpbench: CommandLine, tmp_path: Path) -> None:
    """One record alone is compared by its arms."""
    result = lpbench("compare", stored(tmp_path / "run", RECORD))
    assert OK == result.code
    assert "-40.00%  better: exact" in result.out
    assert "chunked" not in result.out


def test_folders_of_runs(lpbench: CommandLine, tmp_path: Path) -> None:
    """Six runs a side decide; the document holds the verdicts with their evidence."""
    before = replicates(tmp_path / "a", 400, 401, 402, 403, 404, 405)
    after = replicates(tmp_path / "b", 300, 301, 302, 303, 304, 305)
    result = lpbench("compare", before, after, "--json", "-")
    assert (OK, "") == (result.code, result.err)
    found = Verdicts.model_validate_json(result.out)
    assert [6, 6] == [side.runs for side in found.sides]
    (one,) = [
        one for one in found.verdicts if (one.metric, one.candidate) == ("ttft_ms_mean", "layered")
    ]
    assert ("better", "processes", (6, 6)) == (one.status, one.reason, one.processes)
    assert lpbench("compare", before, after).out.count("detects") == 1


def test_too_few_runs_say_what_it_takes(lpbench: CommandLine, tmp_path: Path) -> None:
    """Three decide nothing, and the way out is named."""
    before, after = (replicates(tmp_path / name, 400, 401, 402) for name in "ab")
    after_out = lpbench("compare", before, replicates(tmp_path / "c", 500, 501, 502)).out
    assert "undecided:" in after_out
    assert "give folders of 6 runs or more" in after_out
    assert OK == lpbench("compare", before, after).code


def test_another_machine(lpbench: CommandLine, tmp_path: Path) -> None:
    """Its times are told to be not comparable, by key; the key can be allowed, which is kept."""
    here = stored(tmp_path / "here", example_record(environment={"cpu": "one"}))
    first, second = RECORD.arms
    arms = (first, revalued(second, ttft_ms_mean=10.0))
    there = stored(tmp_path / "there", example_record(environment={"cpu": "two"}, arms=arms))
    said = lpbench("compare", here, there).out
    assert "incomparable: differs: cpu" in " ".join(said.split())
    told = lpbench("compare", here, there, "--allow", "cpu", "--json", "-").out
    assert ["cpu"] == json.loads(told)["allowed"]
    assert "differs" not in told


def test_passes_of_one_experiment_stand_side_by_side(lpbench: CommandLine, tmp_path: Path) -> None:
    """A traffic run and an energy run of the same spec are one table."""
    counts = stored(tmp_path / "counts", RECORD)
    energy = stored(tmp_path / "energy", example_record(command="energy"))
    result = lpbench("compare", counts, energy)
    assert OK == result.code
    assert "passes side by side" in result.out
    assert "2.00 GB" in result.out
    other = stored(tmp_path / "other", example_record(command="energy", spec_hash="beef"))
    assert "Not valid: DRAM read (no_device)." in result.out
    document = json.loads(lpbench("compare", counts, energy, "--json", "-").out)
    assert 2e9 == document["arms"]["chunked"]["expert_bytes"]["value"]
    result = lpbench("compare", counts, other)
    assert BAD_INPUT == result.code
    assert "the passes are 'traffic' and 'energy'" in one_line(result.err)


def test_passes_in_one_folder_are_one_table(lpbench: CommandLine, tmp_path: Path) -> None:
    """Several runs of a pass by their mean."""
    replicates(tmp_path / "runs", 400, 600)
    stored(tmp_path / "runs" / "energy", example_record(command="energy"))
    result = lpbench("compare", tmp_path / "runs")
    assert OK == result.code, result.err
    assert "(runs: traffic of 2, energy of 1)" in " ".join(result.out.split())
    assert "500.0 ms" in result.out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "does not exist"),
        ("empty", "holds no run.json, and no folder in it does"),
        ("garbage.json", "cannot be read"),
        ("cut.json", "is no record of schema version 1"),
        ("newer.json", "is of schema version 9, this lpbench reads version 1; update lpbench"),
        ("failed.json", "is of a run that failed (interrupted)"),
        ("model.json", "model is 'builtin-moe' and 'another'"),
    ],
)
def test_what_cannot_be_compared(
    lpbench: CommandLine, tmp_path: Path, name: str, says: str
) -> None:
    """One line, exit code 2, nothing written."""
    good = tmp_path / "good.json"
    text = RECORD.to_json()
    good.write_text(text)
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage.json").write_bytes(b"\x00\xff not a record")
    (tmp_path / "cut.json").write_text(text[: len(text) // 2])
    (tmp_path / "newer.json").write_text(text.replace('"schema_version": 1', '"schema_version": 9'))
    failed = example_record(status="failed", failure="interrupted")
    (tmp_path / "failed.json").write_text(failed.to_json())
    other = example_record(spec=RECORD.spec | {"model": "another"})
    (tmp_path / "model.json").write_text(other.to_json())
    before = contents(tmp_path)
    result = lpbench("compare", good, tmp_path / name, "--json", tmp_path / "verdicts.json")
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert before == contents(tmp_path)


@pytest.mark.parametrize("delta", ["0", "-0.1", "1", "nan", "inf", "much"])
def test_a_delta_is_a_share(lpbench: CommandLine, tmp_path: Path, delta: str) -> None:
    """Above 0 and below 1."""
    run = stored(tmp_path / "run", RECORD)
    result = lpbench("compare", run, run, "--delta", delta)
    assert BAD_INPUT == result.code
    assert "--delta" in one_line(result.err)


def test_damaged_records_never_end_in_a_traceback(tmp_path: Path) -> None:
    """100 of them through compare and check: an exit code of theirs, a line at most, no file."""
    assert 500 == sum(fuzz(100, tmp_path, seed=7).values())
