import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.workload.requests import KEYS, Line, check_lines, parse_line, read_requests

LEAST = {"prompt_tokens": 5, "output_tokens": 2}
KNOWN = ", ".join(KEYS)


def write(folder: Path, *lines: str) -> Path:
    """Write a requests.jsonl and return its path."""
    path = folder / "load.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def refusal(fields: object) -> str:
    """Return the message with which a line is refused, less where it stands."""
    with pytest.raises(InputError) as caught:
        parse_line(fields, where="here")
    message = str(caught.value)
    assert message.startswith("here: ")
    assert "\n" not in message
    return message.removeprefix("here: ")


def file_refusal(path: Path) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_requests(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (LEAST, Line(prompt=5, output_tokens=2)),
        (
            {"prompt_token_ids": [3, 1, 3], "output_tokens": 1},
            Line(prompt=(3, 1, 3), output_tokens=1),
        ),
        ({"prompt": "Hé\n", "output_tokens": 1}, Line(prompt="Hé\n", output_tokens=1)),
        (LEAST | {"arrival_s": 0.25}, Line(arrival_s=0.25, prompt=5, output_tokens=2)),
        (LEAST | {"arrival_s": 3}, Line(arrival_s=3.0, prompt=5, output_tokens=2)),
        (LEAST | {"arrival_s": 0}, Line(arrival_s=0.0, prompt=5, output_tokens=2)),
        (LEAST | {"arrival_iteration": 0}, Line(arrival_iteration=0, prompt=5, output_tokens=2)),
        (LEAST | {"arrival_iteration": 7}, Line(arrival_iteration=7, prompt=5, output_tokens=2)),
        (LEAST | {"context_tokens": 0}, Line(prompt=5, output_tokens=2)),
        (LEAST | {"context_tokens": 9}, Line(prompt=5, output_tokens=2, context_tokens=9)),
    ],
)
def test_every_key_reaches_the_line(fields: dict[str, object], expected: Line) -> None:
    """Each key of a request is read; those left out have their defaults."""
    assert expected == parse_line(fields, where="here")


def test_an_arrival_is_none_where_it_is_not_stated() -> None:
    """No arrival is neither clock, so that such lines mix with either."""
    line = parse_line(LEAST, where="here")
    assert (None, None, 0) == (line.arrival_s, line.arrival_iteration, line.context_tokens)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([1], "expected an object, got [1]"),
        ("text", 'expected an object, got "text"'),
        (None, "expected an object, got null"),
        (
            LEAST | {"output_token": 1},
            f"unknown key 'output_token' (did you mean 'output_tokens'?); known: {KNOWN}",
        ),
        (LEAST | {"x\ny": 1}, f"unknown key 'x\\ny'; known: {KNOWN}"),
        (
            LEAST | {"arrival_s": 0, "arrival_iteration": 0},
            "has both arrival_s and arrival_iteration; use one of them",
        ),
        ({"prompt_tokens": 5}, "output_tokens is missing (a whole number, 1 or more)"),
        (
            {"output_tokens": 1},
            "has no prompt; give exactly one of prompt_token_ids, prompt_tokens, prompt",
        ),
        (
            LEAST | {"prompt": "a", "prompt_token_ids": [1]},
            (
                "has prompt_token_ids and prompt_tokens and prompt; give exactly one of "
                "prompt_token_ids, prompt_tokens, prompt"
            ),
        ),
    ],
)
def test_a_line_with_the_wrong_keys_is_refused(fields: object, expected: str) -> None:
    """Unknown, missing and excluding keys are named."""
    assert expected == refusal(fields)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-1, "-1"),
        (1.0, "1.0"),
        (True, "true"),
        ("2", '"2"'),
        (None, "null"),
        ([2], "[2]"),
        (float("nan"), "NaN"),
        ("x" * 60, '"' + "x" * 36 + "..."),
        ("a\nb", '"a\\nb"'),
    ],
)
@pytest.mark.parametrize("key", ["prompt_tokens", "output_tokens"])
def test_a_length_is_a_whole_number_of_one_or_more(key: str, value: object, shown: str) -> None:
    """The message shows key, value (cut to fit a line) and range."""
    expected = f"{key}={shown} must be a whole number, 1 or more"
    assert expected == refusal(LEAST | {key: value})


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1"), (0.0, "0.0"), (False, "false")])
@pytest.mark.parametrize("key", ["arrival_iteration", "context_tokens"])
def test_an_iteration_or_a_context_may_be_nothing(key: str, value: object, shown: str) -> None:
    """Zero is in range, and less or no whole number is not."""
    expected = f"{key}={shown} must be a whole number, 0 or more"
    assert expected == refusal(LEAST | {key: value})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-0.1, "-0.1"),
        (float("inf"), "Infinity"),
        (float("nan"), "NaN"),
        (True, "true"),
        ("1", '"1"'),
        (None, "null"),
    ],
)
def test_an_arrival_in_seconds_is_a_number_of_zero_or_more(value: object, shown: str) -> None:
    """Neither negative nor infinite nor a text."""
    expected = f"arrival_s={shown} must be a number of seconds, 0 or more"
    assert expected == refusal(LEAST | {"arrival_s": value})


