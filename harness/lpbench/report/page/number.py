"""How a number is written on a page.

Owns: its digits.
Must not know: what it is of.
"""

_WHOLE_FROM, _WHOLE_BELOW = 1e3, 1e9


def number(value: float) -> str:
    """Return a number in four digits, large ones whole."""
    is_whole = _WHOLE_FROM <= abs(value) < _WHOLE_BELOW
    return f"{value:,.0f}" if is_whole else f"{value:.4g}"
