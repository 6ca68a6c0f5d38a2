"""One pass of the model: which tiles, which decodes, and the segments the engine loops over.

Owns: the plan of one iteration and its cut into layer spans with constant rows.
Must not know: which schedule made it, how it is carried out.
"""

from dataclasses import dataclass
from itertools import pairwise

from lpbench.plan.grid import Span, Tile


@dataclass(frozen=True, slots=True)
class PromptTile:
    """One tile of one request's prefill."""

    request: int
    tile: Tile


@dataclass(frozen=True, slots=True)
class PromptRows:
    """The prompt tokens of one request that are rows of a segment."""

    request: int
    tokens: Span


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of layers through which the same rows pass: decodes first, then prompt rows."""

    layers: Span
    decodes: tuple[int, ...]
    prompts: tuple[PromptRows, ...]

    @property
    def num_prefill_rows(self) -> int:
        """Rows that are prompt tokens."""
        return sum(len(rows.tokens) for rows in self.prompts)

    @property
    def num_rows(self) -> int:
        """All rows."""
        return len(self.decodes) + self.num_prefill_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationPlan:
    """The tiles of one pass and the running decodes, each of which advances by one token.

    Attributes:
        decodes: indices of the requests that feed one token through all layers.
        prefill: the tiles, in order of service.
        num_groups: layer groups the batch of these tiles is cut into, for the record; absent
            where the schedule does not group layers.
    """

    decodes: tuple[int, ...]
    prefill: tuple[PromptTile, ...]
    num_groups: int | None = None

    @property
    def num_prefill_tokens(self) -> int:
        """Prompt tokens that are rows in some layer of this pass."""
        return sum(len(part.tile.tokens) for part in self.prefill)

    def segments(self, num_layers: int) -> tuple[Segment, ...]:
        """Return layers 0..num_layers cut at the tile edges, each span with its rows.

        Spans without any row are left out: nothing runs there.
        """
        edges = {0, num_layers}
        for part in self.prefill:
            edges |= {part.tile.layers.start, part.tile.layers.stop}
        segments = []
        for start, stop in pairwise(sorted(edges)):
            prompts = tuple(
                PromptRows(part.request, part.tile.tokens)
                for part in self.prefill
                if part.tile.layers.start <= start and stop <= part.tile.layers.stop
            )
            if prompts or self.decodes:
                segments.append(Segment(Span(start, stop), self.decodes, prompts))
        return tuple(segments)
