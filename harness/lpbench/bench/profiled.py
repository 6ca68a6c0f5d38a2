"""One arm under Nsight Compute: a cross-check of the experts' bytes, kernel by kernel.

Owns: the job, the program that ncu runs, the reading it comes to.
Must not know: how ncu is called, what its output looks like.

    python -m lpbench.bench.profiled JOB DONE    reads the job, runs the arm, says what it ran

The program holds a model of its own, so whoever starts it lets go of theirs before.
"""

import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from lpbench.bench.arm import ArmLog
from lpbench.bench.dram import BY_NCU, COUNTERS_PASS, unmeasured_dram
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, resolve
from lpbench.bench.loop import run_arm
from lpbench.bench.spec import RunSpec
from lpbench.errors import RunError, UnavailableError
from lpbench.executors.executor import EXPERTS_RANGE
from lpbench.meters.ncu import KernelBytes, profile
from lpbench.record.schema import Reading
from lpbench.shape.model import DTYPE_BYTES
from lpbench.units import BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An arm to run once: the options with its schedule alone, and the tokens it is fed."""

    spec: RunSpec
    script: Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was run: the digest of its plans."""

    plan_hash: str


JOB, DONE = TypeAdapter(Job), TypeAdapter(Done)


def measure_kernels(
    spec: RunSpec,
    engine: Engine,
    arm: ArmSpec,
    *,
    plan_hash: str,
    script: Mapping[int, Sequence[int]],
) -> Reading:
    """Return the DRAM bytes that the experts' kernels read in one run of an arm.

    The engine's model is not loaded. What fails is absent with its code; other plans than those
    that were counted (`other_plans`) are invalid.

    Args:
        spec: the run's options.
        engine: what they came to on this machine.
        arm: which.
        plan_hash: of the arm as it was counted.
        script: the tokens that every arm is fed.
    """
    same = replace(
        spec,
        schedules=(arm.typed,),
        device=engine.device,
        dtype=engine.dtype,
        num_kv_pages=engine.num_kv_pages,
    )
    with tempfile.TemporaryDirectory() as folder:
        job, done = Path(folder, "job.json"), Path(folder, "done.json")
        job.write_bytes(JOB.dump_json(Job(spec=same, script=script)))
        command = (sys.executable, "-m", "lpbench.bench.profiled", str(job), str(done))
        try:
            kernels = profile(command, within=EXPERTS_RANGE)
            ran = DONE.validate_json(done.read_bytes())
        except UnavailableError as error:
            return unmeasured_dram({"ncu": error.code})[BY_NCU]
        except (OSError, RunError):
            return unmeasured_dram({"ncu": "ncu_failed"})[BY_NCU]
    return _reading(kernels, is_same=ran.plan_hash == plan_hash)


def _reading(kernels: Sequence[KernelBytes], *, is_same: bool) -> Reading:
    read = [kernel.read for kernel in kernels if kernel.read is not None]
    if len(read) < len(kernels):
        return unmeasured_dram({"ncu": "ncu_incomplete"})[BY_NCU]
    return Reading(
        value=sum(read),
        unit=BYTES,
        method="measured",
        source=f"ncu, {len(kernels)} kernels",
        validity="valid" if is_same else "invalid",
        reasons=() if is_same else ("other_plans",),
        pass_=COUNTERS_PASS,
    )


def run_job(job: Job) -> Done:
    """Run the arm once, in sight of a profiler.

    Raises:
        LpbenchError: it cannot run.
    """
    experiment = resolve(job.spec)
    engine = Engine(job.spec, experiment)
    engine.load()
    (arm,) = experiment.arms
    log = ArmLog(
        arm,
        experiment.prompts.requests,
        experiment.shape,
        bytes_per_value=DTYPE_BYTES[engine.dtype],
    )
    engine.executor.start_arm(job.script)
    steps = run_arm(
        arm.policy,
        experiment.prompts.requests,
        engine.executor,
        num_layers=experiment.shape.num_layers,
        limits=experiment.limits(engine.num_kv_pages),
    )
    with engine.executor.profiled():
        deque(map(log.observe, steps), maxlen=0)
    return Done(plan_hash=log.plan_hash)


def main(job: Path, done: Path) -> None:
    """Run the job that is in a file, and write what was run to another."""
    done.write_bytes(DONE.dump_json(run_job(JOB.validate_json(job.read_bytes()))))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
