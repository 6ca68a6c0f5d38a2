"""The regime map drawn from the rows of a sweep."""

from lpbench.bench.summary import Row
from lpbench.record.schema import Reading
from lpbench.report.regime import regime_csv, regime_notes, regime_tables, spots_of


def row(schedule: str, ttft: float, tbt: float, *, decodes: int = 8) -> Row:
    """Return the row of one schedule in a point."""
    values = {"ttft_ms_mean": ttft, "tbt_ms_p99": tbt}
    return Row(
        cell=f"1-{decodes}",
        status="complete",
        point={
            "model": "m",
            "device": "d",
            "tensor_parallel_size": 2,
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
