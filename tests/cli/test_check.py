"""`lpbench check`: the exact gate over two records, or over a record and a new run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lpbench.testing.records import example_record
from tests.cli.command import (
    BAD_INPUT,
    INCONCLUSIVE,
    INVALID,
    OK,
    REGRESSION,
    CommandLine,
    contents,
    one_line,
    read_json,
)
from tests.revalued import revalued

SMALL_WORKLOAD = """
name = "small"
[[requests]]
count = 3
every = 2
prompt_tokens = 20
output_tokens = 5
"""


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """Return a baseline in a file."""
    path = tmp_path / "baseline.json"
    path.write_text(example_record().to_json())
    return path


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """Return an equal record, in a run's folder."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(example_record().to_json())
    return tmp_path / "run"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file."""
    document = read_json(path)
    change(document)
    path.write_text(json.dumps(document))


def refusal(lpbench: CommandLine, folder: Path, *arguments: str | Path) -> str:
    """Return the line with which `lpbench check` refuses."""
    before = contents(folder)
    result = lpbench("check", *arguments)
    assert (BAD_INPUT, "") == (result.code, result.out), result.err
    assert before == contents(folder)
    return one_line(result.err)


def test_equal_records(lpbench: CommandLine, baseline: Path, candidate: Path) -> None:
    """Equal figures exit 0, from a file or from a run's folder."""
    for given in (candidate, candidate / "run.json", baseline):
        result = lpbench("check", "--baseline", baseline, given)
        assert (OK, "") == (result.code, result.err)
        assert "equal" in result.out


@pytest.mark.parametrize("change", [1, -1, 0.001])
def test_a_changed_figure(
    lpbench: CommandLine, baseline: Path, candidate: Path, change: float
) -> None:
    """However small the difference, exit 3 names the arm and the metric, and only those."""

    def worsen(document: dict[str, Any]) -> None:
        document["arms"][1]["metrics"]["expert_bytes"]["value"] += change

    edit(candidate / "run.json", worsen)
    result = lpbench("check", "--baseline", baseline, candidate)
    assert (REGRESSION, "") == (result.code, result.err)
    assert all(word in result.out for word in ("layered", "expert_bytes"))
    assert "chunked" not in result.out


def test_a_figure_that_is_absent(lpbench: CommandLine, baseline: Path, candidate: Path) -> None:
    """A figure that is there in one record only is a difference too."""
    edit(candidate / "run.json", lambda document: document["arms"][0]["metrics"].pop("iterations"))
    result = lpbench("check", "--baseline", baseline, candidate)
    assert REGRESSION == result.code
    assert "iterations" in result.out


def test_times_are_not_compared(lpbench: CommandLine, baseline: Path, candidate: Path) -> None:
    """What a machine's speed decides is no regression of an exact gate."""

    def slow_down(document: dict[str, Any]) -> None:
        document["environment"] = {"cpu": "slow"}
        document["arms"][0]["metrics"]["ttft_ms_mean"]["value"] *= 2

    edit(candidate / "run.json", slow_down)
    assert OK == lpbench("check", "--baseline", baseline, candidate).code


def test_a_red_job_has_its_files(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, candidate: Path
) -> None:
    """JUnit anew, the summary appended; exit 3 all the same."""

    def worsen(document: dict[str, Any]) -> None:
        document["arms"][1]["metrics"]["expert_bytes"]["value"] += 1

    edit(candidate / "run.json", worsen)
    (tmp_path / "summary.md").write_text("before\n")
    files = ("--junit", tmp_path / "junit.xml", "--summary", tmp_path / "summary.md")
    exports = ("--github-benchmark", tmp_path / "bench.json", "--vllm", tmp_path / "vllm.jsonl")
    result = lpbench("check", "--baseline", baseline, candidate, *files, *exports)
    assert (REGRESSION, "") == (result.code, result.err)
    names = [one["name"] for one in json.loads((tmp_path / "bench.json").read_text())]
    assert "layered expert_bytes" in names
    assert 2 == len((tmp_path / "vllm.jsonl").read_text().splitlines())
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text()
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("before\n### lpbench check: figures differ")


