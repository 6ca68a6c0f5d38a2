"""How long a campaign of measured windows lasts, and in which order its arms take turns.

Owns: durations, the order inside a block, how many blocks fit a time budget.
Must not know: meters, engines.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lpbench.analysis.stats import FEWEST
from lpbench.errors import InputError

Arm = TypeVar("Arm")

LEAST_TICKS = 30
"""A window holds so many ticks of the meter's counter at least, that its edges weigh little."""

LONGER = 1.05
"""A window is planned this much longer than it must be: runs may get faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """The protocol of a measurement; durations in seconds.

    Attributes:
        window: the least length of a window; a window is the same work for every arm.
        blocks: how often every arm is measured, twice a time.
        warm_up: the least time under load before the first block.
        warm_up_most: the time after which a temperature that still rises is accepted.
        idle: length of the idle window before and of the one after.
        offset: a window starts after a random wait of up to this, so that no schedule keeps step
            with the instrument.
        budget: the whole time after loading; None for no limit. Fewer blocks then fit.
    """

    window: float = 10.0
    blocks: int = 8
    warm_up: float = 30.0
    warm_up_most: float = 300.0
    idle: float = 10.0
    offset: float = 0.1
    budget: float | None = None

    def refuse(self, num_arms: int) -> None:
        """Refuse a budget that cannot hold one block.

        Raises:
            InputError: the budget is too small, in one line with what it takes.
        """
        least = self.warm_up + 2 * self.idle
        least += 2 * num_arms * (self.window * LONGER + self.offset)
        if self.budget is not None and not math.isfinite(self.budget):
            msg = f"--time-budget {self.budget} is no number of seconds; leave it out for 8 blocks"
            raise InputError(msg)
        if self.budget is not None and self.budget < least:
            msg = (
                f"--time-budget {self.budget:g} s holds no block: warm-up, idle windows and "
                f"2 x {num_arms} windows of {self.window:g} s take {math.ceil(least)} s at least"
            )
            raise InputError(msg)

    def repeats(self, seconds: float) -> int:
        """Return how often a run that takes `seconds` is repeated in a window."""
        return max(1, math.ceil(self.window * LONGER / seconds))

    def warm_up_most_of(self, *, spent: float, block: float) -> float:
        """Return how long to warm up at most, blocks taking `block` seconds.

        Blocks enough for an interval come before a temperature that is flat.
        """
        if self.budget is None:
            return self.warm_up_most
        left = self.budget - spent - 2 * self.idle - min(FEWEST, self.blocks) * block
        return min(self.warm_up_most, max(self.warm_up, left))

    def for_ticks(self, tick: float) -> "Campaign":
        """Return the campaign for a counter that moves every `tick` seconds."""
        longer = LEAST_TICKS * tick
        return replace(self, window=max(self.window, longer), idle=max(self.idle, longer))

    def has_room(self, *, spent: float, block: float) -> bool:
        """Return whether a block of `block` seconds and the last idle window fit after `spent`."""
        return self.budget is None or spent + block + self.idle <= self.budget

    def blocks_that_fit(self, *, spent: float, block: float) -> int:
        """Return the number of blocks of `block` seconds after `spent` ones, both idle windows in.

        Raises:
            InputError: none fits.
        """
        if self.budget is None:
            return self.blocks
        blocks = min(self.blocks, int((self.budget - spent - 2 * self.idle) / block))
        if blocks < 1:
            least = math.ceil(spent + 2 * self.idle + block)
            msg = (
                f"--time-budget {self.budget:g} s holds no block: {spent:.0f} s went to warming "
                f"up, a block takes {block:.0f} s and the idle windows {2 * self.idle:g} s; give "
                f"{least} s at least, or a smaller workload"
            )
            raise InputError(msg)
        return blocks


def block_order(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Return the arms and then the arms backwards (ABBA): a steady drift hits all alike."""
    return (*arms, *reversed(arms))
