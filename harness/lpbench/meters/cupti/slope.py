"""Bytes of one repetition: the slope between a window of N repetitions and one of 2N.

Owns: the difference of two readings, with what is known of its error.
Must not know: how a window was measured.

(B(2N) - B(N)) / N is free of whatever comes once a window: start-up, write-back of dirty lines.
"""

from lpbench.record.schema import Reading


def slope(*, once: Reading, twice: Reading, repetitions: int) -> Reading:
    """Return what one repetition took.

    Args:
        once: of the window of N repetitions.
        twice: of the window of 2N, of the same quantity.
        repetitions: N.

    Returns:
        A reading as good as the worse of the two; its uncertainty is the sum of theirs over N, and
        what does not rise above it is `not_resolved`.
    """
    assert repetitions > 0, repetitions
    assert (once.unit, once.source) == (twice.unit, twice.source), (once, twice)
    reasons = tuple(dict.fromkeys(once.reasons + twice.reasons))
    value = uncertainty = None
    if once.value is not None and twice.value is not None:
        value = (twice.value - once.value) / repetitions
        if once.uncertainty is not None and twice.uncertainty is not None:
            uncertainty = (twice.uncertainty + once.uncertainty) / repetitions
        if value < 0 or value < (uncertainty or 0):
            reasons = (*reasons, "not_resolved")
    return Reading(
        value=value,
        unit=once.unit,
        method=once.method,
        source=once.source,
        validity="absent" if value is None else "invalid" if reasons else "valid",
        reasons=reasons,
        pass_=once.pass_,
        uncertainty=uncertainty,
    )
