"""`--num-runs`: processes of their own, a folder each, compared over all of them."""

from pathlib import Path

import pytest

from lpbench.cli.replicas import without_options
from lpbench.record.store import read_runs
from tests.cli.command import BAD_INPUT, OK, CommandLine, contents, finish, one_line, start

SMALL = ("--num-prompts", "2", "--input-len", "16", "--output-len", "2", "--device", "cpu")


def test_every_run_is_a_process_with_a_record_of_its_own(tmp_path: Path, qwen: Path) -> None:
    """Two runs: two whole folders, counts compared exactly over both; stdout is the table."""
    options = ("--model", qwen, *SMALL, "--num-runs=2", "--output", tmp_path / "runs")
    result = finish(start("traffic", *options))
    assert OK == result.code, result.err
    assert ["run 1 of 2", "run 2 of 2"] == [
        line.removeprefix("lpbench: ") for line in result.err.splitlines()
    ]
    assert "same: exact" in result.out
    runs = read_runs(tmp_path / "runs")
    assert ["complete"] * 2 == [run.status for run in runs]
    assert {"run-1", "run-2"} == {path.name for path in (tmp_path / "runs").iterdir()}
    assert runs[0].spec_hash == runs[1].spec_hash


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--num-runs", "0"), "--num-runs 0 is out of range; accepted: 1 to 1000"),
        (("--num-runs", "1001"), "--num-runs 1001"),
        (("--num-runs", "2"), "--num-runs 2 needs --output DIR"),
        (("--num-runs", "2", "--output", "{}/new", "--json", "-"), "writes no --json"),
        (("--num-runs", "2", "--output", "{}"), "is not an empty folder"),
    ],
)
def test_bad_input(
    lpbench: CommandLine, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    """One line, exit code 2, nothing made."""
    (tmp_path / "there").touch()
    before = contents(tmp_path)
    result = lpbench("traffic", *SMALL, *(each.format(tmp_path) for each in options))
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert before == contents(tmp_path)


def test_a_run_that_fails_ends_them_all(tmp_path: Path) -> None:
    """With its own exit code and its own line; no second run is started."""
    options = ("--model", "nowhere", *SMALL, "--num-runs", "3", "--output", tmp_path / "runs")
    result = finish(start("traffic", *options))
    assert BAD_INPUT == result.code
    first, second = result.err.splitlines()
    assert "lpbench: run 1 of 3" == first
    assert "nowhere" in second
    assert not (tmp_path / "runs").exists()


def test_own_options_do_not_reach_the_processes() -> None:
    """With their values, in either spelling; others stay as they are."""
    line = ["traffic", "--num-runs", "3", "--seed=4", "--output=x", "--json", "-", "--quiet"]
    own = ("--num-runs", "--output", "--json")
    assert ["traffic", "--seed=4", "--quiet"] == without_options(line, own)