def test_an_arrival_too_large_for_a_float_is_refused() -> None:
    """A whole number of 400 digits is no number of seconds."""
    assert "must be a number of seconds, 0 or more" in refusal(LEAST | {"arrival_s": 10**400})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([], "[]"),
        (3, "3"),
        ("12", '"12"'),
        ([1, 2.0], "[1, 2.0]"),
        ([1, True], "[1, true]"),
        ([1, None], "[1, null]"),
    ],
)
def test_token_ids_are_whole_numbers(value: object, shown: str) -> None:
    """A list of them, not empty."""
    expected = f"prompt_token_ids={shown} must be a list of whole numbers, not empty"
    assert expected == refusal({"prompt_token_ids": value, "output_tokens": 1})


@pytest.mark.parametrize(("value", "shown"), [("", '""'), (5, "5"), (["a"], '["a"]')])
def test_a_prompt_is_a_text(value: object, shown: str) -> None:
    """A text that is not empty."""
    expected = f"prompt={shown} must be a text that is not empty"
    assert expected == refusal({"prompt": value, "output_tokens": 1})


@pytest.mark.parametrize("half", ["\ud800", "a\udfffb"])
def test_half_a_character_is_no_text(half: str) -> None:
    """JSON can spell a surrogate alone, which no tokenizer can read."""
    assert refusal({"prompt": half, "output_tokens": 1}).startswith("prompt=")


def test_a_value_too_deep_to_show_is_refused() -> None:
    """What cannot be printed is still refused."""
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert refusal(LEAST | {"output_tokens": nested}).endswith("a whole number, 1 or more")


def test_a_file_holds_one_request_a_line(tmp_path: Path) -> None:
    """Lines keep their order, and blank lines count for nothing."""
    path = write(tmp_path, json.dumps(LEAST), "", "  ", json.dumps(LEAST | {"context_tokens": 1}))
    expected = (
        Line(prompt=5, output_tokens=2),
        Line(prompt=5, output_tokens=2, context_tokens=1),
    )
    assert expected == read_requests(path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes"),
        ("5", "expected an object, got 5"),
        ('{"output_tokens": 1}', "has no prompt"),
        ('{"prompt_tokens": 1, "output_tokens": 0}', "output_tokens=0 must be"),
        ('{"prompt_tokens": ' + "1" * 5000 + "}", "not JSON: Exceeds the limit"),
        ("[" * 100_000, "not JSON: "),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str, expected: str) -> None:
    """Lines count from 1, blank ones too."""
    path = write(tmp_path, json.dumps(LEAST), "", line)
    assert file_refusal(path).startswith(f"load.jsonl line 3: {expected}")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_a_separator_that_json_allows_in_a_text_ends_no_line(
    tmp_path: Path, separator: str
) -> None:
    """Unicode line and paragraph separators may stand raw in a JSON string: only LF ends a line."""
    line = json.dumps({"prompt": f"a{separator}b", "output_tokens": 1}, ensure_ascii=False)
    expected = (Line(prompt=f"a{separator}b", output_tokens=1),)
    assert expected == read_requests(write(tmp_path, line))
    assert file_refusal(write(tmp_path, line, "{")).startswith("load.jsonl line 2: ")


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    """A carriage return before the line feed is white space."""
    path = write(tmp_path, json.dumps(LEAST) + "\r", json.dumps(LEAST) + "\r")
    assert 2 == len(read_requests(path))


