import pytest

from lpbench.report.page.number import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.23456, "1.235"),
        (-0.000123456, "-0.0001235"),
        (999.94, "999.9"),
        (1234.5, "1,234"),
        (12345.6, "12,346"),
        (2e12, "2e+12"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    """Four digits, and whole ones from a thousand on."""
    assert text == number(value)
