"""A workload that cannot run is refused in one line that names the place and what is accepted."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.checkpoints import change_config
from tests.cli.command import (
    BAD_INPUT,
    OK,
    CommandLine,
    one_line,
    read_json,
    record_of,
    refused,
    run,
    write_lines,
)

DEEP = 100_000
LONG = 10_000_000
READABLE = 400
"""Characters of a message that a terminal still shows as a few lines."""


def refused_requests(
    lpbench: CommandLine, folder: Path, model: Path, content: str | bytes, *options: str | Path
) -> str:
    """Return the line with which a requests file of this content is refused."""
    file = folder / "requests.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = ("--model", model, "--requests", file, "--device", "cpu", *options)
    return refused(lpbench, folder, *arguments)


def test_no_such_file(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """A file that is not there is called so."""
    line = refused(lpbench, tmp_path, "--model", qwen, "--requests", tmp_path / "none.jsonl")
    assert "does not exist" in line


def test_a_folder(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """A folder is no requests file."""
    refused(lpbench, tmp_path, "--model", qwen, "--requests", tmp_path)


@pytest.mark.parametrize("name", ["r" * 300, "\U0001f4be.jsonl", "two words", "a\nb"])
def test_an_odd_name(lpbench: CommandLine, tmp_path: Path, qwen: Path, name: str) -> None:
    """However a missing file is called, the answer is one line."""
    refused(lpbench, tmp_path, "--model", qwen, "--requests", tmp_path / name)


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n"], ids=["nothing", "newline", "blank"])
def test_an_empty_file(lpbench: CommandLine, tmp_path: Path, qwen: Path, content: str) -> None:
    """A file without a request is empty, whatever white space it has."""
    assert "is empty" in refused_requests(lpbench, tmp_path, qwen, content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "line 1"),
        ("prompt_tokens=8", "not JSON"),
        ('{"prompt_tokens": 8, "output_tokens": 1}\n{"prompt_tokens": 8,}', "line 2"),
        ('[{"prompt_tokens": 8, "output_tokens": 1}]', "expected an object"),
        ("null", "expected an object"),
        ("8", "expected an object"),
        ("{}", "output_tokens is missing"),
        ('{"output_tokens": 1}', "has no prompt"),
        ('{"prompt_tokens": 8, "prompt": "a", "output_tokens": 1}', "exactly one of"),
        ('{"prompt_token": 8, "output_tokens": 1}', "did you mean 'prompt_tokens'"),
        ("\ufeff{}", "line 1"),
        ("\0", "line 1"),
        ("x" * LONG, "line 1"),
        ("9" * LONG, "line 1"),
        ('{"' + "k" * LONG + '": 1}', "line 1"),
        ('{"prompt_tokens": ' + "[" * DEEP + "]" * DEEP + "}", "line 1"),
        ('{"prompt_tokens": "' + "x" * LONG + '", "output_tokens": 1}', "prompt_tokens="),
    ],
    ids=[
        "cut", "words", "comma", "list", "null", "number", "nothing", "no prompt", "two prompts",
        "typo", "byte order mark", "null byte", "long garbage", "long number", "long key", "nested",
        "long string",
    ],
)  # fmt: skip
def test_a_line_that_is_no_request(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, content: str, says: str
) -> None:
    """The line's number and what is wrong with it stand in a message of readable length."""
    line = refused_requests(lpbench, tmp_path, qwen, content)
    assert says in line
    assert READABLE >= len(line)


def test_latin_1(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """A file that is not UTF-8 is named."""
    content = '{"prompt": "für", "output_tokens": 1}'.encode("latin-1")
    assert "requests.jsonl" in refused_requests(lpbench, tmp_path, qwen, content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("arrival_iteration", -1),
        ("arrival_iteration", 1.5),
        ("arrival_iteration", None),
        ("arrival_s", -0.5),
        ("arrival_s", "0"),
        ("arrival_s", True),
        ("arrival_s", float("nan")),
        ("arrival_s", float("inf")),
        ("arrival_s", 10**400),
        ("output_tokens", 0),
        ("output_tokens", 1.5),
        ("output_tokens", 1e3),
        ("output_tokens", "8"),
        ("output_tokens", [8]),
        ("prompt_tokens", True),
        ("prompt_tokens", 0),
        ("prompt_tokens", -8),
        ("prompt_tokens", "8"),
        ("prompt_tokens", None),
        ("context_tokens", -1),
        ("context_tokens", False),
    ],
    ids=lambda value: str(value)[:16],
)
def test_a_value_of_the_wrong_kind(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, key: str, value: object
) -> None:
    """A number is a number, whole where it counts, and in its range."""
    request = {"prompt_tokens": 8, "output_tokens": 2} | {key: value}
    assert f"{key}=" in refused_requests(lpbench, tmp_path, qwen, json.dumps(request))


