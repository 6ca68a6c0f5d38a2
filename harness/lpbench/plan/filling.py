"""One pass in the making: what it carries, what it takes, and the room that is left in it.

Owns: the predicted time of a pass as tiles are added to it.
Must not know: which prompts wait, what is chosen among them.
"""

from collections import Counter
from dataclasses import dataclass, replace

from lpbench.plan.batch import Batch, Rows
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.policy import View
from lpbench.plan.predictor import LayerRows, Predicted, Predictor

LEAST_ROOM = 0.25
"""Where decodes alone leave no room in the budget, prefill takes this share of their time."""


@dataclass(frozen=True, slots=True)
class Climb:
    """A way through all layers: passes, the seconds that it adds to them, and bytes in all."""

    passes: int
    added: float
    bytes: float


class Filling:
    """One pass in the making, within a budget of seconds."""

    def __init__(self, view: View, predictor: Predictor, *, budget: float) -> None:
        """Begin with the decodes alone."""
        self._view = view
        self._predictor = predictor
        self._kinds = predictor.kinds
        self._counts = Counter(self._kinds)
        self._costs: dict[tuple[int, Rows], Predicted] = {}
        self._rows: list[Rows] = [()] * view.num_layers
        self._tiles: list[PromptTile] = []
        alone = [self._times(self._cost(kind, ()), kind) for kind in self._counts]
        self.decoding = predictor.overhead(len(view.decodes) + 1).seconds
        self.decoding += sum(cost.seconds for cost in alone)
        self._decoding_bytes = sum(cost.bytes for cost in alone)
        self.room = max(budget - self.decoding, 0.0)
        self.left = self.room
        self._budget = budget
        self._finished_tokens = 0
        self.num_finished = 0
        self.num_tokens = 0

    @property
    def is_empty(self) -> bool:
        """Whether it carries no prompt yet."""
        return not self._tiles

    def plan(self) -> IterationPlan:
        """Return the pass."""
        return IterationPlan(decodes=self._view.decodes, prefill=tuple(self._tiles))

    def climb(self, batch: Batch) -> bool:
        """Take a batch up as many layers as fit; return whether it has passed the last."""
        rows, stop, top = batch.rows, batch.layer, len(self._kinds)
        if self.is_empty and self._added(stop, rows) > self.left:
            # A pass with prompts to serve serves one.
            self.left = max(self._added(stop, rows), LEAST_ROOM * self.decoding)
        while stop < top and (more := self._added(stop, rows)) <= self.left:
            self.left -= more
            self._rows[stop] += rows
            stop += 1
        if stop > batch.layer:
            layers = Span(batch.layer, stop)
            self._tiles += [
                PromptTile(part.progress.request, Tile(part.tokens, layers)) for part in batch.parts
            ]
            self.num_tokens += batch.num_tokens
        if stop < top:
            return False
        last = [part for part in batch.parts if part.is_last]
        self.num_finished += len(last)
        self._finished_tokens += sum(part.first + len(part.tokens) for part in last)
        return True

    def way(self, batch: Batch, room: float, *, left: float = 0.0) -> Climb | None:
        """Return what it takes to bring a new batch through all layers, by passes of that room.

        With something left of this pass, what happens in it does not count. None where a single
        layer fits, or one will not when the decodes have grown by a token a pass.
        """
        rows = batch.rows
        more = {
            kind: (with_it.seconds - alone.seconds, with_it.bytes - alone.bytes)
            for kind in self._counts
            for with_it, alone in [(self._cost(kind, rows), self._cost(kind, ()))]
        }
        if max(seconds for seconds, _ in more.values()) > room:
            return None
        passes, added, read = 0, 0.0, 0.0
        for layer, kind in enumerate(self._kinds):
            seconds, moved = more[kind]
            if not passes and left and self._rows[layer]:
                seconds = self._added(layer, rows)
            if seconds > left:
                passes, left = passes + 1, room
                seconds, _ = more[kind]
            left -= seconds
            if passes:
                added += seconds
            read += moved
        if not self._will_fit(rows, room, passes=passes):
            return None
        return Climb(passes, added, read + passes * self._decoding_bytes)

    def seconds(self, climb: Climb) -> float:
        """Return how long a way takes, the decodes' part of its passes with it."""
        return climb.added + climb.passes * self.decoding

    def added_by_all_layers(self, batch: Batch) -> float:
        """Return the seconds that a batch adds if it passes all layers at once."""
        rows = batch.rows
        return sum(
            (self._cost(kind, rows).seconds - self._cost(kind, ()).seconds) * count
            for kind, count in self._counts.items()
        )

    def _will_fit(self, rows: Rows, room: float, *, passes: int) -> bool:
        """Return whether any layer of a batch still fits in the last of so many passes.

        By then who finishes in this pass decodes too, and every decode is as many tokens longer.
        Where that leaves no room in the budget, it is what was asked for.
        """
        decodes = len(self._view.decodes) + self.num_finished
        tokens = self._view.decode_tokens + self._finished_tokens
        grown = LayerRows(decodes, tokens + decodes * max(0, passes - 1))
        alone = {kind: self._predicted(kind, grown).seconds for kind in self._counts}
        decoding = self._predictor.overhead(decodes + 1).seconds
        decoding += sum(seconds * self._counts[kind] for kind, seconds in alone.items())
        left = max(self._budget - decoding, room if room > self.room else 0.0)
        return all(
            self._predicted(kind, replace(grown, prompts=rows)).seconds - seconds <= left
            for kind, seconds in alone.items()
        )

    def _times(self, cost: Predicted, kind: int) -> Predicted:
        count = self._counts[kind]
        return Predicted(cost.seconds * count, cost.bytes * count)

    def _added(self, layer: int, rows: Rows) -> float:
        """Return the seconds that more rows add to a layer."""
        kind, there = self._kinds[layer], self._rows[layer]
        return self._cost(kind, there + rows).seconds - self._cost(kind, there).seconds

    def _cost(self, kind: int, prompts: Rows) -> Predicted:
        key = kind, prompts
        if key not in self._costs:
            rows = LayerRows(len(self._view.decodes), self._view.decode_tokens, prompts)
            self._costs[key] = self._predicted(kind, rows)
        return self._costs[key]

    def _predicted(self, kind: int, rows: LayerRows) -> Predicted:
        is_idle = not rows.decodes and not rows.prompts
        return Predicted(0.0, 0.0) if is_idle else self._predictor.layer(kind, rows)
