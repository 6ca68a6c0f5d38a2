"""What `lpbench latency` says: the table, what it rests on.

Owns: the words and the rounding.
Must not know: how a number was taken.
"""

from lpbench.analysis.metrics import AT_SLO
from lpbench.record.schema import Arm, Record
from lpbench.report.table import Table

ABSENT = "-"


def latency_table(record: Record) -> Table:
    """Return one row per arm; where a cell has three lines, they are median, p90 and p99.

    Where every arm has a rate of its own, it stands in the place of the queueing.
    """
    has_rates = bool(record.spec.get("find_rate"))
    return Table(
        title=_title(record),
        columns=(
            "schedule",
            *(("rate\nreq/s",) if has_rates else ()),
            "TTFT\ns",
            "TBT\nms",
            "E2E\ns",
            *(() if has_rates else ("queue\ns",)),
            "SLO\nmet",
            "good\nreq/s",
            "out\ntok/s",
            "decodes\nin flight",
            "mJ per\ntoken",
        ),
        rows=tuple(_row(arm, has_rates=has_rates) for arm in record.arms),
    )


def _title(record: Record) -> str:
    spec = record.spec
    ranks = spec.get("tensor_parallel_size", 1)
    device = f"{ranks} x {spec['device']}" if ranks != 1 else str(spec["device"])
    return (
        f"{spec['model']}, workload {spec['workload']} ({_load(record)}), "
        f"{spec['routing']} routing, {spec['dtype']} on {device}"
    )


def _load(record: Record) -> str:
    spec = record.spec
    requests = f"{spec['num_prompts']} requests"
    if spec.get("find_rate"):
        if duration := spec.get("duration_s"):
            requests = f"requests of {duration:g} s"
        slo = spec.get("slo")
        kept = " and ".join(
            f"{key.removesuffix('_ms')} {most:g} ms"
            for key, most in (slo.items() if isinstance(slo, dict) else ())
        )
        return f"{requests}, each schedule at the highest rate with 90 % within {kept}"
    rate = spec.get("request_rate")
    return f"{requests}, " + ("arrivals of its own" if rate is None else f"{rate} requests/s")


def _row(arm: Arm, *, has_rates: bool) -> tuple[str, ...]:
    return (
        arm.label,
        *((_show(arm, AT_SLO, "{:.4g}"),) if has_rates else ()),
        _three(arm, "ttft", "{:.2f}", scale=1e-3),
        _three(arm, "tbt", "{:.1f}"),
        _three(arm, "e2e", "{:.1f}", scale=1e-3),
        *(() if has_rates else (_three(arm, "queue", "{:.2f}", scale=1e-3),)),
        _show(arm, "slo_attainment", "{:.1%}"),
        _show(arm, "goodput", "{:.2f}"),
        _show(arm, "output_token_throughput", "{:.0f}"),
        _show(arm, "decodes_in_flight_mean", "{:.1f}"),
        _show(arm, "joules_per_total_token", "{:.1f}", scale=1e3),
    )


def _three(arm: Arm, name: str, form: str, *, scale: float = 1) -> str:
    return "\n".join(
        _show(arm, f"{name}_ms_{statistic}", form, scale=scale)
        for statistic in ("median", "p90", "p99")
    )


def _show(arm: Arm, name: str, form: str, *, scale: float = 1) -> str:
    reading = arm.metrics.get(name)
    if reading is None or reading.value is None:
        return ABSENT
    return form.format(reading.value * scale)


def latency_notes(record: Record) -> tuple[str, ...]:
    """Return what a reader must know besides: the clock, the load, the warnings."""
    reading = record.arms[0].metrics["ttft_ms_mean"]
    said = [
        (
            "Three lines in a cell are median, p90 and p99; a percentile over too few samples is "
            "left out. TTFT counts from the arrival, queueing included."
        ),
        (
            f"All figures are {reading.method} ({reading.source}); every request was served to "
            "its end."
        ),
    ]
    if record.spec.get("find_rate"):
        said.append(
            "Each schedule is at a rate of its own: their rates compare, to 1 %; their times and "
            "joules do not. rates.jsonl in --output has all rates that were tried."
        )
    if warmups := record.spec.get("num_warmups"):
        said.append(f"The first {warmups} requests to arrive are left out of latencies.")
    seen = dict.fromkeys(one.message for arm in record.arms for one in arm.warnings)
    return (*said, *(f"Warning: {message}" for message in seen))
