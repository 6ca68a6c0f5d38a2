"""`adaptive`: as many layers for as many tokens as a budget for the time between tokens holds.

Owns: the schedule that chooses its tiles by predicted time.

Layered prefill fixes the groups of layers, chunked prefill the tokens. Here both follow from one
budget: whoever is in flight climbs as many layers as fit the iteration, and the next prompts may
begin below in what is left of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import fmean
from typing import ClassVar

from lpbench.plan.admission import admit
from lpbench.plan.batch import Batch, Waiting, first_tokens, in_flight
from lpbench.plan.filling import LEAST_ROOM, Filling
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.parameter import at_least
from lpbench.plan.policy import View
from lpbench.plan.predictor import Predictor
from lpbench.plan.request import Request

MOST_TOKENS = 16384
"""Prompt tokens of one pass: what bounds its activations."""

LEAST_TOKENS = 16
"""A prompt is not cut smaller."""

MERGED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Prompts that are considered as one batch."""

PIECES = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Equal pieces that the first prompt is considered in."""

BATCHES = range(1, 9)
"""Equal batches that all that wait are considered in."""

PASSES = (1, 2, 3, 4)
"""Considered besides: as few pieces as pass all layers in so many passes."""

LOOKED_AT = 4
"""So many pieces of a prompt are looked at, evenly spread: later ones see more keys."""

ALIKE = 1.005
"""Choices whose times differ by less are told apart by their bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """Least predicted TTFT within a predicted iteration time; predicted bytes second.

    Every iteration is filled up to `tbt_budget_ms`: batches in flight climb as many layers as fit,
    in the order in which they were admitted, then waiting prompts FCFS begin a new batch. How many
    of them it takes, or what piece of the first, is chosen for the least mean time to first token
    over all that wait, were they all served so; among choices within 0.5 % the one with the fewest
    bytes. A prompt has one piece in flight at a time. Where nothing fits the budget, prefill takes
    a quarter of the decodes' time, and one layer at least.

    Raises:
        InputError: `tbt_budget_ms` is below 1.
    """

    name: ClassVar[str] = "adaptive"
    tbt_budget_ms: int = 50
    predictor: Predictor | None = None

    def __post_init__(self) -> None:
        """Check the range."""
        at_least(1, self.name, "tbt_budget_ms", self.tbt_budget_ms)

    @property
    def params(self) -> Mapping[str, int | str]:
        """The parameters in force."""
        return {"tbt_budget_ms": self.tbt_budget_ms}

    def predicting(self, predictor: Predictor) -> "Adaptive":
        """Return the policy with what it plans by."""
        return replace(self, predictor=predictor)

    def plan(self, view: View) -> IterationPlan:
        """Return the tiles that fit the budget."""
        assert self.predictor is not None, "adaptive plans by predictions and has no predictor"
        filling = Filling(view, self.predictor, budget=self.tbt_budget_ms / 1e3)
        for batch in in_flight(view):
            if not filling.climb(batch) or batch.is_cut:
                return filling.plan()  # the next piece of a prompt goes before other prompts
        standing = tuple(one for one in view.begun if not len(one.tokens_in_flight))
        waiting = admit(replace(view, begun=standing), MOST_TOKENS - filling.num_tokens, cut=True)
        unserved = len(standing) + len(view.queue)
        while waiting:
            begun = _begin(filling, waiting, unserved=unserved)
            if begun is None or not filling.climb(begun) or begun.is_cut:
                break
            waiting, unserved = waiting[len(begun.parts) :], unserved - len(begun.parts)
        return filling.plan()

    def prefill_budget(self, num_decodes: int) -> int:
        """Return the bound on prompt tokens; decodes do not count."""
        del num_decodes
        return MOST_TOKENS

    def refuse(self, requests: Sequence[Request], *, max_num_seqs: int) -> None:
        """Refuse nothing: a prompt of any length is cut into pieces."""


def adaptive(*, tbt_budget_ms: int = 50) -> Adaptive:
    """Return the schedule, which is told what to predict by before it plans.

    Raises:
        InputError: a parameter is out of range.
    """
    return Adaptive(tbt_budget_ms=tbt_budget_ms)


def _begin(filling: Filling, waiting: Waiting, *, unserved: int) -> Batch | None:
    """Return the batch to begin now, of the first that wait; None to leave the pass as it is."""
    room = filling.room
    choices = list(_choices(filling, waiting, unserved, room))
    if not choices and filling.is_empty:
        choices = list(_choices(filling, waiting, unserved, filling.decoding * LEAST_ROOM))
    if not choices:
        return first_tokens(waiting[:1], LEAST_TOKENS) if filling.is_empty else None
    most = min(seconds for seconds, _, _ in choices) * ALIKE
    alike = [(read, batch) for seconds, read, batch in choices if seconds <= most]
    _, batch = min(alike, key=lambda choice: choice[0])
    return batch if _is_worth_it(filling, batch, unserved) else None


