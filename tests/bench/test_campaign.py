import pytest

from lpbench.bench.campaign import Campaign, block_order
from lpbench.errors import InputError


def test_a_block_goes_forwards_and_back() -> None:
    """ABBA."""
    assert ("a", "b", "c", "c", "b", "a") == block_order("abc")


def test_a_window_holds_thirty_ticks_and_so_does_an_idle_one() -> None:
    """A counter that moves once a second makes both 30 s; one that moves often changes nothing."""
    campaign = Campaign(window=10, idle=10)
    slow = campaign.for_ticks(1.0)
    assert (30, 30) == (slow.window, slow.idle)
    assert campaign == campaign.for_ticks(0.1)


@pytest.mark.parametrize(
    ("budget", "expected"), [(None, 8), (1000, 8), (250, 3), (249, 2), (130, 1)]
)
def test_blocks_fit_the_budget(budget: float | None, expected: int) -> None:
    """50 s are spent, the idle windows take 20 s, a block 60 s."""
    campaign = Campaign(budget=budget, idle=10)
    assert expected == campaign.blocks_that_fit(spent=50, block=60)


def test_a_budget_that_holds_no_block_after_all_is_refused() -> None:
    """Runs took longer than a window: said with what went where and what it takes."""
    message = (
        "--time-budget 129 s holds no block: 50 s went to warming up, a block takes 60 s and the "
        "idle windows 20 s; give 130 s at least, or a smaller workload"
    )
    with pytest.raises(InputError) as caught:
        Campaign(budget=129, idle=10).blocks_that_fit(spent=50, block=60)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("budget", "expected"), [(None, 300), (10_000, 300), (500, 110), (100, 30)]
)
def test_a_warm_up_leaves_room_for_an_interval(budget: float | None, expected: float) -> None:
    """Of 500 s, 10 are spent, 20 go to the idle windows and 360 to six blocks; 30 are the least."""
    campaign = Campaign(budget=budget, warm_up=30, warm_up_most=300, idle=10)
    assert expected == campaign.warm_up_most_of(spent=10, block=60)


@pytest.mark.parametrize("budget", [float("nan"), float("inf")])
def test_a_budget_is_a_number_of_seconds(budget: float) -> None:
    """No limit is said by leaving it out."""
    with pytest.raises(InputError, match=f"--time-budget {budget} is no number of seconds"):
        Campaign(budget=budget).refuse(3)
