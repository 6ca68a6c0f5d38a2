"""One arm against another of the same run: ratios of the compared metrics.

Owns: which metrics are compared and when a ratio cannot be had.
Must not know: intervals and verdicts over several runs.
"""

from collections.abc import Mapping, Sequence

from lpbench.analysis.metrics import METRICS, Metric
from lpbench.record.schema import Arm, Comparison


def compare_arms(
    arms: Sequence[Arm], among: Mapping[str, Metric] = METRICS
) -> tuple[Comparison, ...]:
    """Return every compared metric among these, of every later arm, over the first arm's."""
    return tuple(
        _compare(name, arms[0], arm)
        for arm in arms[1:]
        for name, metric in among.items()
        if metric.better is not None and name in arms[0].metrics and name in arm.metrics
    )


def _compare(name: str, baseline: Arm, candidate: Arm) -> Comparison:
    before, after = baseline.metrics[name], candidate.metrics[name]
    reasons = tuple(dict.fromkeys((*before.reasons, *after.reasons)))
    ratio = None
    if not reasons and before.value and after.value is not None:
        ratio = after.value / before.value
    elif not reasons:
        reasons = ("baseline_is_zero",)
    return Comparison(
        metric=name,
        baseline=baseline.label,
        candidate=candidate.label,
        ratio=ratio,
        reasons=reasons,
    )
