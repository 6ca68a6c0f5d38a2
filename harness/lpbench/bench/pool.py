"""Independent jobs in a few processes, each result as soon as it is there.

Owns: how many processes there are, their end with the one that started them, Ctrl-C.
Must not know: what a job does.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TypeVar

from lpbench.errors import InputError, LpbenchError, RunError

MOST_WORKERS = 1024
"""More processes nobody has cores for."""

Job = TypeVar("Job")
Result = TypeVar("Result")


def pick_workers(asked: int | None) -> int:
    """Return how many processes are at work: as asked for, else one a core.

    Raises:
        InputError: out of range.
    """
    if asked is not None and not 1 <= asked <= MOST_WORKERS:
        raise InputError(f"--workers {asked} is out of range; accepted: 1 to {MOST_WORKERS}")
    return asked or len(os.sched_getaffinity(0))


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int
) -> Generator[tuple[Job, Result | LpbenchError]]:
    """Yield every job with its result, or with the error it ended in, in the order they end.

    The processes are new ones (spawned): nothing of this process is in them, and they end with it
    even where it is killed, and where the caller asks for no further job. A job that ends in
    another error than ours ends them all.

    Args:
        work: a function of a module, so that a process can find it.
        jobs: values that can be pickled.
        workers: processes; with 1 the jobs run in this one.

    Raises:
        RunError: the system killed a process.
    """
    if workers > 1 and len(jobs) > 1:
        yield from _spread(work, jobs, workers=min(workers, len(jobs)))
        return
    for job in jobs:
        yield job, _attempt(work, job)


def run_apart(
    work: Callable[[Job], Result], jobs: Sequence[Job]
) -> Generator[tuple[Job, Result | LpbenchError]]:
    """Yield as `run_jobs`, one job after the other, each in a new process.

    What is measured then owes nothing to the jobs before: no memory held, no kernel loaded.

    Raises:
        RunError: the system killed a process.
    """
    for job in jobs:
        yield from _spread(work, (job,), workers=1)


def _spread(
    work: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int
) -> Generator[tuple[Job, Result | LpbenchError]]:
    context = get_context("spawn")
    end, held = context.Pipe(duplex=False)  # what is held here closes with this process
    pool = ProcessPoolExecutor(
        max_workers=workers, mp_context=context, initializer=_attend, initargs=(end,)
    )
    try:
        with _left_to_the_parent(signal.SIGINT):
            futures = {pool.submit(_attempt, work, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool:
        msg = (
            "the system killed a process that was at work, as it does for want of memory; run "
            "fewer at a time"
        )
        raise RunError(msg) from None
    except BaseException:
        held.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        end.close()


@contextmanager
def _left_to_the_parent(number: signal.Signals) -> Iterator[None]:
    """Have processes that start here never hear a signal, from their first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _attempt(work: Callable[[Job], Result], job: Job) -> Result | LpbenchError:
    try:
        return work(job)
    except LpbenchError as error:
        return error


def _attend(end: Connection) -> None:
    """End when the parent has, or when it wants no further result."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        with suppress(EOFError):
            end.recv()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
