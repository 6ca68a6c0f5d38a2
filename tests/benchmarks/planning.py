"""Host work of an iteration: view, plan, check, segments, settle; no model.

256 requests decode while one 8192-token prompt is in prefill, `--max-num-seqs 512`.
"""

import statistics
import sys
import time

from lpbench.plan.check import check_plan
from lpbench.plan.queues import Queues
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule

NUM_LAYERS = 48
NUM_DECODES = 256
PROMPT = 8192
WARM = 4


def host_times(schedule: str) -> list[float]:
    """Return the microseconds of every iteration that carries the prompt beside all decodes."""
    requests = [
        Request(index=index, prompt_tokens=1, context_tokens=2047, output_tokens=4096)
        for index in range(NUM_DECODES)
    ]
    requests.append(Request(index=NUM_DECODES, prompt_tokens=PROMPT, output_tokens=2, arrival=WARM))
    policy = parse_schedule(schedule)
    policy.refuse(requests, max_num_seqs=512)
    queues = Queues(requests, num_layers=NUM_LAYERS, num_kv_pages=1 << 20, max_num_seqs=512)
    times = []
    for iteration in range(WARM + 64):
        start = time.perf_counter_ns()
        queues.arrive(iteration)
        view = queues.begin()
        plan = policy.plan(view)
        check_plan(view, plan, policy)
        plan.segments(NUM_LAYERS)
        queues.settle(plan)
        stop = time.perf_counter_ns()
        if len(plan.decodes) == NUM_DECODES and plan.prefill:
            times.append((stop - start) / 1e3)
    return times


def main() -> None:
    """Print median and worst of a few repetitions."""
    for schedule in ("chunked:max_num_batched_tokens=512", "layered"):
        host_times(schedule)
        times = [each for _ in range(5) for each in host_times(schedule)]
        sys.stdout.write(
            f"{schedule:36} {NUM_DECODES} decodes + {PROMPT}-token prompt: median "
            f"{statistics.median(times):.0f} us, p90 {statistics.quantiles(times, n=10)[-1]:.0f} "
            f"us per iteration ({len(times)} iterations)\n"
        )


if __name__ == "__main__":
    main()
