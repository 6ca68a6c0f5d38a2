"""The regime map drawn from the rows of a sweep."""

from pathlib import Path

from lpbench.bench.listener import Silent
from lpbench.bench.regime import run_regime
from lpbench.bench.suite import read_suite
from lpbench.bench.summary import Row, rows_of
from lpbench.record.schema import Reading
from lpbench.record.store import RunStore
from lpbench.report.regime import regime_csv, regime_notes, regime_tables, spots_of


def row(
    schedule: str, ttft: float, tbt: float, *, decodes: int = 8, validity: str = "valid"
) -> Row:
    """Return the row of one schedule in a point."""
    values = {"ttft_ms_mean": ttft, "tbt_ms_p99": tbt}
    return Row(
        cell=f"1-{decodes}",
        status="complete",
        point={
            "model": "m",
            "device": "d",
            "tensor_parallel_size": 2,
            "dtype": None,
            "num_decodes": decodes,
            "prompt_len": 512,
            "prompts": 1,
            "schedule": schedule,
        },
        metrics={
            name: Reading.model_validate(
                {
                    "value": value,
                    "unit": "ms",
                    "method": "modelled",
                    "source": "s",
                    "pass": "regime",
                    "validity": validity,
                    "reasons": () if validity == "valid" else ("preempted",),
                }
            )
            for name, value in values.items()
        },
    )


ROWS = (
    row("chunked:max_num_batched_tokens=520", 120, 40),
    row("layered:num_groups=2", 100, 40),
    row("adaptive:tbt_budget_ms=50", 80, 40),
    row("chunked:max_num_batched_tokens=576", 100, 60, decodes=64),
    row("layered:num_groups=2", 100, 70, decodes=64),
    row("adaptive:tbt_budget_ms=50", 90, 45, decodes=64),
)


def test_a_map_says_who_wins_and_by_how_much() -> None:
    """Layered by 20 %, adaptive 25 % ahead; with 64 decodes only adaptive keeps 50 ms."""
    wins, gains = regime_tables(spots_of(ROWS))
    assert (("8", "50", "L 20"), ("64", "50", "-")) == wins.rows
    assert (("8", "50", "+25"), ("64", "50", "alone")) == gains.rows
    assert "m, bfloat16, 2 x d" in (wins.title or "")


def test_notes_say_where_each_loses() -> None:
    """Both fields are counted, one of them within reach of the fixed schedules."""
    said = " ".join(regime_notes(spots_of(ROWS)))
    assert "2 fields, 1 of them within reach" in said
    assert "chunked loses to layered in 1 fields, by up to 20 %" in said
    assert "1 of 1 (100.0%)" in said


def test_a_map_as_csv_leaves_out_what_is_over_the_budget() -> None:
    """A line a field, empty cells where a schedule cannot keep it."""
    head, first, second = regime_csv(spots_of(ROWS)).splitlines()
    assert head.startswith("machine,num_decodes,prompt_len,prompts,tbt_budget_ms,chunked_ttft_ms")
    assert first.endswith(",layered,0.2500")
    assert ",64,512,1,50,,,,,90.000,adaptive:tbt_budget_ms=50,," in second


def test_what_is_not_valid_is_not_over_the_budget() -> None:
    """A schedule that preempted has no figure there, and the map says so."""
    rows = (
        row("chunked:max_num_batched_tokens=520", 120, 40, validity="invalid"),
        row("layered:num_groups=2", 100, 40, validity="invalid"),
        row("adaptive:tbt_budget_ms=50", 80, 40, validity="invalid"),
    )
    spots = spots_of(rows)
    wins, gains = regime_tables(spots)
    assert (("8", "50", "?"),) == wins.rows == gains.rows
    assert "In 1 fields figures of a schedule are left out" in " ".join(regime_notes(spots))


def test_one_over_the_budget_is_counted_in_words() -> None:
    """Not as a gain of minus infinity."""
    rows = (row("layered:num_groups=2", 100, 40), row("adaptive:tbt_budget_ms=50", 80, 60))
    said = " ".join(regime_notes(spots_of((*ROWS[:3], *(_moved(one, 16) for one in rows)))))
    assert "over the budget in 1" in said
    assert "inf" not in said


def _moved(one: Row, decodes: int) -> Row:
    """Return the same row at another point."""
    point = one.point | {"num_decodes": decodes}
    return one.model_copy(update={"cell": str(decodes), "point": point})


SUITE = """
command = "regime"
[base]
executor = "roofline"
tensor_parallel_size = 2
num_decodes = 2
prompt_len = 64
chunks = [64]
groups = [2]
[grid]
context_len = [0, 2048]
device = ["h100-sxm", "h200"]
"""


def test_a_map_names_its_machine_wherever_the_suite_says_it(tmp_path: Path) -> None:
    """Keys of the base count, other keys that vary are other maps, each device's lie together."""
    (tmp_path / "s.toml").write_text(SUITE, encoding="utf-8")
    rows = [
        row
        for cell in read_suite(tmp_path / "s.toml").cells
        for row in rows_of(
            cell, run_regime(cell.spec, lambda: RunStore(output=None, json=None), Silent())
        )
    ]
    titles = [table.title for table in regime_tables(spots_of(rows))]
    assert 8 == len(titles)
    assert [
        f"builtin-moe, bfloat16, 2 x {device}, context_len {length}: "
        for device in ("h100-sxm", "h200")
        for length in (0, 2048)
    ] == [str(title).partition("chunked (C)")[0] for title in titles[::2]]
