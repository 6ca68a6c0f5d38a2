"""What is known of every request: its token ids, and where its prompt starts.

Owns: the ids, side by side in one array, and how far each request has come.
Must not know: schedules, devices, keys and values.

A request's seat is its place among the requests of the run; seats and positions are arrays, so that
a pass over hundreds of decodes costs no Python per decode.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lpbench.executors.torch_engine.layer import Block
from lpbench.plan.iteration import PromptRows, Segment
from lpbench.plan.request import Request

Seats = NDArray[np.int64]
"""Which requests, int64 [n]."""


class Sequences:
    """The token ids of all requests as far as they are known: context, prompt, what was fed after.

    Attributes:
        requests: by seat.
        starts: int64 [seats], where each request's ids begin in the one array of all.
        known: int64 [seats], ids known so far.
        offsets: int64 [seats], position of prompt token 0: the context's length, or 0 when all is
            computed again.
    """

    def __init__(self, requests: Sequence[Request], ids: Mapping[int, Sequence[int]]) -> None:
        """Take the requests, and the ids of each: context, then prompt."""
        self.requests = tuple(requests)
        self._given = np.array([len(ids[one.index]) for one in requests])
        room = np.array([one.kv_tokens + 1 for one in requests])  # the last id is never fed
        self.starts = np.cumsum(room) - room
        self.offsets = np.zeros(len(room), np.int64)
        self.known = self._given.copy()
        self._ids = np.zeros(int(room.sum()), np.int64)
        self._seat = np.zeros(1 + max(one.index for one in requests), np.int64)
        for seat, one in enumerate(requests):
            self._seat[one.index] = seat
            start = self.starts[seat]
            self._ids[start : start + self._given[seat]] = ids[one.index]
        self._is_scripted = False

    @property
    def num_positions(self) -> int:
        """Positions of all requests together: the length of the one array."""
        return len(self._ids)

    def reset(self, script: Mapping[int, Sequence[int]] | None) -> None:
        """Begin again from the prompts.

        Args:
            script: tokens to feed instead of those that `feed` is given, by request.
        """
        self.known[:] = self._given
        self.offsets[:] = 0
        self._is_scripted = script is not None
        for index, tokens in (script or {}).items():
            seat = self._seat[index]
            start = self.starts[seat] + self._given[seat]
            self._ids[start : start + len(tokens)] = tokens

    def seats(self, requests: Sequence[int]) -> Seats:
        """Return the seats of requests."""
        return self._seat[np.array(requests, np.int64)]

    def seat(self, request: int) -> int:
        """Return the seat of a request."""
        return int(self._seat[request])

    def last(self, seats: Seats) -> NDArray[np.int64]:
        """Return the last known id of each."""
        last: NDArray[np.int64] = self._ids[self.starts[seats] + self.known[seats] - 1]
        return last

    def ids_of(self, rows: PromptRows) -> NDArray[np.int64]:
        """Return the token ids of these prompt rows."""
        block = self.block(rows)
        start = self.starts[self.seat(rows.request)] + block.start
        return self._ids[start : start + block.count]

    def block(self, rows: PromptRows) -> Block:
        """Return where these prompt rows stand."""
        start = int(self.offsets[self.seat(rows.request)]) + rows.tokens.start
        return Block(request=rows.request, start=start, count=len(rows.tokens))

    def blocks(self, segment: Segment) -> tuple[Block, ...]:
        """Return where all rows of a segment stand, request by request."""
        starts = (self.known[self.seats(segment.decodes)] - 1).tolist()
        decodes = (
            Block(request=index, start=start, count=1)
            for index, start in zip(segment.decodes, starts, strict=True)
        )
        return (*decodes, *map(self.block, segment.prompts))

    def is_at_the_end(self, rows: PromptRows) -> bool:
        """Return whether the last of these prompt rows is the last id known."""
        block = self.block(rows)
        return block.start + block.count == int(self.known[self.seat(rows.request)])

    def generated(self, seats: Seats) -> NDArray[np.int64]:
        """Return how many tokens each was fed."""
        generated: NDArray[np.int64] = self.known[seats] - self._given[seats]
        return generated

    def feed(self, seats: Seats, tokens: NDArray[np.int64]) -> None:
        """Append a token to each, or the script's in its place."""
        if not self._is_scripted:
            self._ids[self.starts[seats] + self.known[seats]] = tokens
        self.known[seats] += 1
