"""Every metric, declared once: name, unit, meaning; and how latency follows from time stamps.

Owns: the table of metrics and the latency formulas.
Must not know: how a metric is shown, who took the time stamps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Final, Literal

from lpbench.units import BYTES, COUNT, FLOPS, JOULES, MILLISECONDS, PER_SECOND, RATIO, WATTS

TAIL_SAMPLES = 700
"""A p99 over fewer samples says nothing (DESIGN.md, "Latency and throughput metrics")."""


P90_SAMPLES = 64
"""Nor a p90 over fewer (MLPerf's early stopping asks for as many: MEASURING.md 4.2)."""


STATISTICS = ("mean", "median", "p90", "p99", "max")
"""What is said of samples."""

AT_SLO = "request_rate_at_slo"
"""What `lpbench latency --find-rate` is for."""

LESS: Final = "less"
MORE: Final = "more"


@dataclass(frozen=True, slots=True)
class Metric:
    """What a name in a record means.

    Attributes:
        unit: unit of the value.
        meaning: the formula in words.
        exact: the same on every machine, for routing that is drawn and not computed.
        better: which of two values is, less or more; None where neither is, and arms are not
            compared by it.
    """

    unit: str
    meaning: str
    exact: bool = False
    better: Literal["less", "more"] | None = None


METRICS: Mapping[str, Metric] = {
    "iterations": Metric(COUNT, "passes of the model", exact=True, better=LESS),
    "prefill_rows": Metric(
        COUNT, "prompt tokens computed, again after a preemption", exact=True, better=LESS
    ),
    "decode_rows": Metric(COUNT, "decode tokens fed", exact=True),
    "preemptions": Metric(COUNT, "requests that lost their KV pages", exact=True),
    "expert_bytes": Metric(
        BYTES, "w x sum over iterations and layers of |D|", exact=True, better=LESS
    ),
    "expert_bytes_prefill_marginal": Metric(
        BYTES, "w x sum of |P minus E_d|: what prefill added", exact=True, better=LESS
    ),
    "expert_bytes_prefill_iterations": Metric(
        BYTES, "expert_bytes of the iterations that carry a prefill row", exact=True, better=LESS
    ),
    "distinct_expert_loads": Metric(COUNT, "sum of |D|", exact=True, better=LESS),
    "reload_factor": Metric(
        RATIO,
        "experts touched by each request's prefill rows, over their union per request; 1 is ideal",
        exact=True,
        better=LESS,
    ),
    "expert_coverage": Metric(RATIO, "sum of |D| over E x passes through a layer", exact=True),
    "expert_coverage_prefill_iterations": Metric(
        RATIO, "expert_coverage of the iterations that carry a prefill row", exact=True
    ),
    "expert_coverage_decode_iterations": Metric(
        RATIO, "expert_coverage of the iterations that carry none", exact=True
    ),
    "tokens_per_expert": Metric(RATIO, "(row, expert) pairs over sum of |D|", exact=True),
    "expert_bytes_modelled": Metric(
        BYTES,
        "w x sum over iterations and layers of E (1 - (1 - k/E)^rows): uniform routing",
    ),
    **{
        f"{name}_ms_{statistic}": Metric(
            MILLISECONDS,
            f"{meaning}: {statistic}",
            better=LESS if statistic in ("mean", "p99", "max") else None,
        )
        for name, meaning in (
            ("ttft", "first token - arrival, queueing included"),
            ("tbt", "gap between consecutive tokens of a request, pooled"),
            ("tpot", "(e2e - ttft) / (n - 1) per request with n > 1 tokens"),
            ("e2e", "last token - arrival"),
            ("queue", "first scheduled - arrival"),
        )
        for statistic in STATISTICS
    },
    "device_ms": Metric(MILLISECONDS, "time of all passes on the device's own clock"),
    "dram_bytes_read": Metric(
        BYTES, "all that one run of the workload reads from the device's DRAM", better=LESS
    ),
    "dram_bytes_written": Metric(BYTES, "all that one run writes to it", better=LESS),
    "dram_bytes_gpm": Metric(
        BYTES, "both together, by GPM: share of the peak bandwidth x time", better=LESS
    ),
    "expert_bytes_measured": Metric(
        BYTES,
        "expert_bytes of the control with pinned experts + DRAM bytes read - the control's; by GPM "
        "read and written",
        better=LESS,
    ),
    "expert_kernel_bytes_read": Metric(
        BYTES,
        "what the experts' kernels read from DRAM in one run, one kernel at a time under ncu: "
        "weights, and rows where no cache has them",
        better=LESS,
    ),
}
"""The metrics of the counting and the counter pass, by name."""

ENERGY_METRICS: Mapping[str, Metric] = {
    "joules_per_total_token": Metric(
        JOULES, "joules over prompt and output tokens: the paper's energy per token", better=LESS
    ),
    "joules_per_output_token": Metric(JOULES, "joules over output tokens", better=LESS),
    "joules_per_request": Metric(JOULES, "joules over requests", better=LESS),
    "total_gpu_energy_j": Metric(JOULES, "joules of the GPU in one window, idle power included"),
    "total_cpu_package_energy_j": Metric(
        JOULES, "joules of the CPU packages in one window, idle power included"
    ),
    "power_w_mean": Metric(WATTS, "joules of a window over its length"),
    "idle_power_w": Metric(WATTS, "power without work, the model loaded; before and after"),
    "idle_share": Metric(RATIO, "idle power x length of a window, over its joules"),
}
"""The metrics of the energy pass, by name."""

LOAD_METRICS: Mapping[str, Metric] = {
    "slo_attainment": Metric(
        RATIO, "requests whose ttft and every tbt gap meet their SLO, over requests", better=MORE
    ),
    "goodput": Metric(PER_SECOND, "requests that meet their SLO, per second", better=MORE),
    "request_throughput": Metric(
        PER_SECOND, "requests per second, first arrival to last token", better=MORE
    ),
    "output_token_throughput": Metric(PER_SECOND, "output tokens per second", better=MORE),
    "total_token_throughput": Metric(
        PER_SECOND, "prompt and output tokens per second", better=MORE
    ),
    AT_SLO: Metric(
        PER_SECOND, "highest rate at which 90 % of the requests meet their SLO", better=MORE
    ),
    "decodes_in_flight_mean": Metric(COUNT, "decodes of an iteration, over all iterations"),
}
"""The metrics of requests that arrive over time, by name, beside those of `METRICS`."""

SPEED_METRICS: Mapping[str, Metric] = {
    **{
        f"pass_ms_{statistic}": Metric(
            MILLISECONDS,
            "time of a pass on the device's own clock, or planning to tokens where it has none: "
            + statistic,
            better=LESS if statistic == "median" else None,
        )
        for statistic in ("median", "p90")
    },
    "wall_ms_median": Metric(
        MILLISECONDS, "planning to tokens of a pass, by the host's clock: median", better=LESS
    ),
    "host_ms_median": Metric(
        MILLISECONDS,
        "planning of a pass until all of it is launched: median",
        better=LESS,
    ),
    "pass_expert_bytes": Metric(BYTES, "w x sum over layers of |D| of a pass: median"),
    "pass_bytes": Metric(
        BYTES, "weights, keys and values that a pass reads, the experts as counted: median"
    ),
    "pass_flops": Metric(FLOPS, "additions and multiplications of a pass: median"),
    "bound_ms": Metric(
        MILLISECONDS,
        "sum over the operators of a pass of max(bytes / bandwidth, FLOPs / their rate): median",
    ),
    "roofline_share": Metric(RATIO, "bound of a pass over its time: median"),
}
"""The metrics of passes of one size, by name."""

ALL_METRICS: Mapping[str, Metric] = {
    **METRICS,
    **ENERGY_METRICS,
    **LOAD_METRICS,
    **SPEED_METRICS,
}
"""The metrics of any pass, by name."""

COMPARED: Mapping[str, Metric] = {
    name: metric for name, metric in ALL_METRICS.items() if metric.better is not None
}
"""Those of which less is better, or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When things happened to one request, in nanoseconds of one clock.

    Attributes:
        arrival: when it became visible.
        scheduled: start of the iteration that first carried it.
        tokens: when each of its tokens was there.
    """

    arrival: int
    scheduled: int
    tokens: tuple[int, ...]


def latency_samples(times: Sequence[Times]) -> dict[str, list[float]]:
    """Return the samples of ttft, tbt, tpot, e2e and queue in milliseconds."""
    samples: dict[str, list[float]] = {"ttft": [], "tbt": [], "tpot": [], "e2e": [], "queue": []}
    for one in times:
        first, last, count = one.tokens[0], one.tokens[-1], len(one.tokens)
        samples["ttft"].append((first - one.arrival) / 1e6)
        samples["e2e"].append((last - one.arrival) / 1e6)
        samples["queue"].append((one.scheduled - one.arrival) / 1e6)
        samples["tbt"] += [(after - before) / 1e6 for before, after in pairwise(one.tokens)]
        if count > 1:
            samples["tpot"].append((last - first) / 1e6 / (count - 1))
    return samples


def summarise(samples: Sequence[float]) -> dict[str, float | str]:
    """Return mean, median, p90, p99 and max; for one that cannot be had, the reason code."""
    if not samples:
        return dict.fromkeys(STATISTICS, "no_samples")
    ranked = sorted(samples)
    count = len(ranked)
    return {
        "mean": fmean(ranked),
        "median": median(ranked),
        "p90": "too_few_samples" if count < P90_SAMPLES else ranked[-(count // 10) - 1],
        "p99": "too_few_samples" if count < TAIL_SAMPLES else ranked[-(count // 100) - 1],
        "max": ranked[-1],
    }
