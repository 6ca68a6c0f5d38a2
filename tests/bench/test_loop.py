"""The loop of one arm, with an executor that computes nothing: who arrives when, who is told."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lpbench.bench.loop import Limits, Step, run_arm
from lpbench.errors import InputError, RunError
from lpbench.executors.executor import Execution, Routed
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.policy import Policy, View
from lpbench.plan.request import Request, pages_for
from lpbench.plan.schedules import parse_schedule

LAYERS = 4
EXPERTS = 3
TICK = 10
"""What the fake clock advances each time it is read."""

SCHEDULES = ("whole", "chunked:max_num_batched_tokens=8", "layered:num_groups=3", "hybrid:chunk=7")


class FakeExecutor:
    """Keeps the order of the calls; the n-th token of request r is 100 r + n."""

    def __init__(self, requests: Sequence[Request]) -> None:
        """Start with nothing generated."""
        self.calls: list[tuple[str, object]] = []
        self._requests = {request.index: request for request in requests}
        self._generated: Counter[int] = Counter()
        self._context = {request.index: request.context_tokens for request in requests}
        self._now = 0

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, *, pinned: bool = False
    ) -> None:
        """Nothing to empty."""

    def execute(
        self, plan: IterationPlan, meanwhile: Callable[[], None] | None = None
    ) -> Execution:
        """Give a token to every decode and to every prompt whose last tile this is."""
        del meanwhile
        self.calls.append(("execute", plan))
        due = [
            *plan.decodes,
            *(part.request for part in plan.prefill if self._ends(part.request, plan)),
        ]
        tokens = {}
        for request in due:
            tokens[request] = 100 * request + self._generated[request]
            self._generated[request] += 1
        prompts = tuple(part.request for part in plan.prefill)
        touched = np.zeros((LAYERS, 1 + len(prompts), EXPERTS), dtype=np.bool_)
        return Execution(tokens=tokens, routed=Routed(touched=touched, prompts=prompts))

    def _ends(self, request: int, plan: IterationPlan) -> bool:
        (tile,) = (part.tile for part in plan.prefill if part.request == request)
        recomputed = self._requests[request].context_tokens - self._context[request]
        length = self._requests[request].prompt_tokens + recomputed + self._generated[request]
        return (length, LAYERS) == (tile.tokens.stop, tile.layers.stop)

    def release(self, request: int) -> None:
        """Forget a request; should it come back, its context is computed again."""
        self.calls.append(("release", request))
        self._context[request] = 0

    def now_ns(self) -> int:
        """Read a clock that advances when it is read."""
        self.calls.append(("now", None))
        self._now += TICK
        return self._now

    def wait_until_ns(self, until_ns: int) -> None:
        """Nobody arrives by seconds."""


def serve(
    requests: Sequence[Request],
    *,
    schedule: str | Policy = "chunked",
    num_kv_pages: int = 1000,
    max_num_seqs: int = 256,
) -> tuple[FakeExecutor, Iterator[Step]]:
    """Return a fake executor and the steps that it will be taken through."""
    executor = FakeExecutor(requests)
    policy = parse_schedule(schedule) if isinstance(schedule, str) else schedule
    limits = Limits(num_kv_pages=num_kv_pages, max_num_seqs=max_num_seqs)
    return executor, run_arm(policy, requests, executor, num_layers=LAYERS, limits=limits)


def request(index: int, prompt: int, output: int, **more: int) -> Request:
    """Return a request."""
    return Request(index=index, prompt_tokens=prompt, output_tokens=output, **more)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_request_gets_its_tokens(schedule: str) -> None:
    """Each one, in order, exactly as many as asked for, and is released once, at its end."""
    requests = [request(i, 5 + 4 * i, 1 + i, arrival=3 * i, context_tokens=i) for i in range(6)]
    executor, steps = serve(requests, schedule=schedule)
    tokens: dict[int, list[int]] = {one.index: [] for one in requests}
    for step in steps:
        assert set(step.settled.sampled) == set(step.execution.tokens)
        for index, token in step.execution.tokens.items():
            tokens[index].append(token)
    assert {i: [100 * i + n for n in range(1 + i)] for i in range(6)} == tokens
    assert {("release", i): 1 for i in range(6)} == Counter(
        call for call in executor.calls if call[0] == "release"
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_request_is_visible_from_its_iteration_on(schedule: str) -> None:
    """While others decode, iterations count one by one and each arrives in its own."""
    requests = [request(0, 4, 40), request(1, 4, 2, arrival=3), request(2, 30, 2, arrival=9)]
    steps = list(serve(requests, schedule=schedule)[1])
    assert list(range(len(steps))) == [step.iteration for step in steps]
    arrivals = {step.iteration: step.arrived for step in steps if step.arrived}
    assert {0: (0,), 3: (1,), 9: (2,)} == arrivals
    first = {one: step.iteration for step in reversed(steps) for one in step.settled.admitted}
    assert all(one.arrival <= first[one.index] for one in requests)


def test_an_idle_engine_jumps_to_the_next_arrival() -> None:
    """Nothing runs between the last token of one request and the arrival of the next."""
    requests = [request(0, 4, 3), request(1, 4, 2, arrival=50), request(2, 4, 1, arrival=51)]
    steps = list(serve(requests)[1])
    assert [0, 1, 2, 50, 51] == [step.iteration for step in steps]
    assert [(0,), (), (), (1,), (2,)] == [step.arrived for step in steps]


class ExactClock(FakeExecutor):
    """Its clock stands still but where it is waited for."""

    def now_ns(self) -> int:
        """Read it."""
        return self._now

    def wait_until_ns(self, until_ns: int) -> None:
        """Let no nanosecond more go by than was asked for."""
        self._now = max(self._now, until_ns)


def first_step(arrival: float) -> Step:
    """Return the only step of a request that arrives at some second."""
    requests = [Request(index=0, prompt_tokens=4, output_tokens=1, arrival=arrival)]
    steps = run_arm(
        parse_schedule("chunked"),
        requests,
        ExactClock(requests),
        num_layers=LAYERS,
        limits=Limits(num_kv_pages=1000, max_num_seqs=256),
        origin_ns=0,
    )
    (step,) = steps
    assert (0,) == step.arrived
    return step


@pytest.mark.parametrize("arrival", [3 * 0.0001, 43 * 0.0001, 1 / 3, 1.0, 277.3])
def test_what_is_waited_for_has_arrived(arrival: float) -> None:
    """Seconds that are no whole nanoseconds, and those whose product with 1e9 is rounded down."""
    assert arrival * 1e9 == pytest.approx(first_step(arrival).start_ns, abs=1)


@given(arrival=st.floats(1e8, 1e15))
@example(arrival=640000009.6)
def test_what_is_waited_for_for_decades_has_arrived(arrival: float) -> None:
    """Two seconds that a float tells apart are many nanoseconds apart: no later than the second."""
    assert arrival <= first_step(arrival).start_ns / 1e9 <= arrival + 2 * math.ulp(arrival)


def test_the_number_starts_at_the_first_arrival() -> None:
    """When nobody is there at 0, the first iteration is that of the first arrival."""
    steps = list(serve([request(0, 4, 2, arrival=7)])[1])
    assert [7, 8] == [step.iteration for step in steps]


def test_an_arrival_that_was_waited_for_does_not_turn_the_number_back() -> None:
    """A request that came while others ran and could not start is served in later numbers."""
    requests = [request(0, 4, 9), request(1, 4, 2, arrival=1), request(2, 4, 1, arrival=2)]
    steps = list(serve(requests, max_num_seqs=1)[1])
    assert list(range(12)) == [step.iteration for step in steps]
    scheduled = {one: step.iteration for step in steps for one in step.settled.admitted}
    assert {0: 0, 1: 9, 2: 11} == scheduled


def test_requests_arrive_by_arrival_then_by_line() -> None:
    """Those of one iteration come in the order of their lines."""
    requests = [request(0, 4, 1, arrival=2), request(1, 4, 1), request(2, 4, 1, arrival=2)]
    arrived = [step.arrived for step in serve(requests)[1]]
    assert [(1,), (0, 2)] == arrived


def test_the_calls_of_an_iteration_have_an_order() -> None:
    """The clock, the preempted go, the pass, the clock, the finished go."""
    executor, steps = serve([request(0, 4, 2), request(1, 4, 1)])
    kinds = []
    for _ in steps:
        kinds.append([kind for kind, _ in executor.calls])
        executor.calls.clear()
    assert [["now", "execute", "now", "release"]] * 2 == kinds


def test_nothing_runs_before_it_is_asked_for() -> None:
    """The loop goes one iteration at a time: who stops reading stops the arm."""
    executor, steps = serve([request(0, 4, 5)])
    assert [] == executor.calls
    next(steps)
    assert 1 == [kind for kind, _ in executor.calls].count("execute")


def test_time_stamps_cover_the_iteration() -> None:
    """Each iteration begins before planning, ends with its tokens, and ends before the next."""
    steps = list(serve([request(0, 40, 3)], schedule="layered:num_groups=4")[1])
    assert [TICK] * len(steps) == [step.stop_ns - step.start_ns for step in steps]
    assert all(one.stop_ns < other.start_ns for one, other in pairwise(steps))


def test_preempted_requests_are_released_before_the_pass() -> None:
    """A request without a page has no row, its cache is dropped first, and it comes back."""
    requests = [request(i, 15, 20) for i in range(3)]
    executor, steps = serve(requests, num_kv_pages=4)
    preempted: Counter[int] = Counter()
    for step in steps:
        names = [one for kind, one in executor.calls if kind in {"release", "execute"}]
        at = names.index(step.plan)
        assert list(step.preempted) == names[:at]
        assert set(step.settled.finished) == set(names[at + 1 :])
        assert not set(step.preempted) & set(step.plan.decodes)
        preempted.update(step.preempted)
        executor.calls.clear()
    assert preempted
    assert 0 not in preempted


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_preemption_takes_no_token(schedule: str) -> None:
    """However often a request loses its pages, its tokens are those of a run with room."""
    requests = [request(i, 15, 20, context_tokens=i) for i in range(4)]
    roomy = list(serve(requests, schedule=schedule)[1])
    tight = list(serve(requests, schedule=schedule, num_kv_pages=5)[1])
    assert any(step.preempted for step in tight)
    assert not any(step.preempted for step in roomy)
    assert tokens_of(roomy) == tokens_of(tight)


def tokens_of(steps: Sequence[Step]) -> dict[int, list[int]]:
    """Return every request's tokens in order."""
    found: dict[int, list[int]] = {}
    for step in steps:
        for index, token in step.execution.tokens.items():
            found.setdefault(index, []).append(token)
    return dict(sorted(found.items()))


