"""What `lpbench energy` says: the table, the finding, the noise.

Owns: the words and the rounding.
Must not know: how a number was taken.
"""

import math

from lpbench.analysis.comparable import is_modelled
from lpbench.analysis.stats import FEWEST, median_interval
from lpbench.bench.joules import JOULES
from lpbench.record.schema import Arm, Comparison, Reading, Record
from lpbench.report.table import Table
from lpbench.report.traffic import ABSENT, clock_note, modelled_by, run_title


def energy_table(record: Record) -> Table:
    """Return one row per arm; the second line of a cell is its interval over the blocks."""
    return Table(
        title=run_title(record),
        columns=(
            "schedule",
            "J per\ntoken",
            "J per out-\nput token",
            "J per\nrequest",
            "power\nW",
            "idle\nshare",
            "against the\nfirst",
            "void",
        ),
        rows=tuple(_row(arm, record) for arm in record.arms),
    )


def _row(arm: Arm, record: Record) -> tuple[str, ...]:
    joules = (one.readings[name] for one in arm.windows for name in JOULES if name in one.readings)
    void = sum(one.validity != "valid" for one in joules)
    against = next((c for c in _compared(record) if c.candidate == arm.label), None)
    return (
        f"{arm.label}\n(A/A)" if arm.role == "aa" else arm.label,
        _with_interval(arm.metrics["joules_per_total_token"]),
        _with_interval(arm.metrics["joules_per_output_token"]),
        _with_interval(arm.metrics["joules_per_request"]),
        _show(arm.metrics["power_w_mean"], "{:.0f}"),
        _show(arm.metrics["idle_share"], "{:.0%}"),
        ABSENT if against is None else _ratio(against),
        ABSENT if is_modelled(record) else f"{void}/{len(arm.windows)}",
    )


def _show(reading: Reading, form: str) -> str:
    return ABSENT if reading.value is None else form.format(reading.value)


def _with_interval(reading: Reading) -> str:
    if reading.value is None:
        return ABSENT
    interval = median_interval(reading.samples)
    text = f"{reading.value:.4g}"
    return text if interval is None else f"{text}\n{interval.low:.4g}..{interval.high:.4g}"


def _ratio(found: Comparison) -> str:
    if found.ratio is None:
        return ABSENT
    text = f"{found.ratio - 1:+.2%}"
    if found.interval is None:
        return text
    low, high = (edge - 1 for edge in found.interval)
    return f"{text}\n{low:+.2%}..{high:+.2%}"


def _compared(record: Record) -> list[Comparison]:
    return [one for one in record.comparison if one.metric == "joules_per_total_token"]


def finding(record: Record) -> str:
    """Return the sentence that says what was found and on what it rests."""
    if is_modelled(record):
        said = [_modelled(one) for one in _compared(record)]
        return "; ".join([*said, f"{modelled_by(record)}, idle power included."])
    again = {arm.label for arm in record.arms if arm.role == "aa"}
    noise = next((c for c in _compared(record) if c.candidate in again), None)
    return (
        "; ".join(
            [
                *(_against(one, noise) for one in _compared(record) if one.candidate not in again),
                _noise(noise, record),
            ]
        )
        + f"; measured by {_source(record)}, idle power included."
    )


def _modelled(found: Comparison) -> str:
    if found.ratio is None:
        return f"{found.candidate}: no comparison ({', '.join(found.reasons)})"
    if found.ratio == 1:
        return f"{found.candidate} takes as many joules per token as {found.baseline}"
    word = "less" if found.ratio < 1 else "more"
    share = abs(found.ratio - 1)
    return f"{found.candidate} takes {share:.2%} {word} joules per token than {found.baseline}"


def _against(found: Comparison, noise: Comparison | None) -> str:
    if found.ratio is None:
        return f"{found.candidate}: no comparison ({', '.join(found.reasons)})"
    word = "less" if found.ratio < 1 else "more"
    text = (
        f"{found.candidate} takes {abs(found.ratio - 1):.2%} {word} joules per token than "
        f"{found.baseline}"
    )
    if found.interval is None or noise is None or noise.interval is None:
        return f"{text}, without an interval ({', '.join(found.reasons)}): undecided"
    low, high = found.interval
    if low <= 1 <= high:
        return f"{text}, but its interval holds none: undecided"
    if abs(found.ratio - 1) < _widest(noise.interval):
        return f"{text}, less than the A/A arm's noise: undecided"
    return text


def _widest(interval: tuple[float, float]) -> float:
    """Return the largest effect that the interval of a ratio holds."""
    return max(abs(edge - 1) for edge in interval)


def _noise(found: Comparison | None, record: Record) -> str:
    """Return the minimum detectable effect, by the A/A arm, or what it would take to have one."""
    if found is None or found.ratio is None:
        return "the A/A arm has no valid block"
    if found.interval is None:
        seen = _widest((min(found.samples), max(found.samples)))
        return (
            f"no minimum detectable effect from {len(found.samples)} of the {FEWEST} blocks that "
            f"an interval takes{_longer(found, record)}: the first schedule differed from itself "
            f"(A/A) by up to {seen:.2%}"
        )
    low, high = (edge - 1 for edge in found.interval)
    return (
        f"the first schedule against itself (A/A) lies at {low:+.2%}..{high:+.2%}: the minimum "
        f"detectable effect is {_widest(found.interval):.2%}"
    )


def _longer(found: Comparison, record: Record) -> str:
    """Return the time budget that holds enough blocks, where it alone took them away."""
    told = (record.protocol.get(key) for key in ("budget", "blocks", "blocks_run", "block_took"))
    budget, wanted, run, block = (each if isinstance(each, (int, float)) else 0 for each in told)
    is_flat = record.protocol.get("warm_up_flat") is not False
    if not budget or run >= wanted or len(found.samples) < run or not is_flat:
        return ""
    return f" (--time-budget {math.ceil(budget + (FEWEST - run) * block)} holds them)"


def _source(record: Record) -> str:
    return record.arms[0].metrics["joules_per_total_token"].source


def notes(record: Record) -> tuple[str, ...]:
    """Return what a reader must know besides: blocks, intervals, warnings."""
    seen = dict.fromkeys(one.message for arm in record.arms for one in arm.warnings)
    said = clock_note(record) if is_modelled(record) else _blocks(record)
    return (said, *(f"Warning: {message}" for message in seen))


def _blocks(record: Record) -> str:
    """Return how many blocks of windows there were, and what stands in a cell."""
    first = record.arms[0]
    blocks = len({one.block for one in first.windows})
    seconds = min(one.duration_ms for arm in record.arms for one in arm.windows) / 1e3
    runs = sorted({one.runs for one in first.windows})
    each = str(runs[0]) if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    return (
        f"{blocks} block{'s' * (blocks != 1)}, every arm twice in each, forwards and back; windows "
        f"of {seconds:.1f} s at least, {each} runs each. Medians over blocks; below them where the "
        "median lies, 95 % at least. All in one process."
    )