@pytest.mark.parametrize("ids", [[], [1.0], [True], ["1"], "12", 5, [[1]], None], ids=str)
def test_prompt_token_ids_that_are_no_ids(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, ids: object
) -> None:
    """Token ids are a list of whole numbers that is not empty."""
    request = json.dumps({"prompt_token_ids": ids, "output_tokens": 1})
    assert "prompt_token_ids=" in refused_requests(lpbench, tmp_path, qwen, request)


@pytest.mark.parametrize("worst", [64, -1, 10**30])
def test_an_id_outside_the_vocabulary(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, worst: int
) -> None:
    """The id and the vocabulary's last one are named."""
    request = json.dumps({"prompt_token_ids": [0, worst, 63], "output_tokens": 1})
    line = refused_requests(lpbench, tmp_path, qwen, request)
    assert str(worst) in line
    assert "0 to 63" in line


@pytest.mark.parametrize("text", ["", 8, ["a"]], ids=str)
def test_a_prompt_that_is_no_text(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, text: object
) -> None:
    """A prompt is a text that is not empty."""
    request = json.dumps({"prompt": text, "output_tokens": 1})
    assert "prompt=" in refused_requests(lpbench, tmp_path, qwen, request)


def test_a_text_for_a_model_without_tokenizer(
    lpbench: CommandLine, tmp_path: Path, qwen: Path
) -> None:
    """A checkpoint without tokenizer.json says how else to give prompts."""
    request = json.dumps({"prompt": "layered prefill", "output_tokens": 1})
    assert "tokenizer.json" in refused_requests(lpbench, tmp_path, qwen, request)


def test_a_text_for_drawn_weights(lpbench: CommandLine, tmp_path: Path) -> None:
    """A catalogue model has no tokenizer at all."""
    request = json.dumps({"prompt": "layered prefill", "output_tokens": 1})
    line = refused_requests(lpbench, tmp_path, Path("builtin-moe"), request)
    assert "tokenizer" in line


@pytest.mark.parametrize(
    ("key", "value"), [("prompt_tokens", 5000), ("output_tokens", 5000), ("context_tokens", 10**30)]
)
def test_longer_than_the_context(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, key: str, value: int
) -> None:
    """A request longer than the model's positions is refused with their number."""
    request = json.dumps({"prompt_tokens": 8, "output_tokens": 2} | {key: value})
    assert "4096" in refused_requests(lpbench, tmp_path, qwen, request)


