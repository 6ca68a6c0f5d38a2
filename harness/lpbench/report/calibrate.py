"""What `lpbench calibrate` says: the coefficients, how far off they are, what they rest on.

Owns: the words and the rounding.
Must not know: how a coefficient is fitted.
"""

from textwrap import fill

from lpbench.bench.calibration import Calibration
from lpbench.bench.deviation import Off
from lpbench.bench.factors import FALL, Told
from lpbench.report.table import Table

ABSENT = "-"

HOW_COLUMNS = 22
"""Columns of the words that say how a coefficient came about."""


def coefficients_table(found: Calibration) -> Table:
    """Return one row per coefficient, or per group of them that moves together."""
    return Table(
        columns=("coefficient", "start", "now", "+-", "how"),
        rows=tuple(
            (one.name, f"{one.start:.3g}", f"{one.value:.3g}", _error(one), _how(one))
            for one in found.told
        ),
        left=(0, 4),
    )


def _error(one: Told) -> str:
    return ABSENT if one.error is None else f"{one.error:.1g}"


def _how(one: Told) -> str:
    """Return whether it was fitted, in lines that leave the names their room."""
    return fill(f"assumed: {one.why}", HOW_COLUMNS) if one.why else "fitted"


def errors_table(found: Calibration) -> Table:
    """Return how far predictions are off, on what was fitted and on what was not."""
    rows = [
        (where, *_off(one))
        for where, errors in (("held out", found.held_out), ("fitted", found.seen))
        for one in errors
    ]
    return Table(
        columns=("", "predicted/measured - 1", "number", "median", "p90", "of the sum"),
        rows=tuple(rows),
        left=(0, 1),
    )


def _off(one: Off) -> tuple[str, ...]:
    p90 = ABSENT if one.p90 is None else f"{one.p90:.1%}"
    return one.what, str(one.count), f"{one.median:.1%}", p90, f"{one.total:+.1%}"


def calibrate_notes(found: Calibration) -> tuple[str, ...]:
    """Return what a reader must know besides."""
    start = found.start.name
    said = [
        (
            f"Shares are of the peaks of {found.device.name}. Projections, dense layers and the "
            "head move with the experts, and both shares of an attention together, in the ratios "
            f"of {start!r}; what is assumed is as in {start!r}, and so are ridge and link."
        ),
        (
            "A standard error takes ten passes in a row for one, and what is assumed for "
            "uncertain: an overhead by ten times its value. Median and p90 are of the error's "
            "size; a p90 over too few is left out; 'of the sum' is that of all times together, "
            "outliers included, which the fit plays down."
        ),
        f"Held out: {found.how}.",
    ]
    if not found.held_out:
        said.append("Nothing was held out: how well the coefficients predict is not known.")
    at_peak = [one.name for one in found.told if "." in one.name and one.value == 1 and not one.why]
    if at_peak:
        said.append(
            f"{', '.join(at_peak)} at the device's peak: more than that was measured, from caches "
            "perhaps."
        )
    fallen = [one.name for one in found.told if one.has_fallen]
    if fallen:
        said.append(
            f"{', '.join(fallen)} fell by more than {FALL:g}: no kernel is so slow, and it stands "
            "for something else that the passes wait for."
        )
    return (*said, *(f"Fitted: {line}." for line in found.runs))