def test_a_file_that_cannot_be_written_is_refused_before(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, candidate: Path
) -> None:
    """Nothing is compared for nobody."""
    for option in ("--junit", "--summary"):
        where = (option, tmp_path / "nowhere" / "file")
        assert "cannot be written" in refusal(
            lpbench, tmp_path, "--baseline", baseline, candidate, *where
        )


def test_a_baseline_is_replaced_when_asked(
    lpbench: CommandLine, baseline: Path, candidate: Path
) -> None:
    """The differences are told, and then it equals what was checked."""

    def worsen(document: dict[str, Any]) -> None:
        document["arms"][1]["metrics"]["expert_bytes"]["value"] += 1

    edit(candidate / "run.json", worsen)
    result = lpbench("check", "--baseline", baseline, candidate, "--update-baseline")
    assert OK == result.code
    assert "differ from" in result.out
    assert "baseline.json is now what was checked" in result.out
    assert OK == lpbench("check", "--baseline", baseline, candidate).code
    assert read_json(candidate / "run.json") == read_json(baseline)


def test_bytes_that_were_measured_in_vain(
    lpbench: CommandLine, baseline: Path, candidate: Path
) -> None:
    """Exit 5: neither red nor green."""

    def give(document: dict[str, Any], **changes: object) -> None:
        reading = document["arms"][0]["metrics"]["dram_bytes_read"]
        reading |= {"value": 10, "validity": "valid", "reasons": []} | changes

    edit(baseline, give)
    edit(candidate / "run.json", lambda one: give(one, validity="invalid", reasons=["overflow"]))
    result = lpbench("check", "--baseline", baseline, candidate)
    assert INVALID == result.code
    assert "dram_bytes_read: not valid (overflow)" in result.out


def test_a_missing_record(lpbench: CommandLine, tmp_path: Path, baseline: Path) -> None:
    """Either of the two may be missing; the message names it."""
    none = tmp_path / "none.json"
    assert "none.json does not exist" in refusal(lpbench, tmp_path, "--baseline", none, baseline)
    assert "none.json does not exist" in refusal(lpbench, tmp_path, "--baseline", baseline, none)
    assert "none.json does not exist" in refusal(lpbench, tmp_path, "--baseline", none)
    (tmp_path / "folder").mkdir()
    refusal(lpbench, tmp_path, "--baseline", baseline, tmp_path / "folder")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"schema_version": 1}',
        b"\0" * 100,
    ],
    ids=["empty", "cut", "bytes", "null", "list", "object", "nested", "version", "zeros"],
)
def test_a_corrupt_record(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, content: bytes
) -> None:
    """What is no record is refused, as a baseline and as a record."""
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)
    assert "bad.json" in refusal(lpbench, tmp_path, "--baseline", bad, baseline)
    assert "bad.json" in refusal(lpbench, tmp_path, "--baseline", baseline, bad)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_record(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, share: float
) -> None:
    """A file that ends early is no record."""
    text = baseline.read_text()
    (tmp_path / "cut.json").write_text(text[: int(len(text) * share)])
    assert "cut.json" in refusal(lpbench, tmp_path, "--baseline", tmp_path / "cut.json", baseline)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, candidate: Path, version: object
) -> None:
    """A record of another version names the version that is read."""
    edit(baseline, lambda document: document.update(schema_version=version))
    line = refusal(lpbench, tmp_path, "--baseline", baseline, candidate)
    assert "schema_version" in line
    assert "1" in line


def test_an_unknown_key(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, candidate: Path
) -> None:
    """A key that this version does not know is refused, not dropped."""
    edit(baseline, lambda document: document.update(extra=1))
    assert "extra" in refusal(lpbench, tmp_path, "--baseline", baseline, candidate)


def test_a_failed_run(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, candidate: Path
) -> None:
    """A run that failed is no baseline and passes no gate."""
    failed = tmp_path / "failed.json"
    failed.write_text(example_record(status="failed", failure="interrupted").to_json())
    assert "interrupted" in refusal(lpbench, tmp_path, "--baseline", failed, candidate)
    assert "interrupted" in refusal(lpbench, tmp_path, "--baseline", baseline, failed)


