"""Latencies drawn in text."""

from lpbench.report.spread import WIDTH, spread_tables
from lpbench.report.table import Table
from lpbench.testing.records import example_record
from tests.revalued import revalued


def ttft(**milliseconds: float | None) -> Table:
    """Return the table of one schedule with these TTFT."""
    names = {f"ttft_ms_{name}": value for name, value in milliseconds.items()}
    arm = revalued(example_record().arms[1], **names)
    (table,) = (one for one in spread_tables(example_record(arms=(arm,))) if "TTFT" in one.title)
    return table


def test_a_bar_ends_where_its_statistics_do() -> None:
    """A quarter of it to the median, half of it to the p90, all of it to the largest."""
    table = ttft(median=100.0, p90=200.0, p99=200.0, max=400.0)
    quarter, half = WIDTH // 4, WIDTH // 2
    assert (("layered", "#" * quarter + "=" * quarter + "." * half),) == table.rows
    assert WIDTH == len(table.columns[1])


def test_a_percentile_of_too_few_samples_is_not_drawn() -> None:
    """The bar goes on to the next one that there is."""
    half = WIDTH // 2
    table = ttft(median=100.0, p90=None, p99=None, max=200.0)
    assert (("layered", "#" * half + "." * half),) == table.rows


def test_bars_share_a_scale() -> None:
    """The schedule with the largest of all fills it."""
    lengths = [[len(bar) for _, bar in table.rows] for table in spread_tables(example_record())]
    assert all(WIDTH == max(one) for one in lengths)
    assert lengths


def test_without_times_there_is_no_table() -> None:
    """A record of no arm has none."""
    assert () == spread_tables(example_record(arms=()))
