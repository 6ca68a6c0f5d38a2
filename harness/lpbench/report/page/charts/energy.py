"""Joules per token, with what the blocks of a campaign say of them.

Owns: the interval that is drawn.
Must not know: the look of all charts, the order of a page.
"""

import altair as alt

from lpbench.analysis.stats import median_interval
from lpbench.record.schema import Record
from lpbench.report.page.charts.arms import MOST_ARMS, method
from lpbench.report.page.picture import SERIES, WIDTH, Picture, drawable, picture


def joules(record: Record, *, name: str) -> Picture | None:
    """Draw joules per token of each schedule with the interval of its median over the blocks."""
    data, said = [], []
    for arm in record.arms[: 2 * MOST_ARMS]:
        reading = arm.metrics.get("joules_per_total_token")
        if reading is None or reading.validity != "valid" or reading.value is None:
            continue
        interval = median_interval(reading.samples)
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        label = drawable(arm.label) + (" (A/A)" if arm.role == "aa" else "")
        data.append({"arm": label, "j": reading.value, "low": low, "high": high})
        said.append(f"{label}: {reading.value:.4g} J")
        if interval is not None:
            said[-1] += f" ({interval.low:.4g} to {interval.high:.4g})"
    if not data:
        return None
    base = alt.Chart().encode(alt.Y("arm:N", sort=None, title=None))
    known = base.transform_filter("isValid(datum.low)")
    rules = known.mark_rule(strokeWidth=2, color=SERIES[0]).encode(
        alt.X("low:Q", title="joules per token", scale=alt.Scale(zero=False, padding=10)),
        alt.X2("high:Q"),
    )
    points = base.mark_point(size=70, filled=True, color=SERIES[0], opacity=1).encode(alt.X("j:Q"))
    chart = alt.LayerChart(
        data=alt.InlineData(values=data), layer=[rules, points], width=WIDTH, height=alt.Step(30)
    )
    how = method(record, "joules_per_total_token")
    has_intervals = any(one["low"] is not None for one in data)
    return picture(
        chart,
        name=name,
        title="Joules per token",
        alt_text=f"Joules per prompt or output token, {how}. {'; '.join(said)}.",
        caption=f"Prompt and output tokens, {how}; "
        + ("a line is the interval of the median of the blocks. " if has_intervals else "")
        + "The axis does not begin at 0.",
    )
