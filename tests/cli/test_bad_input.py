"""A wrong option is refused in one line with exit code 2, and nothing is left behind."""

from pathlib import Path

import pytest

from tests.cli.command import (
    BAD_INPUT,
    OK,
    UNAVAILABLE,
    CommandLine,
    contents,
    one_line,
    refused,
)

SMALL = ("--input-len", "8", "--output-len", "2", "--num-prompts", "2", "--device", "cpu")


@pytest.fixture
def tiny(qwen: Path) -> tuple[str, ...]:
    """Return the options of a run that goes well."""
    return ("traffic", "--model", str(qwen), *SMALL)


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("layerd", "did you mean 'layered'"),
        ("", "unknown schedule"),
        (":", "unknown schedule"),
        ("Layered", "did you mean 'layered'"),
        ("layered:token_per_group=512", "did you mean 'tokens_per_group'"),
        ("chunked:num_groups=4", "max_num_batched_tokens"),
        ("hybrid:tokens_per_group=4", "chunk, num_groups"),
        ("layered:num_groups=many", "num_groups='many'"),
        ("layered:num_groups=1.5", "num_groups='1.5'"),
        ("layered:num_groups", "key=value"),
        ("layered:num_groups=", "key=value"),
        ("layered:num_groups=2,num_groups=3", "each key once"),
        ("layered:=3", "unknown parameter"),
        ("layered:num_groups=0", "num_groups=0 is out of range"),
        ("layered:num_groups=-1", "num_groups=-1 is out of range"),
        ("layered:max_num_batched_tokens=0", "max_num_batched_tokens=0 is out of range"),
        ("layered:tokens_per_group=0", "tokens_per_group=0 is out of range"),
        ("layered:rule=foo", "accepted: ceil, table"),
        ("layered:rule=table,max_groups=5", "accepted: 4, 12, 16, 24"),
        ("layered:max_groups=5", "accepted: 4, 12, 16, 24"),
        ("chunked:max_num_batched_tokens=0", "max_num_batched_tokens=0 is out of range"),
        ("whole:max_num_batched_tokens=0", "max_num_batched_tokens=0 is out of range"),
        ("hybrid:chunk=0", "chunk=0 is out of range"),
        ("hybrid:num_groups=0", "num_groups=0 is out of range"),
        ("chunked:max_num_batched_tokens=1", "starve"),
        ("whole:max_num_batched_tokens=7", "more than max_num_batched_tokens=7"),
        ("layered:num_groups=" + "9" * 5000, "num_groups="),
        ("l" * 100_000, "unknown schedule"),
    ],
    ids=lambda value: value[:40],
)
def test_a_schedule_that_cannot_be_built(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, schedule: str, says: str
) -> None:
    """The schedule or its parameter is named with what is accepted."""
    assert says in refused(lpbench, tmp_path, "--model", qwen, *SMALL, "--schedule", schedule)


