"""The loop: arrive, plan, check, execute, settle, release, tell.

Owns: the life of one arm, iteration by iteration, and the two clocks of arrivals.
Must not know: any schedule by name, torch, what is made of the log.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lpbench.errors import RunError
from lpbench.executors.executor import Execution, Executor
from lpbench.plan.check import check_plan
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.policy import Policy, View
from lpbench.plan.queues import Queues, Settled
from lpbench.plan.request import Request

NS = 1_000_000_000
"""Nanoseconds of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds admission."""

    num_kv_pages: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One iteration, as it happened.

    Attributes:
        iteration: its number, from 0; where arrivals count in iterations it jumps when nothing was
            runnable.
        start_ns: when its turn came, on the executor's clock: planning begins, unless it was
            planned beside the one before.
        stop_ns: when its tokens were there.
        arrived: requests that became visible with it.
        preempted: requests that lost their pages at its start.
        plan: what ran.
        execution: what came of it.
        settled: who advanced.
    """

    iteration: int
    start_ns: int
    stop_ns: int
    arrived: tuple[int, ...]
    preempted: tuple[int, ...]
    plan: IterationPlan
    execution: Execution
    settled: Settled


def run_arm(
    policy: Policy,
    requests: Sequence[Request],
    executor: Executor,
    *,
    num_layers: int,
    limits: Limits,
    origin_ns: int | None = None,
    log: Callable[[Step], None] = lambda _: None,
    plans_ahead: bool = True,
) -> Iterator[Step]:
    """Serve `requests` under `policy` and yield every iteration.

    The executor has started the arm. Each iteration's time runs from before planning until its
    tokens are there, so that a schedule pays for its own planning. While a device works, the host
    does what needs no token of it: it logs the iteration before, and plans the next one where no
    clock says who has arrived by then. A schedule pays for that where the device has to wait.

    Args:
        policy: the schedule.
        requests: in any order; their arrivals count in iterations, or in seconds.
        executor: what carries the plans out.
        num_layers: of the model.
        limits: what bounds admission.
        origin_ns: when, on the executor's clock, the seconds of arrivals begin; None where they are
            iterations.
        log: is told every iteration, in order, at the latest when the next one is over, and the
            last one when there are no more.
        plans_ahead: whether the next iteration may be planned beside this one; else every
            iteration's own planning is in its time, on any device.

    Raises:
        RunError: the schedule broke a rule.
    """
    queues = Queues(
        requests,
        num_layers=num_layers,
        num_kv_pages=limits.num_kv_pages,
        max_num_seqs=limits.max_num_seqs,
    )
    clock = _Iterations() if origin_ns is None else _Seconds(executor, origin_ns=origin_ns)
    turns = _Turns(policy, queues, clock)
    behind: list[Step] = []

    def catch_up() -> None:
        while behind:
            log(behind.pop())

    def meanwhile() -> None:
        catch_up()
        if plans_ahead:
            turns.go_ahead()

    try:
        while turns.wait():
            start_ns = executor.now_ns()
            turn = turns.take()
            for request in turn.view.preempted:
                executor.release(request)
            execution = executor.execute(turn.plan, meanwhile)
            settled = turns.settle()
            stop_ns = executor.now_ns()
            for request in settled.finished:
                executor.release(request)
            catch_up()
            step = Step(
                iteration=turn.iteration,
                start_ns=start_ns,
                stop_ns=stop_ns,
                arrived=turn.arrived,
                preempted=turn.view.preempted,
                plan=turn.plan,
                execution=execution,
                settled=settled,
            )
            behind.append(step)
            yield step
    finally:
        catch_up()


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one iteration is to do, and for whom."""

    iteration: int
    arrived: tuple[int, ...]
    view: View
    plan: IterationPlan


class _Turns:
    """The iterations of an arm, planned one after the other.

    A plan follows from the plans before it, not from their tokens, so that the next one may be made
    while its predecessor is under way.
    """

    def __init__(self, policy: Policy, queues: Queues, clock: "_Iterations | _Seconds") -> None:
        self._policy, self._queues, self._clock = policy, queues, clock
        self._running: _Turn | None = None
        self._settled: Settled | None = None
        self._next: _Turn | None = None
        self._broken: RunError | None = None

    def wait(self) -> bool:
        """Return whether there is an iteration; it can run once this returns."""
        if self._next is not None:
            return True
        if self._queues.is_finished:
            return False
        if not self._queues.is_runnable:
            self._clock.wait(self._queues.next_arrival)
        return True

    def take(self) -> _Turn:
        """Return the next iteration, which begins to run.

        Raises:
            RunError: the schedule broke a rule.
        """
        if self._broken is not None:
            raise self._broken
        self._running = self._next or self._plan()
        self._next = self._settled = None
        return self._running

    def settle(self) -> Settled:
        """Return who advances by the iteration that runs; the queues are as behind it."""
        assert self._running is not None, "no iteration runs"
        if self._settled is None:
            self._settled = self._queues.settle(self._running.plan)
            self._clock.iteration += 1
        return self._settled

    def go_ahead(self) -> None:
        """Plan the next iteration, where no clock says what it will be.

        A plan that breaks a rule is told of when its turn comes: this iteration's tokens are good.
        """
        self.settle()
        if self._clock.is_known_ahead and self.wait():
            try:
                self._next = self._plan()
            except RunError as error:
                self._broken = error

    def _plan(self) -> _Turn:
        arrived = self._queues.arrive(self._clock.now())
        view = self._queues.begin()
        plan = self._policy.plan(view)
        check_plan(view, plan, self._policy)
        return _Turn(self._clock.iteration, arrived, view, plan)


class _Iterations:
    """The clock of arrivals that counts passes: how fast a machine is does not matter."""

    is_known_ahead = True

    def __init__(self) -> None:
        self.iteration = 0

    def now(self) -> float:
        return self.iteration

    def wait(self, arrival: float) -> None:
        """Jump to an arrival."""
        self.iteration = max(self.iteration, math.ceil(arrival))


class _Seconds:
    """The clock of arrivals that is the executor's own: wall, or virtual."""

    is_known_ahead = False

    def __init__(self, executor: Executor, *, origin_ns: int) -> None:
        self.iteration = 0
        self._executor = executor
        self._origin_ns = origin_ns

    def now(self) -> float:
        return (self._executor.now_ns() - self._origin_ns) / NS

    def wait(self, arrival: float) -> None:
        """Let time pass until an arrival, rounded up so that it has come."""
        passed_ns = math.ceil(arrival * NS)
        while passed_ns / NS < arrival:  # the product itself was rounded down
            passed_ns += max(1, math.ceil(math.ulp(arrival) * NS))  # seconds tell no less apart
        self._executor.wait_until_ns(self._origin_ns + passed_ns)
