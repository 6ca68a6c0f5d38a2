"""Traces are recognised by their first line, read, or refused in one line that names the place."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.workload import trace
from lpbench.workload.requests import Line
from lpbench.workload.trace import AZURE, LENGTHS, MOONCAKE, Format, find_format, parse_trace
from lpbench.workload.workload import from_requests

MOONCAKE_LINE = '{"timestamp": 3000, "input_length": 13, "output_length": 7, "hash_ids": [0, 1]}\n'
AZURE_HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
LENGTHS_HEAD = "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"


def read(text: str) -> tuple[Line, ...]:
    """Return the requests of a trace, whichever format it has."""
    form = find_format(text)
    assert form is not None
    return parse_trace(text, form, name="t")


def refusal(text: str) -> str:
    """Return the one line with which a trace is refused."""
    with pytest.raises(InputError) as caught:
        read(text)
    assert 1 == len(str(caught.value).splitlines())
    return str(caught.value)


def mooncake(**fields: object) -> str:
    """Return a line of Mooncake's with these fields changed, those that are None left out."""
    line = {"timestamp": 0, "input_length": 13, "output_length": 7} | fields
    return json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (MOONCAKE_LINE, MOONCAKE),
        ("\n  \n" + MOONCAKE_LINE, MOONCAKE),
        ('{"input_length": 1}', MOONCAKE),
        (AZURE_HEAD, AZURE),
        ("GeneratedTokens , TIMESTAMP,\tContextTokens\r\n", AZURE),
        ("ContextTokens,Generated", AZURE),
        ("\ufeff" + AZURE_HEAD, AZURE),
        (LENGTHS_HEAD, LENGTHS),
        ("arrived_at,num_prefill_tokens,num_decode_tokens", LENGTHS),
        ("num_decode_tokens", LENGTHS),
    ],
)
def test_a_format_is_recognised_by_its_first_line(first: str, expected: Format) -> None:
    """One key or column of it is enough, so that the message can say which others are missing."""
    assert expected == find_format(first)


@pytest.mark.parametrize(
    "first",
    [
        "",
        " \n\n",
        '{"prompt_tokens": 5, "output_tokens": 2}',
        '{"timestamp": 0, "prompt_tokens": 5, "output_tokens": 2}',
        '{"timestamp": 0',
        "{" * 100_000,
        '["timestamp"]',
        "timestamp,input_length,output_length",
        "timestamp_ms,prompt_tokens,output_tokens",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        "prompt_tokens=8",
        "\0",
    ],
)
def test_what_is_no_trace_is_left_to_the_reader_of_requests(first: str) -> None:
    """A line with a key of our own is ours, whatever else it holds."""
    assert find_format(first) is None


def test_mooncake_counts_milliseconds_since_the_trace_began() -> None:
    """Whole or not, and several requests may arrive in one; hash ids are left aside."""
    text = mooncake() + mooncake(timestamp=3000, hash_ids=[0, 5]) + mooncake(timestamp=3000.5)
    expected = tuple(
        Line(arrival_s=time, prompt=13, output_tokens=7) for time in (0.0, 3.0, 3.0005)
    )
    assert expected == read(text)


def test_a_mooncake_trace_that_begins_late_stays_late() -> None:
    """A part of a trace keeps the times of the whole."""
    assert 3.0 == read(MOONCAKE_LINE)[0].arrival_s


def test_azure_dates_count_from_the_first() -> None:
    """With digits beyond the microsecond, which are cut off, and across midnight."""
    text = (
        AZURE_HEAD + "2023-11-16 23:59:59.6805909,374,44\n"
        "2023-11-16 23:59:59.6805900,396,109\n2023-11-17 00:00:00.9951690,879,55\n"
    )
    expected = (
        Line(arrival_s=0.0, prompt=374, output_tokens=44),
        Line(arrival_s=0.0, prompt=396, output_tokens=109),
        Line(arrival_s=1.314579, prompt=879, output_tokens=55),
    )
    assert expected == read(text)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("2024-05-12 00:00:00+00:00", "2024-05-12 00:00:00.001163+00:00", 0.001163),
        ("2024-05-12T00:00:00Z", "2024-05-12T02:00:01+02:00", 1.0),
        ("2024-05-12 00:00:00", "2024-05-12 00:00:01Z", 1.0),
    ],
)
def test_dates_may_have_an_offset_or_no_fraction(first: str, second: str, expected: float) -> None:
    """Azure's trace of 2024 mixes both; no offset is UTC."""
    lines = read(f"{AZURE_HEAD}{first},5,2\n{second},5,2\n")
    assert expected == lines[1].arrival_s


