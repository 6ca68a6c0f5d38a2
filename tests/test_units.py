import pytest

from lpbench.units import format_bytes


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("0 B", 0),
        ("999 B", 999),
        ("1.00 kB", 1000),
        ("1.50 MB", 1_500_000),
        ("57.98 GB", 57_982_058_496),
        ("35.60 TB", 35.6e12),
        ("-2.00 MB", -2_000_000),
    ],
)
def test_bytes_have_a_decimal_prefix(expected: str, value: float) -> None:
    """The prefix is the largest that leaves at least one, with two digits behind the point."""
    assert expected == format_bytes(value)