@pytest.mark.parametrize(
    ("budget", "max_num_seqs", "code"),
    [(3, 256, BAD_INPUT), (4, 256, OK), (2, 2, BAD_INPUT), (3, 2, OK), (1, 1, BAD_INPUT)],
)
def test_a_budget_that_could_starve_prompts(
    lpbench: CommandLine, qwen: Path, budget: int, max_num_seqs: int, code: int
) -> None:
    """Four requests: refused when the budget <= min(max_num_seqs, 3), accepted above."""
    lengths = ("--input-len", "4", "--output-len", "2", "--num-prompts", "4", "--device", "cpu")
    schedule = f"chunked:max_num_batched_tokens={budget}"
    result = lpbench(
        "traffic", "--model", qwen, *lengths, "--schedule", schedule,
        "--max-num-seqs", str(max_num_seqs),
    )  # fmt: skip
    assert code == result.code, result.err
    assert code == OK or "starve" in one_line(result.err)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--dtype", "float64"), "float32, bfloat16, mxfp4"),
        (("--dtype", "mxfp4"), "--dtype mxfp4 needs --kernels triton"),
        (("--routing", "calibrate"), "did you mean 'calibrated'"),
        (("--load-format", "safetensors"), "auto, dummy"),
        (("--executor", "vllm"), "torch"),
        (("--device", "tpu"), "cpu, cuda"),
        (("--meter", "cupt"), "did you mean 'cupti'"),
        (("--meter", "nvml"), "known: cupti, gpm, ncu"),
        (("--device", "cuda:"), "cuda:N"),
        (("--device", "cuda:x"), "cuda:N"),
        (("--device", "cuda:-1"), "cuda:N"),
        (("--device", "cuda:²"), "cuda:N"),
        (("--device", "cpu:"), "unknown device"),
        (("--device", "cpu:1"), "unknown device"),
        (("--device", ""), "unknown device"),
        (("--seed", "-1"), "--seed -1"),
        (("--seed", str(2**64)), "--seed"),
        (("--seed", "one"), "--seed"),
        (("--num-prompts", "0"), "--num-prompts 0"),
        (("--num-prompts", "-3"), "--num-prompts -3"),
        (("--input-len", "0"), "--input-len 0"),
        (("--output-len", "0"), "--output-len 0"),
        (("--max-num-seqs", "0"), "--max-num-seqs 0"),
        (("--num-kv-pages", "0"), "--num-kv-pages 0"),
        (("--gpu-memory-utilization", "0"), "--gpu-memory-utilization 0"),
        (("--gpu-memory-utilization", "1.01"), "accepted: above 0, at most 1"),
        (("--gpu-memory-utilization", "nan"), "--gpu-memory-utilization nan"),
        (("--num-prompts", "1.5"), "--num-prompts"),
        (("--no-such-option",), "--no-such-option"),
        (("--schedul", "whole"), "--schedule"),
        (("--seed",), "--seed"),
        (("stray",), "stray"),
        (("--workload", "mixed"), "exclude each other"),
        (("--requests", "r.jsonl"), "exclude each other"),
    ],
    ids=str,
)
def test_an_option_that_is_wrong(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, options: tuple[str, ...], says: str
) -> None:
    """The option, its value or what is accepted stands in the message."""
    before = contents(tmp_path)
    places = ("--output", tmp_path / "run", "--json", tmp_path / "record.json")
    result = lpbench("traffic", "--model", qwen, *SMALL, *places, *options)
    assert (BAD_INPUT, "") == (result.code, result.out), result.err
    assert says in one_line(result.err)
    assert before == contents(tmp_path)


@pytest.mark.parametrize("number", [10**15, 10**30])
def test_more_prompts_than_memory_holds(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, number: int
) -> None:
    """A number of requests that no machine can hold is refused, not tried."""
    lengths = ("--input-len", "8", "--output-len", "2", "--device", "cpu")
    refused(lpbench, tmp_path, "--model", qwen, *lengths, "--num-prompts", str(number))


@pytest.mark.parametrize(
    ("workload", "says"),
    [
        ("mixd", "did you mean 'mixed'"),
        ("none.toml", "does not exist"),
        ("", ""),
        ("w" * 300, ""),
    ],
    ids=["typo", "file", "empty", "long"],
)
def test_an_unknown_workload(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, workload: str, says: str
) -> None:
    """A name that is not in the catalogue is answered with the nearest and the known ones."""
    assert says in refused(lpbench, tmp_path, "--model", qwen, "--workload", workload)


