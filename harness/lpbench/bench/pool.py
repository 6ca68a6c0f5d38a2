"""Independent jobs in a few processes, each result as soon as it is there.

Owns: the processes, their end with the one that started them, Ctrl-C.
Must not know: what a job does.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from lpbench.errors import LpbenchError

Job = TypeVar("Job")
Result = TypeVar("Result")

POLL_S = 0.2
"""How often a process looks whether the one that started it is still there."""


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int
) -> Iterator[tuple[Job, Result | LpbenchError]]:
    """Yield every job with its result, or with the error it ended in, in the order they end.

    The processes are new ones (spawned): nothing of this process is in them, and they end with it
    even where it is killed. A job that ends in another error than ours ends them all.

    Args:
        work: a function of a module, so that a process can find it.
        jobs: values that can be pickled.
        workers: processes; with 1 the jobs run in this one.
    """
    if workers == 1 or len(jobs) == 1:
        for job in jobs:
            yield job, _attempt(work, job)
        return
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(jobs)),
        mp_context=get_context("spawn"),
        initializer=_attend,
        initargs=(os.getpid(),),
    )
    try:
        futures = {pool.submit(_attempt, work, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(work: Callable[[Job], Result], job: Job) -> Result | LpbenchError:
    try:
        return work(job)
    except LpbenchError as error:
        return error


def _attend(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when the parent has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
