"""Hidden states of prompt tokens that stand between two layers.

Owns: what a tile leaves behind for the next tile of the same prompt, within an iteration and
from one to the next.
Must not know: why a prompt stops at a layer.
"""

from collections.abc import Sequence

import torch

from lpbench.plan.grid import Span


class HiddenStates:
    """Rows [tokens, hidden] by (request, layer they enter next), in token order."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._rows: dict[tuple[int, int], tuple[Span, torch.Tensor]] = {}

    def put(self, request: int, layer: int, tokens: Span, rows: torch.Tensor) -> None:
        """Keep `rows` of these tokens, which go on at `layer`; they follow those kept there."""
        kept = self._rows.get((request, layer))
        if kept is not None:
            span, before = kept
            assert span.stop == tokens.start, (span, tokens)
            tokens, rows = Span(span.start, tokens.stop), torch.cat((before, rows))
        self._rows[request, layer] = (tokens, rows)

    def take(self, request: int, layer: int, tokens: Span) -> torch.Tensor:
        """Give the rows of these tokens back; they are the first of those kept."""
        span, rows = self._rows.pop((request, layer))
        assert span.start == tokens.start, (span, tokens)
        assert tokens.stop <= span.stop, (span, tokens)
        if tokens.stop < span.stop:
            left = Span(tokens.stop, span.stop)
            self._rows[request, layer] = (left, rows[len(tokens) :])
        return rows[: len(tokens)]

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return rows one after another; what is in one piece stays where it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
