"""One arm under Nsight Compute: a cross-check of the experts' bytes, kernel by kernel.

Owns: the job, the program that ncu runs, the reading it comes to.
Must not know: how ncu is called, what its output looks like.

    python -m lpbench.bench.profiled JOB DONE    reads the job, runs the arm, writes its plan hash

The program holds a model of its own, so whoever starts it lets go of theirs before.
"""

import json
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lpbench.bench.arm import ArmLog
from lpbench.bench.dram import BY_NCU, COUNTERS_PASS, unmeasured_dram
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import ArmSpec, resolve
from lpbench.bench.loop import run_arm
from lpbench.bench.spec import RunSpec
from lpbench.errors import LpbenchError, RunError
from lpbench.executors.executor import EXPERTS_RANGE
from lpbench.meters.ncu import KernelBytes, profile
from lpbench.record.schema import Reading
from lpbench.units import BYTES


def measure_kernels(
    spec: RunSpec,
    engine: Engine,
    arm: ArmSpec,
    *,
    plan_hash: str,
    script: Mapping[int, Sequence[int]],
) -> Reading:
    """Return the DRAM bytes that the experts' kernels read in one run of an arm.

    The engine's model is not loaded. Other plans than those that were counted (`other_plans`) are
    invalid; where a kernel has no bytes (`ncu_incomplete`), the sum is absent.

    Args:
        spec: the run's options.
        engine: what they came to on this machine.
        arm: which.
        plan_hash: of the arm as it was counted.
        script: the tokens that every arm is fed.

    Raises:
        UnavailableError: ncu is not there, or may not read the counters.
        RunError: ncu or the program failed.
    """
    same = replace(
        spec,
        schedules=(arm.typed,),
        device=engine.device,
        dtype=engine.dtype,
        num_kv_pages=engine.num_kv_pages,
        gpu_memory_utilization=1.0,  # this process still has a context there
    )
    with tempfile.TemporaryDirectory() as folder:
        job, done = Path(folder, "job.json"), Path(folder, "done")
        job.write_text(_to_json(same, script), encoding="ascii")
        command = (sys.executable, "-m", "lpbench.bench.profiled", str(job), str(done))
        kernels = profile(command, within=EXPERTS_RANGE)
        try:
            ran = done.read_text(encoding="ascii")
        except OSError:
            raise RunError("ncu ended well, but the program it ran did not") from None
    return _reading(kernels, is_same=ran == plan_hash)


def _reading(kernels: Sequence[KernelBytes], *, is_same: bool) -> Reading:
    read = [kernel.read for kernel in kernels if kernel.read is not None]
    if len(read) < len(kernels):
        return unmeasured_dram({"ncu": "ncu_incomplete"})[BY_NCU]
    return Reading(
        value=sum(read),
        unit=BYTES,
        method="measured",
        source=f"ncu, kernels: {len(kernels)}",
        validity="valid" if is_same else "invalid",
        reasons=() if is_same else ("other_plans",),
        pass_=COUNTERS_PASS,
    )


def _to_json(spec: RunSpec, script: Mapping[int, Sequence[int]]) -> str:
    """Return the job in ASCII: a path may hold bytes that are no text."""
    options = asdict(spec) | {"requests": spec.requests and str(spec.requests)}
    tokens = {request: list(ids) for request, ids in script.items()}
    return json.dumps({"spec": options, "script": tokens})


def _from_json(text: str) -> tuple[RunSpec, Mapping[int, Sequence[int]]]:
    job = json.loads(text)
    options = job["spec"]
    options["schedules"] = tuple(options["schedules"])
    options["requests"] = options["requests"] and Path(options["requests"])
    return RunSpec(**options), {int(request): ids for request, ids in job["script"].items()}


def run_job(spec: RunSpec, script: Mapping[int, Sequence[int]]) -> str:
    """Run the spec's only arm once, in sight of a profiler, and return its plan hash.

    Raises:
        LpbenchError: it cannot run.
    """
    experiment = resolve(spec)
    engine = Engine(spec, experiment)
    engine.load(captured=False)
    (arm,) = experiment.arms
    log = ArmLog(
        arm,
        experiment.prompts.requests,
        experiment.shape,
        precision=engine.precision,
    )
    engine.executor.start_arm(script)
    steps = run_arm(
        arm.policy,
        experiment.prompts.requests,
        engine.executor,
        num_layers=experiment.shape.num_layers,
        limits=experiment.limits(engine.num_kv_pages),
    )
    with engine.executor.profiled():
        deque(map(log.observe, steps), maxlen=0)
    return log.plan_hash


def main(job: Path, done: Path) -> None:
    """Run the job that is in a file, and write its plan hash to another."""
    try:
        plan_hash = run_job(*_from_json(job.read_text(encoding="ascii")))
    except LpbenchError as error:
        sys.exit(str(error))
    done.write_text(plan_hash, encoding="ascii")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
