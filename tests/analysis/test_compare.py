from lpbench.analysis.compare import compare_arms
from lpbench.analysis.metrics import METRICS
from lpbench.record.schema import Arm, Comparison
from lpbench.testing.records import example_record
from tests.revalued import revalued, without

CHUNKED, LAYERED = example_record().arms


def compared(baseline: Arm, candidate: Arm, *, metric: str = "expert_bytes") -> Comparison:
    """Return the comparison of one metric."""
    (found,) = [one for one in compare_arms([baseline, candidate]) if one.metric == metric]
    return found


def test_a_ratio_is_the_candidate_over_the_baseline() -> None:
    """1.2 GB over 2 GB is 0.6."""
    expected = Comparison(
        metric="expert_bytes", baseline="chunked", candidate="layered", ratio=0.6, reasons=()
    )
    assert expected == compared(CHUNKED, LAYERED)


def test_compared_metrics_are_those_declared_so() -> None:
    """Every later arm is compared with the first, in the order of the table."""
    other = LAYERED.model_copy(update={"label": "layered#2"})
    names = [name for name, metric in METRICS.items() if metric.better]
    expected = [(name, label) for label in ("layered", "layered#2") for name in names]
    found = compare_arms([CHUNKED, LAYERED, other])
    assert expected == [(one.metric, one.candidate) for one in found]
    assert {"chunked"} == {one.baseline for one in found}


def test_one_arm_or_none_is_compared_with_nothing() -> None:
    """A failed run may have no second arm."""
    assert ((), ()) == (compare_arms([CHUNKED]), compare_arms([]))


def test_an_absent_value_has_no_ratio_but_its_reason() -> None:
    """On either side, and on both the reason stands once."""
    absent = revalued(LAYERED, reload_factor=None)
    pairs = ((CHUNKED, absent), (absent, LAYERED), (absent, absent))
    for baseline, candidate in pairs:
        found = compared(baseline, candidate, metric="reload_factor")
        assert (None, ("no_such_rows",)) == (found.ratio, found.reasons)


def test_an_invalid_value_has_no_ratio_but_its_reason() -> None:
    """A value with reasons against it stands in the record, and is not compared."""
    reading = LAYERED.metrics["expert_bytes"]
    doubted = reading.model_copy(update={"validity": "invalid", "reasons": ("arm_unfinished",)})
    metrics = LAYERED.metrics | {"expert_bytes": doubted}
    found = compared(CHUNKED, LAYERED.model_copy(update={"metrics": metrics}))
    assert (None, ("arm_unfinished",)) == (found.ratio, found.reasons)


def test_nothing_over_something_is_nothing() -> None:
    """A candidate of zero is a ratio of zero."""
    found = compared(CHUNKED, revalued(LAYERED, expert_bytes=0))
    assert (0, ()) == (found.ratio, found.reasons)


def test_something_over_nothing_has_no_ratio() -> None:
    """A baseline of zero is named as the reason."""
    found = compared(revalued(CHUNKED, expert_bytes=0), LAYERED)
    assert (None, ("baseline_is_zero",)) == (found.ratio, found.reasons)


def test_a_metric_that_one_arm_lacks_is_not_compared() -> None:
    """A record of another kind may have fewer metrics."""
    found = compare_arms([CHUNKED, without(LAYERED, "expert_bytes")])
    assert "expert_bytes" not in {one.metric for one in found}
    assert len(compare_arms([CHUNKED, LAYERED])) == len(found) + 1