def test_lengths_alone_have_no_arrival() -> None:
    """Other columns, and the order of the columns, do not matter."""
    text = "pd_ratio,num_decode_tokens,num_prefill_tokens\n0.08,918,74\nx,905,290\n"
    expected = (Line(prompt=74, output_tokens=918), Line(prompt=290, output_tokens=905))
    assert expected == read(text)


def test_lengths_may_say_when_they_arrived() -> None:
    """Vidur's files have the seconds in a column: to ignore it would offer another load."""
    text = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n4.314579,396,109\n"
    assert [0.0, 4.314579] == [line.arrival_s for line in read(text)]


AZURE_NEEDS = "expected one each of TIMESTAMP, ContextTokens, GeneratedTokens"
MOONCAKE_NEEDS = "expected one each of timestamp, input_length, output_length"
LENGTHS_NEEDS = "expected one each of num_prefill_tokens, num_decode_tokens"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MOONCAKE_LINE + "\n{", "t line 3: not JSON: "),
        (MOONCAKE_LINE + "[1]", "t line 2: expected an object, got [1]"),
        (
            MOONCAKE_LINE + mooncake(output_length=None),
            f"t line 2: key output_length is missing; {MOONCAKE_NEEDS}",
        ),
        (mooncake(timestamp=None), f"t line 1: key timestamp is missing; {MOONCAKE_NEEDS}"),
        (
            mooncake(outputlength=1),
            "t line 1: unknown key 'outputlength' (did you mean 'output_length'?); known: ti",
        ),
        (
            AZURE_HEAD.replace("Generated", "Made"),
            f"t line 1: column GeneratedTokens is missing; {AZURE_NEEDS}",
        ),
        (
            "TIMESTAMP," + AZURE_HEAD,
            f"t line 1: column TIMESTAMP stands more than once; {AZURE_NEEDS}",
        ),
        ("NumImages," + AZURE_HEAD, "t line 1: unknown column 'NumImages'; known: TIMESTAMP, "),
        (
            "arrived_at,num_prefill_tokens\n",
            f"t line 1: column num_decode_tokens is missing; {LENGTHS_NEEDS}",
        ),
        (LENGTHS_HEAD + "1,2,3\n", "t line 2: has 3 cells; expected 4, as many as columns"),
        (LENGTHS_HEAD + "1,2,3,4\n" + LENGTHS_HEAD, 't line 3: num_prefill_tokens="num_prefill_'),
        (AZURE_HEAD + "\n", "t is empty; expected one request a line"),
    ],
)
def test_a_malformed_line_is_named(text: str, expected: str) -> None:
    """With the file, the number of the line, what is wrong and what is accepted."""
    assert refusal(text).startswith(expected)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("0", "0"),
        ("-3", '"-3"'),
        ("", '""'),
        ("7.0", '"7.0"'),
        ("1e3", '"1e3"'),
        ("\u0663", '"\\u0663"'),
        ("9" * 5000, '"' + "9" * 36 + "..."),
    ],
)
@pytest.mark.parametrize("column", [0, 1])
def test_a_length_in_a_table_is_a_whole_number_of_one_or_more(
    column: int, cell: str, shown: str
) -> None:
    """A request that generated nothing has no token to time, and is refused by its line."""
    cells = ["5", "5"]
    cells[column] = cell
    names = ("num_prefill_tokens", "num_decode_tokens")
    expected = f"t line 2: {names[column]}={shown} must be a whole number, 1 or more"
    assert expected == refusal(",".join(names) + "\n" + ",".join(cells))


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "5", [5]])
@pytest.mark.parametrize("key", ["input_length", "output_length"])
def test_a_length_in_an_object_is_a_whole_number_of_one_or_more(key: str, value: object) -> None:
    """As in a requests.jsonl."""
    expected = f"t line 2: {key}={json.dumps(value)} must be a whole number, 1 or more"
    assert expected == refusal(mooncake() + mooncake(**{key: value}))


