import pytest

from lpbench.analysis.gate import Difference, Gate
from lpbench.report.gate import gate_lines


def difference(
    baseline: float | None, candidate: float | None, *, metric: str = "expert_bytes"
) -> Difference:
    """Return a figure of the layered arm that differs."""
    return Difference(arm="layered", metric=metric, baseline=baseline, candidate=candidate)


def test_equal_figures_are_one_line() -> None:
    """How many figures of how many arms, and equal to what."""
    found = Gate(compared=28, arms=2, differences=())
    expected = ("check: 28 exact figures of 2 arms equal base.json",)
    assert expected == gate_lines(found, baseline="base.json")


def test_each_figure_that_differs_has_a_line() -> None:
    """The verdict first, then arm, metric, both values and the change."""
    differences = (difference(2000, 2001), difference(1.0, 1.25, metric="reload_factor"))
    expected = (
        "check: 2 of 28 exact figures of 2 arms differ from base.json",
        "  layered expert_bytes: 2001 B, baseline 2000 (+0.050%)",
        "  layered reload_factor: 1.25 ratio, baseline 1.0 (+25.000%)",
    )
    found = Gate(compared=28, arms=2, differences=differences)
    assert expected == gate_lines(found, baseline="base.json")


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [
        (None, 5, "5 B, baseline None"),
        (5, None, "None B, baseline 5"),
        (0, 5, "5 B, baseline 0"),
        (5, 0, "0 B, baseline 5 (-100.000%)"),
    ],
)
def test_a_change_from_or_to_nothing_has_no_share(
    baseline: float | None, candidate: float | None, expected: str
) -> None:
    """No percentage of what is absent or zero."""
    found = Gate(compared=14, arms=1, differences=(difference(baseline, candidate),))
    assert f"  layered expert_bytes: {expected}" == gate_lines(found, baseline="b")[1]