def test_a_request_that_never_fits_is_refused_at_the_start() -> None:
    """Before the first pass, with the number of pages that it needs."""
    executor, steps = serve([request(0, 4, 1), request(1, 100, 1)], num_kv_pages=6)
    with pytest.raises(InputError, match="request 1 needs 7 KV pages"):
        next(steps)
    assert [] == executor.calls


class Forgetful:
    """Plans as another policy does, without its decodes."""

    def __init__(self, inner: Policy) -> None:
        """Take the policy to spoil."""
        self._inner = inner
        self.name, self.params = inner.name, inner.params

    def plan(self, view: View) -> IterationPlan:
        """Leave every decode out."""
        return IterationPlan(decodes=(), prefill=self._inner.plan(view).prefill)

    def prefill_budget(self, num_decodes: int) -> int:
        """Return the other's."""
        return self._inner.prefill_budget(num_decodes)

    def refuse(self, requests: Sequence[Request], *, max_num_seqs: int) -> None:
        """Refuse nothing."""


class Device(FakeExecutor):
    """Computes on a device: the host has time while it does."""

    def execute(
        self, plan: IterationPlan, meanwhile: Callable[[], None] | None = None
    ) -> Execution:
        """Let the host do what it has to do before the pass is over."""
        assert meanwhile is not None
        self.calls.append(("launch", plan))
        meanwhile()
        return super().execute(plan)


