"""What `lpbench check` says.

Owns: the words for equal and for different.
Must not know: exit codes.
"""

from lpbench.analysis.gate import Difference, Gate
from lpbench.analysis.metrics import METRICS
from lpbench.units import COUNT


def gate_lines(found: Gate, *, baseline: str) -> tuple[str, ...]:
    """Return the verdict, and a line per figure that differs."""
    what = f"{found.compared} exact figures of {found.arms} arms"
    if not found.differences:
        return (f"check: {what} equal {baseline}",)
    count = len(found.differences)
    return (
        f"check: {count} of {what} differ from {baseline}",
        *(_line(one) for one in found.differences),
    )


def _line(one: Difference) -> str:
    unit = METRICS[one.metric].unit
    share = ""
    if one.baseline and one.candidate is not None:
        share = f" ({one.candidate / one.baseline - 1:+.3%})"
    shown = "" if unit == COUNT else f" {unit}"
    return f"  {one.arm} {one.metric}: {one.candidate}{shown}, baseline {one.baseline}{share}"
