"""Numbers as people read them.

Owns: the units of records and how they are printed.
Must not know: which metric a number is.
"""

BYTES, COUNT, RATIO, MILLISECONDS = "B", "1", "ratio", "ms"
JOULES, WATTS = "J", "W"
PER_SECOND = "1/s"
FLOPS, FLOPS_PER_SECOND, BYTES_PER_SECOND = "FLOP", "FLOP/s", "B/s"
"""The units a record uses."""

_PREFIXES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def format_bytes(value: float) -> str:
    """Return bytes with a decimal prefix and two decimals: 57.98 GB."""
    for size, unit in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f} B"
