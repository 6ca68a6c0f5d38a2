"""What a file of coefficients may hold: everything that follows is a finite number."""

from dataclasses import asdict

import pytest

from lpbench.errors import InputError
from lpbench.executors.roofline.coefficients import (
    LEAST_SHARE,
    coefficient_names,
    find_coefficients,
    read_coefficients,
)

SHARES = ("memory", "compute")


def entry() -> dict[str, object]:
    """Return the file of a good set."""
    values = asdict(find_coefficients("kernels"))
    del values["name"]
    return values


def with_value(key: str, value: object) -> dict[str, object]:
    """Return the file with another value; of a table, of its experts."""
    found = entry()
    if key in SHARES:
        table = found[key]
        assert isinstance(table, dict)
        value = {**table, "experts": value}
    return {**found, key: value}


def refused(key: str, value: object) -> str:
    """Return the line with which a value is refused."""
    with pytest.raises(InputError) as caught:
        read_coefficients(with_value(key, value), name="mine")
    said = str(caught.value)
    assert 1 == len(said.splitlines())
    return said


OUTSIDE = (
    *((key, value) for key in (*SHARES, "link") for value in (0, 0.0, 1e-315, 5e-7, 1.01)),
    *((key, value) for key in ("idle_power", "host_s", "row_s") for value in (-1e-9, 1.01)),
)


def test_the_shipped_sets_are_read() -> None:
    """Each of them."""
    for name in coefficient_names():
        assert name == find_coefficients(name).name


@pytest.mark.parametrize(("key", "value"), OUTSIDE)
def test_what_is_out_of_range_is_refused(key: str, value: float) -> None:
    """The key, the value and the range; a share of 0 would divide by zero."""
    shown = "experts" if key in SHARES else key
    least = 1e-06 if key in (*SHARES, "link") else 0
    expected = f"coefficients 'mine': {shown} is {value!r}; accepted: a number, {least:g} to 1"
    assert expected == refused(key, value)


@pytest.mark.parametrize("key", [*SHARES, "link"])
@pytest.mark.parametrize("value", [True, "1", None, float("nan")])
def test_what_is_no_number_is_refused(key: str, value: object) -> None:
    """A truth value is none."""
    assert "accepted: a number, 1e-06 to 1" in refused(key, value)


@pytest.mark.parametrize("key", [*SHARES, "link"])
@pytest.mark.parametrize("value", [LEAST_SHARE, 1])
def test_the_edges_are_accepted(key: str, value: float) -> None:
    """Both of them."""
    found = getattr(read_coefficients(with_value(key, value), name="mine"), key)
    assert value == (found["experts"] if key in SHARES else found)