def test_a_workload_with_fewer_requests(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """--num-prompts takes the first so many, so there must be as many."""
    line = refused(lpbench, tmp_path, "--model", qwen, "--num-prompts", "99")
    assert "13 requests" in line


def test_workload_and_requests(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """Two sources of requests exclude each other."""
    both = ("--workload", "mixed", "--requests", tmp_path / "r.jsonl")
    line = refused(lpbench, tmp_path, "--model", qwen, *both)
    assert all(option in line for option in ("--workload", "--requests"))


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_device_that_is_not_there(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without the device answers 77, before anything is written."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = ("--model", qwen, *SMALL, "--device", device)
    assert device in refused(lpbench, tmp_path, *options, code=UNAVAILABLE)


@pytest.mark.parametrize("what", ["nothing", "model", "", "../models"])
def test_a_list_of_nothing(lpbench: CommandLine, what: str) -> None:
    """An unknown catalogue is answered with the known ones."""
    result = lpbench("list", what)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert "models, devices, workloads, suites, schedules, meters" in one_line(result.err)


@pytest.mark.parametrize(
    "arguments", [("list",), ("check",), ("trafic",), ("--bogus",), ("list", "models", "more")]
)
def test_a_command_that_is_incomplete(lpbench: CommandLine, arguments: tuple[str, ...]) -> None:
    """What is missing or too much is said in one line."""
    result = lpbench(*arguments)
    assert (BAD_INPUT, "") == (result.code, result.out)
    one_line(result.err)


def test_an_output_folder_that_is_not_empty(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """What is in it stays as it was."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("precious")
    unwritable(lpbench, tmp_path, *tiny, "--output", tmp_path / "run")


def test_an_output_that_is_a_file(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """The file stays as it was."""
    (tmp_path / "run").write_text("precious")
    unwritable(lpbench, tmp_path, *tiny, "--output", tmp_path / "run")


def test_an_output_below_a_file(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """No folder can be made below a file."""
    (tmp_path / "file").write_text("precious")
    unwritable(lpbench, tmp_path, *tiny, "--output", tmp_path / "file" / "run")


def test_an_output_in_proc(lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    """No folder can be made where the system makes them."""
    unwritable(lpbench, tmp_path, *tiny, "--output", Path("/proc/lpbench-run"))


def test_an_output_with_a_long_name(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """No folder can have such a name."""
    unwritable(lpbench, tmp_path, *tiny, "--output", tmp_path / ("o" * 300))


def test_an_output_that_is_a_dangling_link(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """A link to nowhere is no folder."""
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    unwritable(lpbench, tmp_path, *tiny, "--output", tmp_path / "run")


@pytest.mark.parametrize(
    "json", ["none/record.json", "", "j" * 300], ids=["none", "folder", "long"]
)
def test_a_json_file_that_cannot_be_written(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...], json: str
) -> None:
    """A missing folder, a folder and an impossible name are refused before the run."""
    unwritable(lpbench, tmp_path, *tiny, "--json", tmp_path / json)


def test_a_bad_json_file_leaves_no_output_folder(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """Both places are looked at before one of them is taken."""
    places = ("--output", tmp_path / "run", "--json", tmp_path / "none" / "record.json")
    unwritable(lpbench, tmp_path, *tiny, *places)


def unwritable(lpbench: CommandLine, folder: Path, *arguments: str | Path) -> None:
    """Run and expect one line, exit code 2 and everything as it was."""
    before = contents(folder)
    result = lpbench(*arguments)
    assert (BAD_INPUT, "") == (result.code, result.out), result.err
    one_line(result.err)
    assert before == contents(folder)


def test_an_empty_output_folder_is_taken(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """A folder without anything in it may be the run's own."""
    (tmp_path / "run").mkdir()
    result = lpbench(*tiny, "--output", tmp_path / "run")
    assert OK == result.code, result.err
    assert (tmp_path / "run" / "run.json").is_file()


def test_an_output_folder_is_made_with_its_parents(
    lpbench: CommandLine, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """A new folder may lie in new folders, with emoji and blanks."""
    run = tmp_path / "new \U0001f4be" / "run"
    result = lpbench(*tiny, "--output", run)
    assert OK == result.code, result.err
    assert (run / "run.json").is_file()
