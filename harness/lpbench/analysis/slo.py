"""Which requests were served well enough: TTFT, and every gap between tokens.

Owns: the text form of an SLO and whether a request meets it.
Must not know: schedules, where time stamps come from.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lpbench.analysis.metrics import Times
from lpbench.errors import InputError
from lpbench.registry import unknown

KEYS = ("ttft", "tbt")
"""What an SLO may bound, in the names of the metrics."""


def parse_slo(texts: Sequence[str]) -> dict[str, float]:
    """Return the milliseconds by metric that texts such as `ttft:10000` state.

    A text may hold several, with spaces or commas between.

    Raises:
        InputError: not of that form, an unknown metric, one given twice, or no time above 0.
    """
    found: dict[str, float] = {}
    for part in (part for text in texts for part in text.replace(",", " ").split()):
        key, colon, value = part.partition(":")
        if key not in KEYS:
            raise InputError("--goodput: " + unknown("metric", key, known=KEYS))
        try:
            milliseconds = float(value)
        except ValueError:
            milliseconds = math.nan
        if key in found or not colon or not 0 < milliseconds < math.inf:
            msg = f"--goodput {part}: accepted: {key}:MILLISECONDS, above 0, each metric once"
            raise InputError(msg)
        found[key] = milliseconds
    return found


def meets(times: Times, slo: Mapping[str, float]) -> bool:
    """Return whether a request was served within an SLO: its TTFT and every gap."""
    ttft, tbt = slo.get("ttft", math.inf), slo.get("tbt", math.inf)
    if (times.tokens[0] - times.arrival) / 1e6 > ttft:
        return False
    return all((after - before) / 1e6 <= tbt for before, after in pairwise(times.tokens))