def _is_worth_it(filling: Filling, batch: Batch, unserved: int) -> bool:
    """Return whether to begin a batch in what is left of the pass rather than in the next.

    Those that finish in this pass wait for it; all that come later are spared the decodes' time of
    the passes that the batch then takes less.
    """
    if not filling.num_finished:
        return True
    later = filling.way(batch, filling.room)
    now = filling.way(batch, filling.room, left=filling.left)
    if later is None or now is None:
        return False
    spared = (later.passes - now.passes) * filling.decoding
    return unserved * spared > filling.num_finished * (later.added - now.added)


def _choices(
    filling: Filling, waiting: Waiting, unserved: int, room: float
) -> Iterator[tuple[float, float, Batch]]:
    """Yield batches with the mean TTFT of all that wait and the bytes of a token, served so."""
    ends = list(accumulate(progress.rest for progress, _ in waiting))
    for tokens in _sizes(filling, waiting, room):
        ways = [filling.way(batch, room) for batch in _some(waiting, tokens)]
        found = [way for way in ways if way is not None]
        if len(found) == len(ways):
            seconds = fmean(map(filling.seconds, found))
            last = _last(filling, waiting, ends[-1] % tokens, room) or seconds
            mean = _mean(seconds, last, tokens, ends, unserved)
            yield mean, fmean(way.bytes for way in found) / tokens, first_tokens(waiting, tokens)


def _sizes(filling: Filling, waiting: Waiting, room: float) -> Sequence[int]:
    """Return the numbers of tokens that are considered as a batch.

    They cut the first prompt, or all that wait and fit, into equal parts, or take the first few
    whole: what is chosen now will be chosen again.
    """
    ends = list(accumulate(one.rest for one, tokens in waiting if tokens == one.rest))
    first, most = waiting[0][0].rest, sum(tokens for _, tokens in waiting)
    sizes = {ends[count - 1] for count in MERGED if count <= len(ends)}
    sizes |= {-(-first // pieces) for pieces in PIECES}
    sizes |= {-(-ends[-1] // batches) for batches in BATCHES if ends}
    sizes |= {-(-first // pieces) for pieces in _fewest(filling, waiting, room)}
    return sorted(size for size in sizes if min(LEAST_TOKENS, first) <= size <= most)


def _fewest(filling: Filling, waiting: Waiting, room: float) -> Iterator[int]:
    """Yield into how few pieces the first prompt is cut so that they take so many passes each."""
    first, most = waiting[0]
    for passes in PASSES:
        for at_the_end in (False, True):
            low, high = -(-first.rest // most), max(1, first.rest // LEAST_TOKENS)
            while low < high:
                middle = (low + high) // 2
                tokens = -(-first.rest // middle)
                piece = first_tokens(waiting, tokens, skip=(first.rest - tokens) * at_the_end)
                if filling.added_by_all_layers(piece) <= passes * room:
                    high = middle
                else:
                    low = middle + 1
            yield low


def _some(waiting: Waiting, tokens: int) -> list[Batch]:
    """Return the first so many tokens, or some of the pieces of that size of the first prompt."""
    first = waiting[0][0].rest
    pieces = -(-first // tokens)
    looked_at = min(pieces, LOOKED_AT)
    skips = [
        min((2 * at + 1) * pieces // (2 * looked_at) * tokens, max(0, first - tokens))
        for at in range(looked_at)
    ]
    return [first_tokens(waiting, tokens, skip=skip) for skip in skips]


def _last(filling: Filling, waiting: Waiting, tokens: int, room: float) -> float | None:
    """Return the seconds of a last batch of so many tokens; None where there is none, or no way."""
    if not tokens:
        return None
    skip = max(0, waiting[0][0].rest - tokens) if len(waiting) == 1 else 0
    way = filling.way(first_tokens(waiting, tokens, skip=skip), room)
    return None if way is None else filling.seconds(way)


def _mean(seconds: float, last: float, tokens: int, ends: Sequence[int], unserved: int) -> float:
    """Return the mean TTFT of all that wait, so many tokens at a time in so many seconds.

    The last batch takes other seconds. `ends` are the tokens until the end of each prompt in sight;
    what waits out of sight is taken to be like them.
    """
    before = -(-ends[-1] // tokens) - 1
    whole = before * seconds + last
    total = sum(min(-(-end // tokens), before) * seconds for end in ends)
    total += last * sum(end > before * tokens for end in ends)
    others = unserved - len(ends)
    return (total + others * whole * (1 + others / (2 * len(ends)))) / unserved
