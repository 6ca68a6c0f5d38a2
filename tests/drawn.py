"""Drawn arms: a schedule, a workload and the limits, and what follows from its outcomes alone."""

from dataclasses import dataclass

from hypothesis import strategies as st

from lpbench.plan.adaptive import Adaptive
from lpbench.plan.chunked import Chunked
from lpbench.plan.layered import Layered, hybrid
from lpbench.plan.policy import Policy
from lpbench.plan.request import Request, pages_for
from lpbench.plan.whole import Whole
from tests.predicted import Linear
from tests.serving import Served, serve

KINDS = ("whole", "chunked", "ceil", "table", "fixed", "hybrid", "adaptive")
"""Kinds of schedule: `layered` by its rules, and with its groups fixed."""

LAYERS = st.integers(1, 12)

ROUNDS = 60
"""A drawn budget serves all prompts in about so many batches at most, to keep examples short."""


@dataclass(frozen=True)
class Drawn:
    """A schedule, a workload and the limits on admission."""

    policy: Policy
    requests: tuple[Request, ...]
    num_layers: int
    num_kv_pages: int
    max_num_seqs: int

    def serve(self) -> list[Served]:
        """Return the iterations of the arm."""
        return serve(
            self.policy,
            self.requests,
            num_layers=self.num_layers,
            num_kv_pages=self.num_kv_pages,
            max_num_seqs=self.max_num_seqs,
        )


@dataclass
class Standing:
    """What is known of every request from settled iterations alone, in order of admission."""

    drawn: Drawn
    generated: dict[int, int]
    decoding: list[int]
    in_prefill: list[int]
    preempted: list[int]

    @classmethod
    def of(cls, drawn: Drawn) -> "Standing":
        """Return the standing before the first iteration."""
        return cls(drawn, dict.fromkeys(range(len(drawn.requests)), 0), [], [], [])

    def kv_tokens(self, request: int) -> int:
        """Return context, prompt and generated tokens."""
        one = self.drawn.requests[request]
        return one.context_tokens + one.prompt_tokens + self.generated[request]

    def pages(self, requests: list[int]) -> int:
        """Return the pages these requests need for the tokens they have."""
        return sum(pages_for(self.kv_tokens(request)) for request in requests)

    def preempt(self, requests: tuple[int, ...]) -> None:
        """Take pages away from decoding requests."""
        self.decoding = [one for one in self.decoding if one not in requests]
        self.preempted += requests

    def settle(self, step: Served) -> None:
        """Follow what an iteration came to."""
        for request in step.settled.admitted:
            self.in_prefill.append(request)
            self.preempted = [one for one in self.preempted if one != request]
        for request in step.settled.sampled:
            self.generated[request] += 1
            if request in self.in_prefill:
                self.in_prefill.remove(request)
                self.decoding.append(request)
        self.decoding = [one for one in self.decoding if one not in step.settled.finished]


@st.composite
def requests(draw: st.DrawFn, *, most: int = 6) -> tuple[Request, ...]:
    """Draw prompts of 1 to 200 tokens and outputs of 1 to 30, context and arrival often 0."""
    return tuple(
        Request(
            index=index,
            prompt_tokens=draw(st.integers(1, 200)),
            output_tokens=draw(st.integers(1, 30)),
            context_tokens=draw(st.sampled_from([0, 0, 1, 15, 16, 40])),
            arrival=draw(st.sampled_from([0, 0, 1, 2, 5, 20])),
        )
        for index in range(draw(st.integers(1, most)))
    )


@st.composite
def growing_requests(draw: st.DrawFn) -> tuple[Request, ...]:
    """Draw requests that soon need another page: prompts about a page long, outputs of 10 to 30."""
    return tuple(
        Request(
            index=index,
            prompt_tokens=draw(st.sampled_from([15, 16, 16, 31]) | st.integers(1, 40)),
            output_tokens=draw(st.integers(10, 30)),
            context_tokens=draw(st.sampled_from([0, 0, 0, 16])),
            arrival=draw(st.sampled_from([0, 0, 0, 3])),
        )
        for index in range(draw(st.integers(3, 6)))
    )


@st.composite
def policies(
    draw: st.DrawFn,
    kind: str,
    *,
    served: tuple[Request, ...],
    max_num_seqs: int,
    num_layers: int,
) -> Policy:
    """Draw a schedule of a kind, with parameters that accept the workload."""
    prompts = [one.prompt_tokens for one in served]
    least = max(1, sum(prompts) // ROUNDS)
    most = sum(prompts) + 10
    if kind == "adaptive":
        alike, twice = (0,) * num_layers, (0, 1) * num_layers
        linear = Linear(kinds=draw(st.sampled_from([alike, twice[:num_layers]])))
        return Adaptive(tbt_budget_ms=draw(st.integers(1, 60)), predictor=linear)
    if kind == "whole":
        exactly = st.just(max(prompts))
        return Whole(max_num_batched_tokens=draw(exactly | st.integers(max(prompts), most)))
    if kind == "chunked":
        starved = min(max_num_seqs, len(served) - 1)
        return Chunked(max_num_batched_tokens=starved + draw(st.integers(least, most)))
    budget = draw(st.integers(least, most))
    groups = draw(st.integers(1, 16))
    if kind == "hybrid":
        return hybrid(chunk=budget, num_groups=groups)
    return Layered(
        max_num_batched_tokens=budget,
        tokens_per_group=draw(st.integers(1, 64)),
        rule="table" if kind == "table" else "ceil",
        max_groups=draw(st.sampled_from([4, 12, 16, 24])),
        num_groups=groups if kind == "fixed" else None,
    )


@st.composite
def arms(draw: st.DrawFn, kind: str, *, layers: st.SearchStrategy[int]) -> Drawn:
    """Draw everything; the pool is anything from the largest request to all of them."""
    served = draw(requests())
    pages = [pages_for(one.kv_tokens) for one in served]
    max_num_seqs = draw(st.integers(1, len(served) + 1))
    num_layers = draw(layers)
    drawn = policies(kind, served=served, max_num_seqs=max_num_seqs, num_layers=num_layers)
    return Drawn(
        policy=draw(drawn),
        requests=served,
        num_layers=num_layers,
        num_kv_pages=draw(st.integers(max(pages), sum(pages))),
        max_num_seqs=max_num_seqs,
    )


@st.composite
def crowded_arms(draw: st.DrawFn, kind: str, *, layers: st.SearchStrategy[int] = LAYERS) -> Drawn:
    """Draw arms whose pool holds the prompts but not what they grow to: most preempt requests."""
    served = draw(growing_requests())
    least = max(pages_for(one.kv_tokens) for one in served)
    prompts = sum(pages_for(one.context_tokens + one.prompt_tokens) for one in served)
    max_num_seqs = draw(st.integers(2, len(served) + 1))
    num_layers = draw(layers)
    drawn = policies(kind, served=served, max_num_seqs=max_num_seqs, num_layers=num_layers)
    return Drawn(
        policy=draw(drawn),
        requests=served,
        num_layers=num_layers,
        num_kv_pages=max(least, prompts + draw(st.integers(-2, 1))),
        max_num_seqs=max_num_seqs,
    )


def any_arms(kind: str, *, layers: st.SearchStrategy[int] = LAYERS) -> st.SearchStrategy[Drawn]:
    """Draw roomy and crowded arms alike."""
    return arms(kind, layers=layers) | crowded_arms(kind, layers=layers)
