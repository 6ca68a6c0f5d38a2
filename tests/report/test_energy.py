import math
from pathlib import Path

import pytest

from lpbench.bench.campaign import Campaign
from lpbench.report.energy import energy_table, finding, notes
from tests.metered import Job, energy_job


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Return the energy pass on a fake engine."""
    return energy_job(tmp_path, monkeypatch)


def test_a_row_for_every_arm_the_noise_among_them(job: Job) -> None:
    """10 J a run over 75 tokens; seven passes against five cost 40 % more, without noise."""
    rows = {row[0]: row[1:] for row in energy_table(job()).rows}
    assert ["whole", "whole#2\n(A/A)", "layered:num_groups=3"] == list(rows)
    per_token, *_, power, idle, against, void = rows["layered:num_groups=3"]
    assert "0.1867\n0.1867..0.1867" == per_token
    assert ("200", "100%", "0/16") == (power, idle, void)
    assert "+40.00%\n+40.00%..+40.00%" == against
    assert "-" == rows["whole"][5]


def test_the_finding_says_by_how_much_and_what_the_noise_is(job: Job) -> None:
    """An effect beyond the A/A arm's is claimed, with its instrument."""
    said = finding(job())
    assert "layered:num_groups=3 takes 40.00% more joules per token than whole;" in said
    assert "(A/A) lies at" in said
    assert "0.00%: the minimum detectable effect is 0.00%;" in said
    assert said.endswith("measured by a known curve, idle power included.")


@pytest.mark.parametrize(
    ("interval", "noise", "expected"),
    [
        ((1.01, 1.10), (0.97, 1.02), False),
        ((0.99, 1.10), (0.97, 1.02), True),
        ((1.01, 1.10), (0.92, 1.02), True),
    ],
    ids=["beyond the noise", "its interval holds none", "less than the noise"],
)
def test_what_is_decided(
    job: Job, interval: tuple[float, float], noise: tuple[float, float], *, expected: bool
) -> None:
    """An effect of 5 % is claimed beyond its own interval's and the A/A arm's edges alone."""
    record = job()
    seen = {"whole#2": (1.0, noise), "layered:num_groups=3": (1.05, interval)}
    changed = [
        one.model_copy(update=dict(zip(("ratio", "interval"), seen[one.candidate], strict=True)))
        if one.metric == "joules_per_total_token"
        else one
        for one in record.comparison
    ]
    said = finding(record.model_copy(update={"comparison": tuple(changed)}))
    assert expected == ("undecided" in said)


def test_too_few_blocks_decide_nothing(job: Job) -> None:
    """Without an interval nothing is claimed."""
    record = job(campaign=Campaign(window=1, blocks=2, warm_up=0, idle=1))
    said = finding(record)
    assert "without an interval (too_few_blocks): undecided" in said
    assert "no minimum detectable effect from 2 of the 6 blocks that an interval takes: " in said
    assert any(note.startswith("2 blocks, every arm twice") for note in notes(record))


def test_a_budget_that_took_blocks_away_is_named(job: Job) -> None:
    """With how much time six blocks would have been: three more of about 7.5 s each."""
    record = job(campaign=Campaign(window=1, blocks=8, warm_up=0, idle=1, budget=32))
    assert (8, 3) == (record.protocol["blocks"], record.protocol["blocks_run"])
    block = record.protocol["block_took"]
    assert isinstance(block, float)
    needed = math.ceil(32 + 3 * block)
    assert f"3 of the 6 blocks that an interval takes (--time-budget {needed} holds" in finding(
        record
    )


def test_void_windows_are_counted_and_named(job: Job) -> None:
    """A campaign without a valid window shows no number, and says why."""
    record = job(void=range(1000))
    table = energy_table(record)
    assert {"-"} == {row[1] for row in table.rows}
    assert {"16/16"} == {row[-1] for row in table.rows}
    assert "no comparison (no_valid_block)" in finding(record)
    assert any("16 of 16 windows are void (fault)" in note for note in notes(record))