@pytest.mark.parametrize("kind", [FakeExecutor, Device])
def test_a_plan_that_breaks_a_rule_is_not_run(kind: type[FakeExecutor]) -> None:
    """A schedule that leaves a decode out ends the arm before its plan reaches the executor.

    What ran before is told, where the plan was made beside it too.
    """
    requests = [request(0, 4, 5)]
    executor, policy = kind(requests), Forgetful(parse_schedule("whole"))
    limits = Limits(num_kv_pages=1000, max_num_seqs=256)
    steps = run_arm(policy, requests, executor, num_layers=LAYERS, limits=limits)
    next(steps)
    executor.calls.clear()
    with pytest.raises(RunError):
        next(steps)
    assert [("now", None)] == executor.calls


REQUESTS = (request(0, 4, 3), request(1, 4, 2, arrival=2))


def logged(executor: FakeExecutor) -> tuple[list[Step], Iterator[Step]]:
    """Return the log of an arm, which puts itself among the executor's calls, and its steps."""
    told: list[Step] = []

    def log(step: Step) -> None:
        executor.calls.append(("log", step.iteration))
        told.append(step)

    limits = Limits(num_kv_pages=1000, max_num_seqs=256)
    policy = parse_schedule("chunked")
    return told, run_arm(policy, REQUESTS, executor, num_layers=LAYERS, limits=limits, log=log)


@pytest.mark.parametrize("kind", [FakeExecutor, Device])
def test_every_iteration_is_logged_in_order(kind: type[FakeExecutor]) -> None:
    """The last one too, and none twice, wherever it was computed."""
    told, steps = logged(kind(REQUESTS))
    assert list(steps) == told


