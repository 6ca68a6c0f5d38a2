"""A pass is given up exactly where it would have missed its target in the end."""

import pytest

from lpbench.bench.experiment import resolve
from lpbench.bench.late import LateTokens
from lpbench.bench.loop import run_arm
from lpbench.bench.served import Clock, ServedLog
from lpbench.bench.spec import Load, RunSpec
from lpbench.bench.virtual import VirtualMachine

SLO = {"ttft": 1000.0}


@pytest.mark.parametrize("schedule", ["chunked", "layered"])
@pytest.mark.parametrize("num_kv_pages", [None, 2000], ids=["ample", "scarce"])
@pytest.mark.parametrize("rate", [2.0, 5.0, 9.0, 14.0])
def test_lost_where_too_few_meet_the_ttft(
    schedule: str, num_kv_pages: int | None, rate: float
) -> None:
    """With TTFT alone a pass is lost if and only if its attainment at the end is too low.

    Preempted requests, which are prefilled again after their first token, do not count twice.
    """
    spec = RunSpec(
        model="qwen3-30b-a3b",
        executor="roofline",
        device="h200",
        workload="sharegpt",
        num_prompts=90,
        num_kv_pages=num_kv_pages,
        schedules=(schedule,),
        load=Load(request_rate=rate, num_warmups=10),
    )
    experiment = resolve(spec)
    machine = VirtualMachine(spec, experiment)
    requests = experiment.prompts.requests
    log = ServedLog(
        experiment.arms[0],
        requests,
        origin_ns=0,
        clock=Clock(method="modelled", source="roofline"),
        slo=SLO,
        num_warmups=10,
    )
    late = LateTokens(requests, log.measured, slo=SLO, target=0.9, origin_ns=0)
    steps = run_arm(
        experiment.arms[0].policy,
        requests,
        machine.executor(requests),
        num_layers=experiment.shape.num_layers,
        limits=experiment.limits(machine.num_kv_pages),
        origin_ns=0,
    )
    lost, preempted = False, 0
    for step in steps:
        log.observe(step)
        preempted += len(step.preempted)
        lost = late.is_lost(step) or lost
    assert (log.attainment < 0.9) == lost
    assert num_kv_pages is None or rate < 9 or preempted