@pytest.mark.parametrize(
    ("key", "value"), [("workload", "other"), ("seed", 1), ("schedules", ["whole"]), ("new", 0)]
)
def test_another_experiment(
    lpbench: CommandLine, baseline: Path, candidate: Path, key: str, value: object
) -> None:
    """Records of different experiments are not compared; the key that differs is named."""
    edit(baseline, lambda document: document["spec"].update({key: value}))
    assert key in refusal(lpbench, baseline.parent, "--baseline", baseline, candidate)


def test_another_number_of_arms(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, candidate: Path
) -> None:
    """A record that lost an arm is not comparable, though its spec is the same."""
    edit(candidate / "run.json", lambda document: document["arms"].pop())
    refusal(lpbench, tmp_path, "--baseline", baseline, candidate)


def test_routing_by_the_model(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, candidate: Path
) -> None:
    """What float rounding decides is not compared exactly."""
    for path in (baseline, candidate / "run.json"):
        edit(path, lambda document: document["spec"].update(routing="model"))
    assert "routing" in refusal(lpbench, tmp_path, "--baseline", baseline, candidate)


@pytest.mark.parametrize(
    ("key", "value"), [("model", "elsewhere"), ("workload", "8x512+32")], ids=str
)
def test_a_rerun_needs_the_catalogues(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, key: str, value: object
) -> None:
    """Without a record the baseline's model and workload must be known by name."""
    edit(baseline, lambda document: document["spec"].update({key: value}))
    line = refusal(lpbench, tmp_path, "--baseline", baseline)
    assert key in line
    assert "RECORD" in line


@pytest.mark.parametrize("key", ["model", "workload", "seed", "schedules", "dtype"])
@pytest.mark.parametrize("value", [None, [[]]], ids=["absent", "list"])
def test_a_rerun_needs_a_whole_spec(
    lpbench: CommandLine, tmp_path: Path, baseline: Path, key: str, value: object
) -> None:
    """A baseline whose spec lacks a key, or has nonsense there, cannot be run again."""

    def damage(document: dict[str, Any]) -> None:
        del document["spec"][key]
        if value is not None:
            document["spec"][key] = value

    edit(baseline, damage)
    assert key in refusal(lpbench, tmp_path, "--baseline", baseline)


@pytest.mark.parametrize("name", ["b" * 300, "\U0001f4be.json", "a\nb"])
def test_an_odd_name(lpbench: CommandLine, tmp_path: Path, name: str) -> None:
    """However a missing baseline is called, the answer is one line."""
    refusal(lpbench, tmp_path, "--baseline", tmp_path / name)