def test_an_iteration_is_logged_while_the_device_works_on_the_next() -> None:
    """Between the launch of that and its end."""
    executor = Device(REQUESTS)
    deque(logged(executor)[1], maxlen=0)
    names = [name for name, _ in executor.calls if name in ("launch", "log", "execute")]
    assert ["launch", "execute", *["launch", "log", "execute"] * 3, "log"] == names


def test_a_log_is_no_part_of_an_iterations_time() -> None:
    """Where the host computes: the clock is read last, then the iteration before is logged."""
    executor = FakeExecutor(REQUESTS)
    deque(logged(executor)[1], maxlen=0)
    names = [name for name, _ in executor.calls if name != "release"]
    assert ["now", "execute", "now", *["now", "execute", "now", "log"] * 3, "log"] == names


class Failing(FakeExecutor):
    """Fails in the first pass with decodes."""

    def execute(
        self, plan: IterationPlan, meanwhile: Callable[[], None] | None = None
    ) -> Execution:
        """Fail, or not."""
        if plan.decodes:
            raise RunError("the device failed")
        return super().execute(plan, meanwhile)


def test_an_arm_that_ends_early_has_logged_what_was_done() -> None:
    """Whether nobody takes its steps any more, or a pass fails."""
    told, steps = logged(FakeExecutor(REQUESTS))
    first = next(steps)
    assert not told
    del steps
    assert [first] == told
    told, steps = logged(Failing(REQUESTS))
    with pytest.raises(RunError):
        deque(steps, maxlen=0)
    assert [0] == [step.iteration for step in told]


@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(0, 12)), min_size=1, max_size=6
    ),
    schedule=st.sampled_from(SCHEDULES),
    spare_pages=st.integers(0, 3),
)
def test_planning_ahead_changes_no_iteration(
    shapes: list[tuple[int, int, int]], schedule: str, spare_pages: int
) -> None:
    """Who arrives, runs, is preempted and advances is the same as without a device."""
    requests = [
        request(index, prompt, output, arrival=arrival)
        for index, (prompt, output, arrival) in enumerate(shapes)
    ]
    pages = max(pages_for(one.kv_tokens) for one in requests) + spare_pages
    host, device = (
        list(
            run_arm(
                parse_schedule(schedule),
                requests,
                executor,
                num_layers=LAYERS,
                limits=Limits(num_kv_pages=pages, max_num_seqs=4),
            )
        )
        for executor in (FakeExecutor(requests), Device(requests))
    )
    for one, other in zip(host, device, strict=True):
        assert one.plan == other.plan
        assert one.settled == other.settled
        assert (one.iteration, one.arrived, one.preempted) == (
            other.iteration,
            other.arrived,
            other.preempted,
        )


@pytest.mark.parametrize(
    ("origin_ns", "order"),
    [
        (None, ["plan", "launch", "plan", "execute", "launch", "execute"]),
        (0, ["plan", "launch", "execute", "plan", "launch", "execute"]),
    ],
)
def test_where_the_clock_says_who_arrives_nothing_is_planned_ahead(
    monkeypatch: pytest.MonkeyPatch, origin_ns: int | None, order: list[str]
) -> None:
    """A request that arrives during a pass is in the next one's plan."""
    requests = [request(0, 4, 2)]
    executor, policy = Device(requests), parse_schedule("chunked")
    planned = type(policy).plan

    def plan(self: Policy, view: View) -> IterationPlan:
        executor.calls.append(("plan", None))
        return planned(self, view)

    monkeypatch.setattr(type(policy), "plan", plan)
    limits = Limits(num_kv_pages=1000, max_num_seqs=256)
    steps = run_arm(
        policy, requests, executor, num_layers=LAYERS, limits=limits, origin_ns=origin_ns
    )
    deque(steps, maxlen=0)
    assert order == [name for name, _ in executor.calls if name in order]


@pytest.mark.parametrize("kind", [FakeExecutor, Device])
def test_seconds_that_are_taken_for_iterations_are_waited_for(kind: type[FakeExecutor]) -> None:
    """As a rehearsal of timed arrivals does: a request is there from the next whole one on."""
    requests = [
        Request(index=index, prompt_tokens=4, output_tokens=2, arrival=arrival)
        for index, arrival in enumerate((0.37, 12.3))
    ]
    limits = Limits(num_kv_pages=1000, max_num_seqs=256)
    steps = list(
        run_arm(
            parse_schedule("chunked"), requests, kind(requests), num_layers=LAYERS, limits=limits
        )
    )
    assert [(1, (0,)), (13, (1,))] == [
        (step.iteration, step.arrived) for step in steps if step.arrived
    ]
