"""What is drawn of runs, each chart from the records' own figures."""

from lpbench.report.page.charts.coverage import coverage, heat
from lpbench.report.page.charts.cut import tiles
from lpbench.report.page.charts.energy import joules
from lpbench.report.page.charts.latency import Point, attainment, distribution, pareto
from lpbench.report.page.charts.traffic import experts, ledger

__all__ = [
    "Point",
    "attainment",
    "coverage",
    "distribution",
    "experts",
    "heat",
    "joules",
    "ledger",
    "pareto",
    "tiles",
]
