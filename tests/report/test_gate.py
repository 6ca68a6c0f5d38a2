from xml.etree import ElementTree as ET

import pytest

from lpbench.analysis.gate import Figure, Gate
from lpbench.report.gate import gate_junit, gate_lines, gate_summary


def figure(
    baseline: float | None,
    candidate: float | None,
    *,
    metric: str = "expert_bytes",
    tolerance: float = 0,
) -> Figure:
    """Return a figure of the layered arm."""
    return Figure(
        arm="layered",
        metric=metric,
        baseline=baseline,
        candidate=candidate,
        tolerance=tolerance,
    )


EQUAL = Gate(arms=2, figures=(figure(5, 5),) * 28)
DIFFERENT = Gate(
    arms=2,
    figures=(
        *(figure(5, 5),) * 26,
        figure(2000, 2001),
        figure(1.0, 1.25, metric="reload_factor"),
    ),
)
MEASURED = Gate(
    arms=1,
    figures=(
        figure(5, 5),
        figure(100, 103, metric="dram_bytes_read", tolerance=0.02),
        figure(100, 101, metric="dram_bytes_gpm", tolerance=0.02),
    ),
    void=(("a|b", "expert_bytes_measured", "overflow"),),
)


def test_equal_figures_are_one_line() -> None:
    """How many figures of how many arms, and equal to what."""
    expected = ("check: 28 exact figures of 2 arms equal base.json",)
    assert expected == gate_lines(EQUAL, baseline="base.json")


def test_each_figure_that_differs_has_a_line() -> None:
    """The verdict first, then arm, metric, both values and the change."""
    expected = (
        "check: 2 of 28 exact figures of 2 arms differ from base.json",
        "  layered expert_bytes: 2001 B, baseline 2000 (+0.050%)",
        "  layered reload_factor: 1.25 ratio, baseline 1.0 (+25.000%)",
    )
    assert expected == gate_lines(DIFFERENT, baseline="base.json")


def test_measured_figures_have_a_line_of_their_own() -> None:
    """What is near, what is not, what is void."""
    expected = (
        "check: 1 exact figures of 1 arms equal base.json",
        "check: 1 of 2 measured figures differ from base.json",
        "  layered dram_bytes_read: 103 B, baseline 100 (+3.000%)",
        "  a|b expert_bytes_measured: not valid (overflow)",
    )
    assert expected == gate_lines(MEASURED, baseline="base.json")
    near = Gate(arms=1, figures=(figure(100, 101, metric="dram_bytes_gpm", tolerance=0.02),))
    assert "check: 1 measured figures are within 2% of b" == gate_lines(near, baseline="b")[1]


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
    found = Gate(arms=1, figures=(figure(baseline, candidate),))
    assert f"  layered expert_bytes: {expected}" == gate_lines(found, baseline="b")[1]


def test_junit_has_a_case_a_figure() -> None:
    """Failures say by how much, errors why there is no figure; the counts are right."""
    suite = ET.fromstring(gate_junit(MEASURED))  # noqa: S314 - our own text
    assert ("4", "1", "1") == tuple(suite.get(key) for key in ("tests", "failures", "errors"))
    assert 4 == len(suite.findall("testcase"))
    (failure,) = suite.findall("testcase/failure")
    assert "103 B, baseline 100 (+3.000%)" == failure.get("message")
    (error,) = suite.findall("testcase/error")
    assert "not valid: overflow" == error.get("message")


def test_the_summary_is_a_table_of_what_is_wrong() -> None:
    """A heading, the verdicts, a row a figure; bars in a label do not break it."""
    text = gate_summary(MEASURED, baseline="base.json")
    assert text.startswith("### lpbench check: figures differ from the baseline")
    assert "| layered | dram_bytes_read | 103 B, baseline 100 (+3.000%) |" in text
    assert "| a\\|b | expert_bytes_measured | not valid: overflow |" in text
    good = gate_summary(EQUAL, baseline="base.json")
    assert "every figure is the baseline's" in good
    assert "|" not in good