@pytest.mark.parametrize(
    "value", ["-1", "NaN", "Infinity", "1e999", "true", '"3"', "1" + "0" * 400]
)
def test_a_time_in_milliseconds_is_a_number_of_zero_or_more(value: str) -> None:
    """A text or a truth is none, and infinity is no time."""
    text = mooncake() + mooncake(timestamp="here").replace('"here"', value)
    message = refusal(text)
    assert message.startswith("t line 2: timestamp=")
    assert message.endswith(" must be a number of milliseconds, 0 or more")


@pytest.mark.parametrize("cell", ["-1", "nan", "inf", "", "a", "1;5"])
def test_a_time_in_seconds_is_a_number_of_zero_or_more(cell: str) -> None:
    """An empty cell is not second 0."""
    text = f"arrived_at,num_prefill_tokens,num_decode_tokens\n{cell},5,5"
    expected = f't line 2: arrived_at="{cell}" must be a number of seconds, 0 or more'
    assert expected == refusal(text)


@pytest.mark.parametrize(
    "cell",
    ["", "0", "2023-11-16", "20231116T181546", "2023-11-31 00:00:00", "2023-11-16 18:15:46+1",
     "2023-11-16 18:15:46+24:00", "16/11/2023 18:15:46", "2023-11-16 18:15:60"],
)  # fmt: skip
def test_a_date_is_a_date_and_a_time(cell: str) -> None:
    """Spelt with the year first, and a day that exists."""
    expected = (
        f't line 2: TIMESTAMP="{cell}" must be a date and time such as 2023-11-16 18:15:46.680'
    )
    assert expected == refusal(f"{AZURE_HEAD}{cell},5,5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (mooncake(timestamp=3) + "\n" + mooncake(timestamp=2), "t line 3: timestamp=2"),
        (
            AZURE_HEAD + "2023-11-16 18:15:46,5,5\n2023-11-16 18:15:45,5,5\n",
            't line 3: TIMESTAMP="2023-11-16 18:15:45"',
        ),
        (
            "arrived_at,num_prefill_tokens,num_decode_tokens\n2,5,5\n1.5,5,5",
            't line 3: arrived_at="1.5"',
        ),
    ],
)
def test_a_trace_is_in_order(text: str, expected: str) -> None:
    """The line that goes back in time is named."""
    rest = " is before that of the request above it; a trace is in order of arrival"
    assert expected + rest == refusal(text)


def test_a_trace_has_so_many_lines_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header counts, a line feed at the end does not."""
    monkeypatch.setattr(trace, "MOST_LINES", 3)
    assert 2 == len(read(LENGTHS_HEAD + "1,2,3,4\n" * 2))
    expected = "t has 4 lines; accepted: at most 3, as head -n cuts them"
    assert expected == refusal(LENGTHS_HEAD + "1,2,3,4\n" * 3)
    assert expected == refusal((mooncake() * 4).strip())


def test_the_limit_is_a_million_lines() -> None:
    """Azure's trace of 2024 has 44 million: nobody means to run it whole."""
    assert 1_000_000 == trace.MOST_LINES


ODDS = st.sampled_from(
    [
        MOONCAKE_LINE.encode(),
        AZURE_HEAD.encode(),
        LENGTHS_HEAD.encode(),
        b"arrived_at,num_prefill_tokens,num_decode_tokens\n",
        b"2023-11-16 18:15:46.6805900,374,44\r\n",
        b"74,918,992,0.08\n",
        b"1.5,918,992\n",
        b'{"timestamp": 1e3, "input_length": ',
        b'1, "output_length": 1}\n',
        b"\xef\xbb\xbf",
        b"\xff",
        b"\n",
        b"\r",
        b"\x85",
        b"\xe2\x80\xa8",
        b'"',
        b",",
        b"-",
    ]
)


@settings(max_examples=300, deadline=None)
@given(content=st.lists(ODDS | st.binary(max_size=4), max_size=8).map(b"".join))
@example(content=MOONCAKE_LINE.encode() * 3)
@example(content=AZURE_HEAD.encode() + b"0001-01-01 00:00:00+14:00,1,1\n9999-12-31 23:59:59Z,1,1")
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Nothing but an InputError comes out of a file of odds and ends, and times are in order."""
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content)
    lines: tuple[Line, ...] = ()
    message = ""
    try:
        lines = from_requests(path).lines
    except InputError as error:
        message = str(error)
    assert bool(lines) != bool(message)
    assert len(message.splitlines()) <= 1
    times = [line.arrival_s or 0.0 for line in lines]
    assert sorted(times) == times
    assert all(isinstance(line.prompt, int) and line.prompt >= 1 for line in lines)
