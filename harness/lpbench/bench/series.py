"""The raw samples of a window, kept beside the record.

Owns: their place in the run's folder, and what stands beside each sample.
Must not know: what the samples are.
"""

from pydantic import JsonValue

from lpbench.meters.meter import Measurement
from lpbench.record.store import RunStore


def keep_series(store: RunStore, found: Measurement, **where: JsonValue) -> None:
    """Append every series of a window to `samples/NAME.jsonl`, a line a sample.

    Args:
        store: of the run.
        found: what the meter found over the window.
        where: which window it was.

    Raises:
        RunError: the disk is full, or the like.
    """
    for name, rows in found.series.items():
        store.lines(f"samples/{name}.jsonl").append({**where, "sample": list(row)} for row in rows)
