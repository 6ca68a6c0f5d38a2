"""Jobs in processes: every one once, errors kept apart, no process that outlives its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lpbench.bench.pool import MOST_WORKERS, pick_workers, run_apart, run_jobs
from lpbench.errors import InputError, RunError


def halved(number: int) -> float:
    """Return half a number, and refuse 3."""
    if number == 3:
        raise InputError("no three")
    return number / 2


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers: int) -> None:
    """Results and our errors come with their jobs, whatever the order."""
    done = dict(run_jobs(halved, range(6), workers=workers))
    assert [0.0, 0.5, 1.0, 2.0, 2.5] == [done[number] for number in (0, 1, 2, 4, 5)]
    assert "no three" == str(done[3])
    assert isinstance(done[3], InputError)


def test_workers() -> None:
    """As asked for, else one a core."""
    assert [1, 7, MOST_WORKERS] == [pick_workers(asked) for asked in (1, 7, MOST_WORKERS)]
    assert len(os.sched_getaffinity(0)) == pick_workers(None)
    for asked in (0, -1, MOST_WORKERS + 1):
        with pytest.raises(InputError, match=f"--workers {asked} is out of range"):
            pick_workers(asked)


def waits(name: str) -> None:
    """Say that the job has begun and wait for good."""
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    signal.pause()


def own_pid(name: str) -> int:
    """Return the number of the process that a job runs in."""
    del name
    return os.getpid()


def test_jobs_apart_have_processes_of_their_own() -> None:
    """None runs in this process, and none where another has run."""
    numbers = [number for _, number in run_apart(own_pid, ["a", "b"])]
    assert 3 == len({os.getpid(), *numbers})


def dies(name: str) -> None:
    """End as a process does for which there is no memory."""
    del name
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed() -> None:
    """The system's word is one line of ours."""
    with pytest.raises(RunError, match="the system killed a process that was at work"):
        list(run_jobs(dies, ["a", "b"], workers=2))


def sleeps_after_the_first(number: int) -> int:
    """Return the first at once; wait for good with the others."""
    if number:
        signal.pause()
    return number


def test_nobody_waits_for_what_is_not_wanted() -> None:
    """Who has enough of the results leaves, and the jobs under way end."""
    results = run_jobs(sleeps_after_the_first, range(4), workers=2)
    assert (0, 0) == next(results)
    results.close()


PARENT = """
from lpbench.bench.pool import run_jobs
from tests.bench.test_pool import waits
if __name__ == "__main__":
    list(run_jobs(waits, ["a", "b"], workers=2))
"""


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """After kill -9 of the parent nobody holds its stdout open: its processes are gone too."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((root, *sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert {"a\n", "b\n"} == {parent.stdout.readline() for _ in range(2)}
        parent.kill()
        assert "" == parent.stdout.read()
