import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.workload.requests import Line
from lpbench.workload.workload import Workload, from_requests, read_workload, uniform

LEAST = "prompt_tokens = 5\noutput_tokens = 2\n"
ENTRY = "[[requests]]\n" + LEAST


def write(folder: Path, text: str) -> Path:
    """Write a workload file and return its path."""
    path = folder / "load.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """Return the one line with which a workload file is refused."""
    with pytest.raises(InputError) as caught:
        read_workload(path)
    assert 1 == len(str(caught.value).splitlines())
    return str(caught.value)


def test_a_workload_has_a_name_a_description_and_requests(tmp_path: Path) -> None:
    """All keys of the file, and of a request, are read."""
    text = (
        'name = "two"\ndescription = "one line"\n'
        "[[requests]]\narrival_iteration = 3\nprompt_token_ids = [1, 2]\noutput_tokens = 4\n"
        "context_tokens = 6\n"
        '[[requests]]\nprompt = "text"\noutput_tokens = 1\n'
    )
    expected = Workload(
        name="two",
        description="one line",
        lines=(
            Line(arrival_iteration=3, prompt=(1, 2), output_tokens=4, context_tokens=6),
            Line(prompt="text", output_tokens=1),
        ),
    )
    assert expected == read_workload(write(tmp_path, text))


def test_a_workload_without_a_name_is_called_by_its_file(tmp_path: Path) -> None:
    """The folder is no part of the name, as it would stand in a record."""
    found = read_workload(write(tmp_path, ENTRY))
    assert ("load.toml", "") == (found.name, found.description)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", [None]),
        ("count = 1\n", [None]),
        ("count = 3\n", [None] * 3),
        ("count = 3\nevery = 0\n", [None] * 3),
        ("count = 3\nevery = 4\n", [0, 4, 8]),
        ("every = 4\n", [0]),
        ("count = 2\nevery = 5\narrival_iteration = 7\n", [7, 12]),
        ("count = 2\narrival_iteration = 7\n", [7, 7]),
    ],
)
def test_an_entry_repeats_every_so_many_iterations(
    tmp_path: Path, keys: str, expected: list[int | None]
) -> None:
    """`count` requests, `every` iterations apart, from arrival_iteration on."""
    lines = read_workload(write(tmp_path, ENTRY + keys)).lines
    assert expected == [line.arrival_iteration for line in lines]
    assert {(5, 2)} == {(line.prompt, line.output_tokens) for line in lines}


def test_seconds_repeat_all_at_once(tmp_path: Path) -> None:
    """`count` goes with arrival_s where `every` does not."""
    lines = read_workload(write(tmp_path, ENTRY + "count = 2\narrival_s = 0.5\n")).lines
    assert [0.5, 0.5] == [line.arrival_s for line in lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "workload load.toml: has no [[requests]]"),
        ('name = "x"\n', "workload load.toml: has no [[requests]]"),
        ("requests = 5\n", "workload load.toml: has no [[requests]]"),
        ("[requests]\ncount = 1\n", "workload load.toml: has no [[requests]]"),
        ("requests = []\n", "load.toml is empty; expected one request a line"),
        ("requests = [7]\n", "load.toml request 1: expected a table, got 7"),
        (
            ENTRY + "every = 2\narrival_s = 0.5\n",
            "load.toml request 1: every=2 counts iterations; use arrival_iteration",
        ),
        (
            ENTRY + "arrival_s = 0.5\n" + ENTRY + "arrival_iteration = 1\n",
            "load.toml mixes arrival_s and arrival_iteration; use one of them in a file",
        ),
        (
            ENTRY + "[[requests]]\nprompt_tokens = 5\n",
            "load.toml request 2: output_tokens is missing (a whole number, 1 or more)",
        ),
        (
            ENTRY + "[[requests]]\noutput_tokens = 1\nprompt_tokens = 1979-05-27\n",
            'load.toml request 2: prompt_tokens="1979-05-27" must be a whole number, 1 or more',
        ),
    ],
)
def test_a_file_that_is_no_workload_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """The message names the file and the entry, counted from 1."""
    assert expected == refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("count = 0\n", "count=0 and every=0"),
        ("count = -1\n", "count=-1 and every=0"),
        ("count = 1.0\n", "count=1.0 and every=0"),
        ("count = true\n", "count=True and every=0"),
        ("every = -1\n", "count=1 and every=-1"),
        ('every = "2"\n', "count=1 and every=2"),
        ("count = 1000001\n", "count=1000001 and every=0"),
        ("every = 1000001\n", "count=1 and every=1000001"),
    ],
)
def test_count_and_every_are_whole_numbers(tmp_path: Path, keys: str, shown: str) -> None:
    """At least one request, and no step back in time."""
    expected = (
        f"load.toml request 1: {shown} must be whole numbers, 1 and 0 or more, at most 1000000"
    )
    assert expected == refusal(write(tmp_path, ENTRY + keys))


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt key is not passed over."""
    found = refusal(write(tmp_path, ENTRY + "arrival_iter = 2\n"))
    expected = "load.toml request 1: unknown key 'arrival_iter' (did you mean 'arrival_iteration'?)"
    assert found.startswith(expected)