@pytest.mark.parametrize("lines", [(), ("", "   ")])
def test_a_file_without_requests_is_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    """Nothing to run is an error."""
    expected = "load.jsonl is empty; expected one request a line"
    assert expected == file_refusal(write(tmp_path, *lines))


def test_a_file_that_mixes_clocks_is_refused(tmp_path: Path) -> None:
    """Seconds in one line and iterations in another do not compare."""
    lines = (LEAST | {"arrival_s": 0}, LEAST, LEAST | {"arrival_iteration": 3})
    expected = "load.jsonl mixes arrival_s and arrival_iteration; use one of them in a file"
    assert expected == file_refusal(write(tmp_path, *map(json.dumps, lines)))


@pytest.mark.parametrize("key", ["arrival_s", "arrival_iteration"])
def test_lines_without_an_arrival_mix_with_either_clock(key: str) -> None:
    """An arrival that is not stated is 0 on whichever clock the file uses."""
    lines = [parse_line(fields, where="here") for fields in (LEAST, LEAST | {key: 4})]
    assert tuple(lines) == check_lines(lines, where="here")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The path is named."""
    path = tmp_path / "nowhere.jsonl"
    assert f"requests file {path} does not exist" == file_refusal(path)


def test_a_folder_is_no_requests_file(tmp_path: Path) -> None:
    """What cannot be read is refused with the system's reason."""
    expected = f"requests file {tmp_path} cannot be read: "
    assert file_refusal(tmp_path).startswith(expected)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Bytes of another encoding are not guessed at."""
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"prompt": "\xe9", "output_tokens": 1}\n')
    assert file_refusal(path).startswith(f"requests file {path} cannot be read: 'utf-8' codec")


def test_a_nesting_of_any_depth_is_refused(tmp_path: Path) -> None:
    """Around the depth where JSON can just be read it must still be shown or refused."""
    for depth in range(900, 1010):
        nested = "[" * depth + "]" * depth
        path = write(tmp_path, f'{{"prompt_tokens": 1, "output_tokens": {nested}}}')
        assert file_refusal(path).startswith("load.jsonl line 1: ")


def refusal_if_any(call: Callable[[], object]) -> str:
    """Return the message with which a call is refused, empty where it is not."""
    try:
        call()
    except InputError as error:
        return str(error) or "refused without a word"
    return ""


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(KEYS) | st.text(max_size=20)
REQUESTS = st.dictionaries(NAMES, VALUES, max_size=5)
MUTATED = st.builds(
    lambda changes, dropped: {
        key: value for key, value in (LEAST | changes).items() if key not in dropped
    },
    REQUESTS,
    st.sets(st.sampled_from(KEYS), max_size=2),
)


@settings(max_examples=200, deadline=None)
@given(fields=MUTATED | VALUES)
def test_any_value_is_a_line_or_refused_in_one_line(fields: object) -> None:
    """Nothing but an InputError of one line comes out, and it says where."""
    message = refusal_if_any(lambda: parse_line(fields, where="here"))
    assert message.startswith("here: ") or not message
    assert len(message.splitlines()) <= 1


def spoil(text: str, *, at: int, cut: int, inserted: str) -> str:
    """Replace `cut` characters of a text."""
    at %= len(text) + 1
    return text[:at] + inserted + text[at + cut :]


@settings(max_examples=200, deadline=None)
@given(
    fields=MUTATED,
    at=st.integers(0, 1000),
    cut=st.integers(0, 3),
    inserted=st.text(max_size=3) | st.sampled_from(["\n", '"', "}", "[", "1e999", "NaN", "-"]),
)
def test_any_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    fields: dict[str, object],
    at: int,
    cut: int,
    inserted: str,
) -> None:
    """JSON with a few characters changed gives lines or an InputError of one line."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    text = spoil(json.dumps(fields), at=at, cut=cut, inserted=inserted)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert len(refusal_if_any(lambda: read_requests(path)).splitlines()) <= 1
