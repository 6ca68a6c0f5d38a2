"""Who wins a point of the regime map: the least mean TTFT within a budget for the p99 TBT.

Owns: the best of a schedule's parameters in a point, and how schedules compare there.
Must not know: how a point was run, how a map is drawn.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ALIKE = 0.01
"""Times within 1 % are a tie."""

FIXED = ("chunked", "layered")
ADAPTIVE = "adaptive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one schedule made of a point.

    Attributes:
        schedule: its name.
        label: with its parameters.
        ttft_ms: mean over the prompts; None where its figures are not valid.
        tbt_ms: p99 over the gaps of the decodes; None where there were none.
        budget_ms: the budget it was told to keep; None for one that knows no budget.
    """

    schedule: str
    label: str
    ttft_ms: float | None
    tbt_ms: float | None
    budget_ms: int | None = None

    def keeps(self, budget_ms: int) -> bool:
        """Return whether its p99 TBT is within a budget."""
        return self.tbt_ms is None or self.tbt_ms <= budget_ms


@dataclass(frozen=True, slots=True)
class Best:
    """The best that a schedule makes of a field: with which parameters, and how fast."""

    label: str
    ttft_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One point under one budget.

    Attributes:
        budget_ms: most milliseconds of the p99 TBT.
        best: by schedule the best outcome of its parameters that keeps the budget; those that
            cannot keep it are not there.
        void: schedules that have no figure but ones that are not valid.
    """

    budget_ms: int
    best: Mapping[str, "Best"]
    void: frozenset[str] = frozenset()

    @property
    def winner(self) -> str | None:
        """The better of chunked and layered; "tie" within 1 %, None where neither keeps it."""
        times = {name: self.best[name].ttft_ms for name in FIXED if name in self.best}
        if not times:
            return None
        if len(times) > 1 and max(times.values()) <= (1 + ALIKE) * min(times.values()):
            return "tie"
        return min(times, key=lambda name: times[name])

    @property
    def margin(self) -> float | None:
        """How much longer the loser's TTFT is, as a share; None where one is over the budget."""
        times = sorted(self.best[name].ttft_ms for name in FIXED if name in self.best)
        return times[1] / times[0] - 1 if len(times) == len(FIXED) else None

    @property
    def adaptive_gain(self) -> float | None:
        """How much longer the better fixed schedule's TTFT is than adaptive's, as a share.

        None where no fixed schedule keeps the budget; minus infinity where adaptive does not.
        """
        fixed = [self.best[name].ttft_ms for name in FIXED if name in self.best]
        if not fixed:
            return None
        mine = self.best.get(ADAPTIVE)
        return float("-inf") if mine is None else min(fixed) / mine.ttft_ms - 1


def fields_of(outcomes: Iterable[Outcome]) -> tuple[Field, ...]:
    """Return a point under each budget that adaptive was told, in ascending order."""
    outcomes = tuple(outcomes)
    budgets = sorted({one.budget_ms for one in outcomes if one.budget_ms is not None})
    return tuple(_field(outcomes, budget_ms=budget) for budget in budgets)


def _field(outcomes: Sequence[Outcome], *, budget_ms: int) -> Field:
    best: dict[str, Best] = {}
    valid, void = set(), set()
    for one in outcomes:
        if one.budget_ms not in (None, budget_ms):
            continue
        if one.ttft_ms is None:
            void.add(one.schedule)
            continue
        valid.add(one.schedule)
        known = best.get(one.schedule)
        if one.keeps(budget_ms) and (known is None or one.ttft_ms < known.ttft_ms):
            best[one.schedule] = Best(one.label, one.ttft_ms)
    return Field(budget_ms=budget_ms, best=best, void=frozenset(void - valid))
