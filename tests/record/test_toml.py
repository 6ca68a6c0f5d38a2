"""TOML that is written is what tomllib reads."""

import math
import tomllib
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.record.toml import rounded, to_toml

KEYS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz_", min_size=1)
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text(alphabet=printable)
PLAIN = (
    TEXTS | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.lists(TEXTS, max_size=3)
)
TABLES = st.dictionaries(KEYS, st.dictionaries(KEYS, PLAIN, max_size=3), max_size=3)


@given(plain=st.dictionaries(KEYS, PLAIN, max_size=5), tables=TABLES)
def test_what_is_written_is_read(plain: dict[str, object], tables: dict[str, object]) -> None:
    """Every number, text and list to the last bit, in its table."""
    assert plain | tables == tomllib.loads(to_toml(plain | tables))


def test_none_is_left_out() -> None:
    """TOML has no null."""
    assert "a = 1\n\n[b]\n" == to_toml({"b": {"c": None}, "a": 1, "d": None})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8.714e10, "8.714e+10"),
        (1.9e-05, "1.9e-05"),
        (0.83, "0.83"),
        (math.inf, "inf"),
        (10**10, "10000000000"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    """Powers of ten where there are many zeros."""
    assert f"x = {text}\n" == to_toml({"x": value})


@pytest.mark.parametrize(("value", "expected"), [(0.123456, 0.1235), (87141234567.0, 8.714e10)])
def test_measured_numbers_have_four_digits(value: float, expected: float) -> None:
    """More would not come out again."""
    assert expected == rounded(value)
