"""Prompt tokens that climb the layers together.

Owns: which parts of which prompts make a batch, in flight or about to begin.
Must not know: budgets, time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lpbench.plan.grid import Span
from lpbench.plan.policy import View
from lpbench.plan.request import Progress

Rows = tuple[tuple[int, int], ...]
"""Of each part the position of its first token, and how many there are."""

Waiting = Sequence[tuple[Progress, int]]
"""Prompts in order of service, each with the tokens of it that may be taken."""


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of one prompt in a batch."""

    progress: Progress
    tokens: Span

    @property
    def first(self) -> int:
        """Position of its first token in the KV cache."""
        return self.progress.context_tokens + self.tokens.start

    @property
    def is_last(self) -> bool:
        """Whether the prompt ends with it."""
        return self.tokens.stop == self.progress.num_tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """Parts of prompts that stand below the same layer."""

    layer: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> Rows:
        """What they are in a layer."""
        return tuple([(part.first, len(part.tokens)) for part in self.parts])

    @property
    def num_tokens(self) -> int:
        """Tokens of all parts."""
        return sum(len(part.tokens) for part in self.parts)

    @property
    def is_cut(self) -> bool:
        """Whether a prompt goes on after it."""
        return not all(part.is_last for part in self.parts)


def in_flight(view: View) -> Iterator[Batch]:
    """Yield what is in flight, in order of admission, prompts at the same layer together."""
    batches: dict[int, list[Part]] = {}
    for progress in view.begun:
        if len(tokens := progress.tokens_in_flight):
            layer = progress.done.index(progress.done[-1])
            batches.setdefault(layer, []).append(Part(progress, tokens))
    for layer, parts in batches.items():
        yield Batch(layer, tuple(parts))


def first_tokens(waiting: Waiting, num_tokens: int, *, skip: int = 0) -> Batch:
    """Return the first so many tokens that wait as a batch, the last prompt cut to fit.

    `skip` tokens of the first prompt are taken to be done.
    """
    parts = []
    for progress, most in waiting:
        start = progress.done[0] + skip
        tokens = min(most, progress.num_tokens - start, num_tokens)
        parts.append(Part(progress, Span(start, start + tokens)))
        num_tokens, skip = num_tokens - tokens, 0
        if not num_tokens:
            break
    return Batch(0, tuple(parts))
