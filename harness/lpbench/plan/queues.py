"""The life of every request: arrived, in prefill, decoding, preempted, finished.

Owns: the queues, the KV pages and the preemption rule; the only mutable state of `plan/`.
Must not know: which policy plans, how a plan is carried out, what time it is.

    arrive()   requests whose arrival has come join the waiting queue
    begin()    decodes take the pages they need, the latest admitted is preempted when none is
               free; returns the View a policy plans from
    settle()   the plan has run: prompts advance, tokens are counted, finished requests leave
"""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from lpbench.errors import MisfitError
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.policy import View
from lpbench.plan.request import PAGE_TOKENS, Progress, Request, pages_for


@dataclass(slots=True, eq=False)
class _Live:
    """A request that has arrived: its pages, its place in the order, what it generated."""

    request: Request
    progress: Progress
    generated: int = 0
    pages: int = 0
    admitted: int = -1
    kv_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.kv_tokens = self.request.context_tokens + self.request.prompt_tokens


_ADMITTED = attrgetter("admitted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What an iteration came to.

    Attributes:
        admitted: requests whose first tile ran in it (again, after a preemption).
        sampled: requests that got a token: the decodes, then prompts whose last tile ran.
        finished: requests that got their last token.
    """

    admitted: tuple[int, ...]
    sampled: tuple[int, ...]
    finished: tuple[int, ...]


def refuse_too_large(requests: Sequence[Request], *, num_kv_pages: int) -> None:
    """Refuse a request that the pool can never hold.

    Raises:
        MisfitError: naming the first such request.
    """
    for request in requests:
        needed = pages_for(request.kv_tokens)
        if needed > num_kv_pages:
            msg = (
                f"request {request.index} needs {needed} KV pages for {request.kv_tokens} "
                f"tokens, the pool has {num_kv_pages}; raise --num-kv-pages or shorten it"
            )
            raise MisfitError(msg)


class Queues:
    """All requests of one arm, by where they stand."""

    def __init__(
        self,
        requests: Sequence[Request],
        *,
        num_layers: int,
        num_kv_pages: int,
        max_num_seqs: int,
    ) -> None:
        """Hold `requests` until they arrive.

        Raises:
            MisfitError: a request needs more KV pages than there are.
        """
        refuse_too_large(requests, num_kv_pages=num_kv_pages)
        self._coming = sorted(requests, key=lambda r: (r.arrival, r.index), reverse=True)
        self._num_layers = num_layers
        self._free_pages = num_kv_pages
        self._max_num_seqs = max_num_seqs
        self._live: dict[int, _Live] = {}
        self._waiting: list[_Live] = []
        self._preempted: list[_Live] = []
        self._begun: list[_Live] = []
        self._decoding: list[_Live] = []
        self._decode_tokens = 0
        self._admissions = 0

    @property
    def is_finished(self) -> bool:
        """Whether every request has got its last token."""
        return not self._coming and not self.is_runnable

    @property
    def is_runnable(self) -> bool:
        """Whether any request that has arrived is unfinished."""
        return bool(self._live)

    @property
    def next_arrival(self) -> float:
        """When the next request arrives; there must be one."""
        return self._coming[-1].arrival

    @property
    def free_pages(self) -> int:
        """KV pages that nobody holds."""
        return self._free_pages

    def arrive(self, now: float) -> tuple[int, ...]:
        """Put requests with arrival <= `now` at the end of the queue and return their indices."""
        arrived = []
        while self._coming and self._coming[-1].arrival <= now:
            request = self._coming.pop()
            live = _Live(
                request,
                Progress.start(
                    request.index,
                    request.prompt_tokens,
                    num_layers=self._num_layers,
                    context_tokens=request.context_tokens,
                ),
            )
            self._live[request.index] = live
            self._waiting.append(live)
            arrived.append(request.index)
        return tuple(arrived)

    def begin(self) -> View:
        """Give every decode the page it needs, preempting where none is free; return the view."""
        preempted = self._take_decode_pages()
        return View(
            num_layers=self._num_layers,
            decodes=tuple([live.request.index for live in self._decoding]),
            begun=tuple([live.progress for live in self._begun]),
            queue=tuple([live.progress for live in (*self._preempted, *self._waiting)]),
            free_pages=self._free_pages,
            free_seqs=self._max_num_seqs - len(self._decoding) - len(self._begun),
            decode_tokens=self._decode_tokens,
            preempted=preempted,
        )

    def settle(self, plan: IterationPlan) -> Settled:
        """Advance every request of `plan`, which has run."""
        admitted, sampled, finished = [], list(plan.decodes), []
        for index in plan.decodes:
            self._count_token(self._live[index])
        self._decode_tokens += len(plan.decodes)
        for part in plan.prefill:
            live = self._live[part.request]
            if not live.progress.is_begun:
                self._admit(live)
                admitted.append(part.request)
            live.progress = live.progress.after(part.tile)
            if live.progress.is_done:
                self._begun.remove(live)
                insort(self._decoding, live, key=_ADMITTED)
                self._count_token(live)
                self._decode_tokens += live.kv_tokens
                sampled.append(part.request)
        for index in sampled:
            live = self._live[index]
            if live.generated == live.request.output_tokens:
                self._finish(live)
                finished.append(index)
        return Settled(admitted=tuple(admitted), sampled=tuple(sampled), finished=tuple(finished))

    def _take_decode_pages(self) -> tuple[int, ...]:
        preempted = []
        at = 0
        while at < len(self._decoding):
            live = self._decoding[at]
            if live.kv_tokens > live.pages * PAGE_TOKENS:
                while not self._free_pages:
                    preempted.append(self._preempt_latest())
                    if at == len(self._decoding):
                        return tuple(preempted)
                self._free_pages -= 1
                live.pages += 1
            at += 1
        return tuple(preempted)

    def _preempt_latest(self) -> int:
        """Free the pages of the decoding request admitted last; all of it is computed again."""
        live = self._decoding.pop()
        self._decode_tokens -= live.kv_tokens
        self._free_pages += live.pages
        live.pages = 0
        live.progress = Progress.start(
            live.request.index, live.kv_tokens, num_layers=self._num_layers
        )
        insort(self._preempted, live, key=lambda item: (item.request.arrival, item.request.index))
        return live.request.index

    def _admit(self, live: _Live) -> None:
        (self._preempted if live.generated else self._waiting).remove(live)
        live.pages = live.progress.pages
        self._free_pages -= live.pages
        assert self._free_pages >= 0, "a plan admitted a request without pages"
        live.admitted = self._admissions
        self._admissions += 1
        self._begun.append(live)

    @staticmethod
    def _count_token(live: _Live) -> None:
        live.generated += 1
        live.kv_tokens += 1

    def _finish(self, live: _Live) -> None:
        self._free_pages += live.pages
        self._decode_tokens -= live.kv_tokens
        self._decoding.remove(live)
        del self._live[live.request.index]