@pytest.fixture
def catalogue(tmp_path: Path, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the catalogues hold one tiny model and one small workload."""
    (tmp_path / "data" / "workloads" / "models").mkdir(parents=True)
    config = (qwen / "config.json").read_text()
    (tmp_path / "data" / "workloads" / "models" / "tiny.json").write_text(config)
    (tmp_path / "data" / "workloads" / "small.toml").write_text(SMALL_WORKLOAD)
    for module in ("shape", "workload"):
        monkeypatch.setattr(
            f"lpbench.{module}.catalogue.data_folder",
            lambda *parts: tmp_path.joinpath("data", *parts),
        )


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--num-prompts", "2", "--seed", str(2**64 - 1), "--routing", "uniform"),
        ("--dtype", "bfloat16", "--max-num-seqs", "2", "--num-kv-pages", "9"),
        ("--schedule", "whole", "--schedule", "layered:num_groups=3", "--schedule", "whole"),
    ],
    ids=["defaults", "seed", "limits", "schedules"],
)
def test_a_rerun(lpbench: CommandLine, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Without a record the baseline's run is made again as it was, and its figures are the same."""
    run = ("--model", "tiny", "--workload", "small", "--device", "cpu", *options)
    file = tmp_path / "baseline.json"
    assert OK == (made := lpbench("traffic", *run, "--json", file)).code, made.err
    before = contents(tmp_path)
    result = lpbench("check", "--baseline", file)
    assert (OK, "") == (result.code, result.err)
    assert "equal" in result.out
    assert before == contents(tmp_path)


@pytest.mark.usefixtures("catalogue")
def test_a_rerun_that_differs(lpbench: CommandLine, tmp_path: Path) -> None:
    """A baseline with another figure fails the gate, which names the arm and the metric."""
    file = tmp_path / "baseline.json"
    run = ("--model", "tiny", "--workload", "small", "--device", "cpu", "--json", file)
    assert OK == lpbench("traffic", *run).code
    edit(file, lambda document: document["arms"][1]["metrics"]["expert_bytes"].update(value=1))
    result = lpbench("check", "--baseline", file)
    assert REGRESSION == result.code
    assert all(word in result.out for word in ("layered", "expert_bytes"))
    assert "chunked" not in result.out


@pytest.mark.usefixtures("catalogue")
def test_nothing_is_rerun_that_cannot_be_compared(
    lpbench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline that no run can equal is refused before a run, not after it."""
    monkeypatch.setattr("lpbench.bench.rerun.run_traffic", lambda *_: pytest.fail("was run"))
    file = tmp_path / "baseline.json"
    spec = {**example_record().spec, "model": "tiny", "workload": "small"}
    file.write_text(example_record(spec=spec, status="failed", failure="interrupted").to_json())
    assert "interrupted" in refusal(lpbench, tmp_path, "--baseline", file)
    file.write_text(example_record(spec={**spec, "routing": "model"}).to_json())
    assert "routing" in refusal(lpbench, tmp_path, "--baseline", file)


def stored_runs(folder: Path, factor: float) -> Path:
    """Write six runs of which the later arm's TTFT is so much longer."""
    for at in range(6):
        first, second = example_record().arms
        ttft = 400 * factor * (1 + at / 1000)
        record = example_record(arms=(first, revalued(second, ttft_ms_mean=ttft)))
        (folder / str(at)).mkdir(parents=True)
        (folder / str(at) / "run.json").write_text(record.to_json())
    return folder


def test_counts_that_followed_the_clock_are_left_out(lpbench: CommandLine, tmp_path: Path) -> None:
    """Of requests that arrived in seconds: times are gated over processes, and counts are not."""
    folders = [stored_runs(tmp_path / name, 1.0) for name in ("a", "b")]
    for at, file in enumerate(sorted(tmp_path.glob("*/*/run.json"))):
        document = read_json(file)
        document["command"] = "latency"
        document["arms"][0]["metrics"]["iterations"]["value"] += at
        file.write_text(json.dumps(document))
    result = lpbench("check", "--baseline", *folders)
    assert OK == result.code, result.out
    said = " ".join(result.out.split())
    assert "counts are not compared, requests arrived in seconds" in said


def test_times_over_processes(lpbench: CommandLine, tmp_path: Path) -> None:
    """Red once is inconclusive, red twice a regression, and what is as good is green."""
    before, worse, again, good = (
        stored_runs(tmp_path / name, factor)
        for name, factor in (("a", 1.0), ("b", 1.2), ("c", 1.2), ("d", 1.001))
    )
    result = lpbench("check", "--baseline", before, worse)
    assert INCONCLUSIVE == result.code
    assert "1 seem worse and are not confirmed" in " ".join(result.out.split())
    result = lpbench("check", "--baseline", before, worse, "--confirm", again)
    assert REGRESSION == result.code
    assert "layered ttft_ms_mean: +20.00%" in result.out
    assert INCONCLUSIVE == lpbench("check", "--baseline", before, worse, "--confirm", good).code
    result = lpbench("check", "--baseline", before, good)
    assert OK == result.code
    assert "none of 8 times, rates and joules over processes got worse" in result.out


def test_folders_of_runs_go_with_folders_of_runs(
    lpbench: CommandLine, tmp_path: Path, baseline: Path
) -> None:
    """Options of the one do not go with the other; one run is not enough."""
    runs = stored_runs(tmp_path / "a", 1.0)
    for arguments, says in (
        (("--baseline", runs), "takes RECORD and --confirm"),
        (("--baseline", runs, runs, "--update-baseline"), "takes RECORD and --confirm"),
        (("--baseline", runs, baseline), "the record has 1 runs"),
        (("--baseline", baseline, baseline, "--confirm", runs), "goes with a baseline of several"),
    ):
        assert says in refusal(lpbench, tmp_path, *arguments)