def test_exactly_the_context(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """The last generated token needs no position, so prompt + output may be one more."""
    shutil.copy(qwen / "config.json", tmp_path)
    change_config(tmp_path, max_position_embeddings=16)
    file = write_lines(tmp_path / "r.jsonl", {"prompt_tokens": 10, "output_tokens": 7})
    model = ("--model", tmp_path, "--load-format", "dummy", "--device", "cpu")
    result = lpbench("traffic", *model, "--requests", file)
    assert OK == result.code, result.err


def test_longer_than_the_pool(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """A request that the KV pool can never hold is refused with the pages it needs."""
    request = json.dumps({"prompt_tokens": 40, "output_tokens": 2})
    line = refused_requests(lpbench, tmp_path, qwen, request, "--num-kv-pages", "1")
    assert "KV pages" in line
    assert "3" in line


def test_arrivals_in_seconds(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """The message says where they belong."""
    request = json.dumps({"arrival_s": 0.5, "prompt_tokens": 8, "output_tokens": 2})
    assert "lpbench latency" in refused_requests(lpbench, tmp_path, qwen, request)


def test_both_arrivals_in_a_line(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """A request arrives on one clock."""
    request = {"arrival_s": 0, "arrival_iteration": 0, "prompt_tokens": 8, "output_tokens": 2}
    line = refused_requests(lpbench, tmp_path, qwen, json.dumps(request))
    assert "line 1" in line
    assert "arrival_s" in line


def test_both_arrivals_in_a_file(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """All requests of a file arrive on one clock."""
    both = [{"arrival_s": 0}, {"arrival_iteration": 0}]
    lines = [json.dumps({"prompt_tokens": 8, "output_tokens": 2} | one) for one in both]
    assert "mixes" in refused_requests(lpbench, tmp_path, qwen, "\n".join(lines))


def test_a_text_of_half_a_character(lpbench: CommandLine, tmp_path: Path, speaking: Path) -> None:
    """A lone surrogate, which JSON can write and UTF-8 cannot, is no text."""
    refused_requests(lpbench, tmp_path, speaking, r'{"prompt": "\ud800", "output_tokens": 1}')


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"], ids=["2028", "2029", "85"])
def test_a_text_with_a_line_separator(
    lpbench: CommandLine, tmp_path: Path, speaking: Path, mark: str
) -> None:
    """Lines end at newlines alone: JSON may hold Unicode's other line ends as they are."""
    file = tmp_path / "r.jsonl"
    request = {"prompt": f"layered{mark}prefill", "output_tokens": 1}
    file.write_text(json.dumps(request, ensure_ascii=False) + "\n", encoding="utf-8")
    result = lpbench("traffic", "--model", speaking, "--requests", file, "--device", "cpu")
    assert OK == result.code, result.err


@pytest.mark.parametrize("name", ["\U0001f4be.jsonl", "two words\n.jsonl", "%s{}.jsonl"])
def test_a_good_file_with_an_odd_name(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, name: str
) -> None:
    """The name goes into the record as it is."""
    file = write_lines(tmp_path / name, {"prompt_tokens": 8, "output_tokens": 1})
    arguments = ("--requests", file, "--json", tmp_path / "r.json", "--device", "cpu")
    result = lpbench("traffic", "--model", qwen, *arguments)
    assert OK == result.code, result.err
    assert name == read_json(tmp_path / "r.json")["spec"]["workload"]


def test_a_name_that_is_not_utf_8(tmp_path: Path, qwen: Path) -> None:
    """Such a name cannot stand in JSON: the run is refused or goes well, but never crashes."""
    file = os.fsencode(tmp_path) + b"/\xff.jsonl"
    Path(os.fsdecode(file)).write_text('{"prompt_tokens": 8, "output_tokens": 1}')
    result = run("traffic", "--model", qwen, "--requests", file, "--device", "cpu", "--json", "-")
    assert result.code in (OK, BAD_INPUT), result.err
    assert record_of(result.out) if result.code == OK else one_line(result.err)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "[[requests]]"),
        (b"requests = 1", "[[requests]]"),
        (b"requests = []", "is empty"),
        (b"requests = [1]", "expected a table"),
        (b"= 1", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[[requests]]\nprompt_tokens = 8\noutput_tokens = 0", "output_tokens=0"),
        (b"[[requests]]\nprompt_tokens = 8\noutput_tokens = 1\ncount = 0", "count=0"),
        (b"[[requests]]\nprompt_tokens = 8\noutput_tokens = 1\nevery = -1", "every=-1"),
        (b"[[requests]]\nprompt_tokens = 1979-05-27\noutput_tokens = 1", "prompt_tokens="),
        (b"requests = " + b"[" * DEEP + b"]" * DEEP, "workload"),
        (
            b"[[requests]]\nprompt_tokens = 8\noutput_tokens = 1\ncount = 999999999999999999",
            "count=",
        ),
    ],
    ids=[
        "empty", "number", "no requests", "no table", "no toml", "bytes", "output", "count",
        "every", "date", "nested", "many",
    ],
)  # fmt: skip
def test_a_broken_workload_file(
    lpbench: CommandLine, tmp_path: Path, qwen: Path, content: bytes, says: str
) -> None:
    """A workload file is held to the same rules."""
    file = tmp_path / "workload.toml"
    file.write_bytes(content)
    assert says in refused(lpbench, tmp_path, "--model", qwen, "--workload", file)