@pytest.mark.parametrize("text", ["x", ENTRY + "count = ", '[[requests]]\nprompt = "a\nb"\n'])
def test_what_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    """The parser's reason is given in the same line."""
    path = write(tmp_path, text)
    assert refusal(path).startswith(f"workload file {path} cannot be read: ")


@pytest.mark.parametrize(
    "text",
    [
        ENTRY + "count = " + "9" * 5000 + "\n",
        ENTRY + "count = 10000000000000000000\n",
        ENTRY + 'count = """a\nb"""\n',
        "deep = " + "[" * 5000 + "]" * 5000 + "\n" + ENTRY,
    ],
    ids=["digits", "count", "lines", "depth"],
)
def test_what_toml_allows_and_no_workload_means_is_refused(tmp_path: Path, text: str) -> None:
    """Endless digits, more requests than fit, a text of two lines, and any depth: one line each."""
    assert "load.toml" in refusal(write(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The path is named."""
    path = tmp_path / "nowhere.toml"
    assert f"workload file {path} does not exist" == refusal(path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A folder and bytes that are not UTF-8 are no workload."""
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "\xe9"\n')
    for path in (tmp_path, latin):
        assert refusal(path).startswith(f"workload file {path} cannot be read: ")


TEXTS = st.lists(
    st.sampled_from(["[[requests]]\n", "count = ", "every = ", "prompt = ", "output_tokens = "])
    | st.sampled_from(["1\n", "-1\n", '"a"\n', "[]\n", "inf\n", "1979-05-27\n", '"""\n', "{}\n"])
    | st.text(max_size=3),
    max_size=12,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_any_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Nothing but an InputError comes out of a file of odds and ends."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_workload(path)
    except InputError as error:
        message = str(error)
    else:
        message = ""
    assert len(message.splitlines()) <= 1


def test_equal_requests_are_named_by_their_lengths() -> None:
    """They all arrive at once, and their prompts are drawn."""
    line = Line(prompt=100, output_tokens=7)
    expected = Workload(
        name="3x100+7", description="equal requests, all at once", lines=(line, line, line)
    )
    assert expected == uniform(num_prompts=3, input_len=100, output_len=7)


def test_the_first_requests_of_a_workload() -> None:
    """Name and description stay."""
    both = uniform(num_prompts=5, input_len=1, output_len=1)
    found = both.first(2)
    assert (both.name, both.description, both.lines[:2]) == (
        found.name,
        found.description,
        found.lines,
    )
    assert both == both.first(5)


def test_more_requests_than_there_are_is_refused() -> None:
    """The message speaks of the option."""
    with pytest.raises(InputError) as caught:
        uniform(num_prompts=5, input_len=1, output_len=1).first(6)
    expected = "--num-prompts 6 is more than the 5 requests of workload '5x1+1'"
    assert expected == str(caught.value)


def test_a_requests_file_is_a_workload_called_by_its_file(tmp_path: Path) -> None:
    """The folder is no part of the name here either."""
    path = tmp_path / "load.jsonl"
    path.write_text('{"prompt_tokens": 5, "output_tokens": 2}\n', encoding="utf-8")
    line = Line(prompt=5, output_tokens=2)
    expected = Workload(name="load.jsonl", description="requests file", lines=(line,))
    assert expected == from_requests(path)


@pytest.mark.parametrize(
    ("text", "description", "arrival_s"),
    [
        (
            '{"timestamp": 500, "input_length": 5, "output_length": 2, "hash_ids": [0]}\n',
            "Mooncake trace",
            0.5,
        ),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,5,2\r\n",
            "Azure LLM inference trace",
            0.0,
        ),
        ("num_prefill_tokens,num_decode_tokens\n5,2\n", "lengths of requests", None),
    ],
)
def test_a_trace_is_a_workload_called_by_its_file(
    tmp_path: Path, text: str, description: str, arrival_s: float | None
) -> None:
    """It is recognised by what is in it, whatever it is called."""
    path = tmp_path / "load.txt"
    path.write_bytes(text.encode())
    line = Line(arrival_s=arrival_s, prompt=5, output_tokens=2)
    expected = Workload(name="load.txt", description=description, lines=(line,))
    assert expected == from_requests(path)


def test_requests_may_come_through_a_pipe(tmp_path: Path) -> None:
    """Their file is opened once, so that a shell's `<(...)` works for every format."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "num_prefill_tokens,num_decode_tokens\n5,2\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    found = from_requests(pipe)
    writer.join()
    assert (Line(prompt=5, output_tokens=2),) == found.lines
