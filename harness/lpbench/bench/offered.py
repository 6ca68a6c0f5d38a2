"""The requests that a run serves: what the options name, and when they arrive.

Owns: which workload the options mean, their exclusions, the load over a workload.
Must not know: models but for how many tokens they take, schedules, executors' times.
"""

import math
from dataclasses import replace

from lpbench.bench.burst import burst_workload
from lpbench.bench.spec import DEFAULT_LOAD_WORKLOAD, DEFAULT_WORKLOAD, RunSpec
from lpbench.errors import InputError
from lpbench.shape.model import ModelShape
from lpbench.workload.arrivals import with_arrivals
from lpbench.workload.catalogue import find_workload
from lpbench.workload.workload import MOST_REQUESTS, Workload, from_requests, uniform

DEFAULT_PROMPTS = 8
"""Equal requests when only their lengths are given."""
DEFAULT_INPUT_LEN = 512
DEFAULT_OUTPUT_LEN = 32


def by_seconds(workload: Workload, spec: RunSpec) -> bool:
    """Return whether requests arrive in seconds: under a load, and on the roofline where they say.

    Its clock is virtual, so that counts depend on no machine's speed.
    """
    if spec.load is not None:
        return True
    return spec.executor == "roofline" and any(line.arrival_s for line in workload.lines)


def offered_workload(spec: RunSpec, shape: ModelShape) -> Workload:
    """Return the requests that a run serves, with the arrivals of its load, cut to its duration.

    Raises:
        InputError: options that exclude each other, no such workload, a rate beside arrivals of the
            workload's own, a duration or number out of range, or nothing left.
    """
    workload, load = _stated(spec, shape), spec.load
    if load is None:
        return workload
    if load.num_warmups < 0:
        raise InputError(f"--num-warmups {load.num_warmups} is out of range; accepted: 0 or more")
    refuse_duration(load.duration_s)
    if load.request_rate is not None:
        workload = with_arrivals(
            workload, rate=load.request_rate, burstiness=load.burstiness, seed=spec.seed
        )
    if load.duration_s is not None:
        kept = [line for line in workload.lines if (line.arrival_s or 0) < load.duration_s]
        if not kept:
            raise InputError(f"--duration {load.duration_s:g}: no request arrives before that")
        workload = replace(workload, lines=tuple(kept))
    if load.num_warmups >= len(workload.lines):
        msg = (
            f"--num-warmups {load.num_warmups} leaves none of the {len(workload.lines)} requests "
            "to measure"
        )
        raise InputError(msg)
    return workload


def refuse_duration(seconds: float | None) -> None:
    """Refuse a duration that is none; infinite ones, too, which a record cannot hold.

    Raises:
        InputError: it is out of range.
    """
    if seconds is not None and not 0 < seconds < math.inf:
        msg = f"--duration {seconds} is out of range; accepted: seconds above 0"
        raise InputError(msg + ("; leave it out for all requests" if seconds == math.inf else ""))


def _stated(spec: RunSpec, shape: ModelShape) -> Workload:
    """Return the workload that the options name, or its default."""
    if spec.burst is not None:
        return burst_workload(
            spec.burst, num_layers=shape.num_layers, num_positions=shape.max_positions
        )
    lengths = spec.input_len is not None or spec.output_len is not None
    given = [
        option
        for option, value in (
            ("--workload", spec.workload),
            ("--requests", spec.requests),
            ("--input-len/--output-len", lengths or None),
        )
        if value is not None
    ]
    if len(given) > 1:
        msg = f"{' and '.join(given)} exclude each other; use one of them"
        raise InputError(msg)
    if lengths:
        if (spec.num_prompts or 0) > MOST_REQUESTS:
            msg = (
                f"--num-prompts {spec.num_prompts} is out of range; accepted: 1 to {MOST_REQUESTS}"
            )
            raise InputError(msg)
        return uniform(
            num_prompts=spec.num_prompts or DEFAULT_PROMPTS,
            input_len=spec.input_len or DEFAULT_INPUT_LEN,
            output_len=spec.output_len or DEFAULT_OUTPUT_LEN,
        )
    if spec.requests is not None:
        workload = from_requests(spec.requests)
        return workload if spec.num_prompts is None else workload.first(spec.num_prompts)
    default = DEFAULT_WORKLOAD if spec.load is None else DEFAULT_LOAD_WORKLOAD
    return find_workload(
        default if spec.workload is None else spec.workload,
        num_prompts=spec.num_prompts,
        seed=spec.seed,
    )
