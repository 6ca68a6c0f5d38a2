"""The loop: arrive, plan, check, execute, settle, release, tell.

Owns: the life of one arm, iteration by iteration, and the iteration clock of arrivals.
Must not know: any schedule by name, torch, what is made of the log.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lpbench.executors.executor import Execution, Executor
from lpbench.plan.check import check_plan
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.policy import Policy
from lpbench.plan.queues import Queues, Settled
from lpbench.plan.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds admission."""

    num_kv_pages: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One iteration, as it happened.

    Attributes:
        iteration: its number on the arrival clock, from 0; it jumps where nothing was runnable.
        start_ns: when planning began, on the executor's clock.
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
) -> Iterator[Step]:
    """Serve `requests` under `policy` and yield every iteration.

    The executor has started the arm. Each iteration's time runs from before planning until its
    tokens are there, so that a schedule pays for its own planning.

    Raises:
        RunError: the schedule broke a rule.
    """
    queues = Queues(
        requests,
        num_layers=num_layers,
        num_kv_pages=limits.num_kv_pages,
        max_num_seqs=limits.max_num_seqs,
    )
    iteration = 0
    while not queues.is_finished:
        if not queues.is_runnable:
            iteration = max(iteration, int(queues.next_arrival))
        start_ns = executor.now_ns()
        arrived = queues.arrive(iteration)
        view = queues.begin()
        for request in view.preempted:
            executor.release(request)
        plan = policy.plan(view)
        check_plan(view, plan, policy)
        execution = executor.execute(plan)
        settled = queues.settle(plan)
        stop_ns = executor.now_ns()
        for request in settled.finished:
            executor.release(request)
        yield Step(
            iteration=iteration,
            start_ns=start_ns,
            stop_ns=stop_ns,
            arrived=arrived,
            preempted=view.preempted,
            plan=plan,
            execution=execution,
            settled=settled,
        )
        iteration += 1
