"""What is asked for, and how far its prefill is.

Owns: the request as it arrived and the immutable progress of a prompt through the layers.
Must not know: token ids, schedules, where the KV cache lies.
"""

from dataclasses import dataclass, replace

from lpbench.plan.grid import Span, Tile

PAGE_TOKENS = 16
"""Tokens of one KV page (DESIGN.md, "KV pages and preemption")."""


def pages_for(tokens: int) -> int:
    """Return the KV pages that hold `tokens` tokens."""
    return -(-tokens // PAGE_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it arrives, in lengths alone.

    Attributes:
        index: its line number in the workload, from 0; also its name everywhere.
        arrival: the iteration (iteration clock) or the seconds (wall or virtual clock) from
            which it is visible.
        context_tokens: tokens that stand in the KV cache before the prompt, at no counted cost.
        prompt_tokens: tokens to prefill, at least 1.
        output_tokens: tokens to generate, at least 1.
    """

    index: int
    prompt_tokens: int
    output_tokens: int
    context_tokens: int = 0
    arrival: float = 0

    @property
    def kv_tokens(self) -> int:
        """Most tokens it ever holds in the KV cache: the last generated one is never fed."""
        return self.context_tokens + self.prompt_tokens + self.output_tokens - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one prompt is through the layers: a staircase of tokens done per layer.

    Attributes:
        request: index of the request.
        context_tokens: tokens already in the KV cache before the first one to prefill; 0 when
            the request was preempted and everything is computed again.
        num_tokens: tokens to prefill: the prompt, after a preemption context + prompt +
            generated.
        done: tokens done by each layer, never rising from a layer to the next.
    """

    request: int
    num_tokens: int
    done: tuple[int, ...]
    context_tokens: int = 0

    @classmethod
    def start(
        cls, request: int, num_tokens: int, *, num_layers: int, context_tokens: int = 0
    ) -> "Progress":
        """Return the progress of a prompt of which nothing is done."""
        return cls(
            request=request,
            num_tokens=num_tokens,
            done=(0,) * num_layers,
            context_tokens=context_tokens,
        )

    @property
    def pages(self) -> int:
        """KV pages its tokens take."""
        return pages_for(self.context_tokens + self.num_tokens)

    @property
    def is_begun(self) -> bool:
        """Whether any tile of it has run."""
        return self.done[0] > 0

    @property
    def is_done(self) -> bool:
        """Whether its last tile has run."""
        return self.done[-1] == self.num_tokens

    @property
    def tokens_in_flight(self) -> Span:
        """The tokens that have entered the first layer and not left the last one."""
        return Span(self.done[-1], self.done[0])

    @property
    def rest(self) -> int:
        """Tokens that have not entered the first layer."""
        return self.num_tokens - self.done[0]

    def after(self, tile: Tile) -> "Progress":
        """Return the progress once `tile` has run.

        Token k at layer l comes after token k at layer l-1 and after the tokens before k at
        layer l, so a tile starts where its layers stand and below a layer that is far enough.

        Raises:
            ValueError: the tile comes out of order, twice, or past the prompt.
        """
        tokens, layers = tile.tokens, tile.layers
        standing = self.done[layers.start : layers.stop]
        if len(standing) != len(layers) or tokens.stop > self.num_tokens:
            msg = f"{tile} of request {self.request} lies outside its prefill"
            raise ValueError(msg)
        if any(done != tokens.start for done in standing):
            msg = f"{tile} of request {self.request} does not start at the tokens done, {standing}"
            raise ValueError(msg)
        if layers.start and self.done[layers.start - 1] < tokens.stop:
            msg = f"{tile} of request {self.request} runs ahead of layer {layers.start - 1}"
            raise ValueError(msg)
        done = (
            *self.done[: layers.start],
            *(tokens.stop,) * len(layers),
            *self.done[layers.stop :],
        )
        return replace(self, done=done)
