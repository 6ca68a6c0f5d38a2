"""A small complete record, to try readers, comparisons and reports on.

Owns: one record of two arms with round numbers.
Must not know: how a record comes about.
"""

from lpbench.analysis.ledger import build_ledger
from lpbench.bench.dram import EXPERTS, READINGS, all_dram, unmeasured_dram
from lpbench.record.schema import (
    Arm,
    ArmAudit,
    Audit,
    Comparison,
    Reading,
    Record,
    Schedule,
    Window,
)
from lpbench.shape.passes import PassBytes

_COUNTS = "counts"
_SPEC = {
    "model": "builtin-moe",
    "weights": "dummy",
    "workload": "mixed",
    "num_prompts": 13,
    "workload_hash": "c0ffee",
    "prompt_source": "random ids",
    "executor": "torch",
    "device": "cpu",
    "dtype": "float32",
    "num_kv_pages": 100,
    "routing": "calibrated",
    "schedules": ["chunked", "layered"],
    "max_num_seqs": 256,
    "seed": 0,
}
_CHUNKED = {
    "iterations": 100,
    "prefill_rows": 4000,
    "decode_rows": 500,
    "preemptions": 0,
    "expert_bytes": 2_000_000_000,
    "expert_bytes_prefill_marginal": 1_500_000_000,
    "expert_bytes_prefill_iterations": 1_800_000_000,
    "distinct_expert_loads": 2000,
    "reload_factor": 1.75,
    "expert_coverage": 0.5,
    "expert_coverage_prefill_iterations": 0.625,
    "expert_coverage_decode_iterations": 0.25,
    "tokens_per_expert": 18.0,
    "expert_bytes_modelled": 2_500_000_000.0,
}
_LAYERED = _CHUNKED | {
    "iterations": 110,
    "expert_bytes": 1_200_000_000,
    "expert_bytes_prefill_marginal": 700_000_000,
    "expert_bytes_prefill_iterations": 1_000_000_000,
    "distinct_expert_loads": 1200,
    "reload_factor": 1.0,
    "expert_coverage": 0.375,
    "tokens_per_expert": 30.0,
    "expert_bytes_modelled": 1_500_000_000.0,
}
_MILLISECONDS = {"ttft": 400.0, "tbt": 20.0, "tpot": 24.0, "e2e": 900.0, "queue": 100.0}
_UNMEASURED = unmeasured_dram(dict.fromkeys(READINGS, "no_device"))
_COMPARED = {"iterations": 1.1, "expert_bytes": 0.6}


def example_record(**changes: object) -> Record:
    """Return a complete record: `chunked` reads 2 GB of experts, `layered` 1.2 GB.

    Args:
        changes: fields of `Record` to set to something else.

    Raises:
        pydantic.ValidationError: there is no such field, or a value is not one of its.
    """
    example = Record(
        lpbench_version="0.1.0",
        status="complete",
        command="traffic",
        spec=dict(_SPEC),
        spec_hash="5bec",
        environment={"python": "3.11.7", "system": "Linux x86_64", "cpu": "Example CPU"},
        arms=(
            _arm("chunked", {"max_num_batched_tokens": 512}, _CHUNKED),
            _arm("layered", {"rule": "ceil", "tokens_per_group": 512}, _LAYERED),
        ),
        audit=_audit("chunked", "layered"),
        comparison=tuple(
            Comparison(metric=name, baseline="chunked", candidate="layered", ratio=ratio)
            for name, ratio in _COMPARED.items()
        ),
    )
    return Record.model_validate(dict(example) | changes)


def _arm(label: str, params: dict[str, int | str], values: dict[str, float]) -> Arm:
    counted, modelled = values["expert_bytes"], values["expert_bytes_modelled"]
    return Arm(
        label=label,
        schedule=Schedule(name=label, params=params),
        plan_hash=f"plans of {label}",
        effective_groups={} if label == "chunked" else {4: 2, 1: 3},
        metrics={
            **{name: _counted(name, value) for name, value in values.items()},
            **_latencies(),
            **_UNMEASURED,
        },
        windows=(
            Window(
                name="arm", pass_=_COUNTS, iterations=int(values["iterations"]), duration_ms=3e3
            ),
        ),
        ledger=build_ledger(
            counted=counted,
            uniform=modelled,
            modelled=PassBytes(experts=counted, attention_weights=300_000_000, kv_read=50_000_000),
            dram=all_dram(_UNMEASURED),
            experts=_UNMEASURED[EXPERTS],
        ),
    )


def _counted(name: str, value: float) -> Reading:
    unit = "1"
    if name.startswith("expert_bytes"):
        unit = "B"
    elif name in ("reload_factor", "tokens_per_expert") or "coverage" in name:
        unit = "ratio"
    modelled = name == "expert_bytes_modelled"
    return Reading(
        value=value,
        unit=unit,
        method="modelled" if modelled else "counted",
        source="closed form, uniform routing" if modelled else "router",
        pass_=_COUNTS,
        samples=(value,),
    )


def _latencies() -> dict[str, Reading]:
    """Return every latency: its mean, the same median, twice that at most, too few for more."""
    no_device = Reading(
        value=None,
        unit="ms",
        method="measured",
        source="CUDA events",
        validity="absent",
        reasons=("no_device",),
        pass_=_COUNTS,
    )
    return {"device_ms": no_device} | {
        f"{name}_ms_{statistic}": Reading(
            value=value,
            unit="ms",
            method="measured",
            source="monotonic clock",
            validity="absent" if value is None else "valid",
            reasons=("too_few_samples",) if value is None else (),
            pass_=_COUNTS,
        )
        for name, mean in _MILLISECONDS.items()
        for statistic, value in (
            ("mean", mean),
            ("median", mean),
            ("p90", None),
            ("p99", None),
            ("max", 2 * mean),
        )
    }


def _audit(*labels: str) -> Audit:
    return Audit(
        tokens_equal=True,
        max_abs_logit_diff=1.5e-5,
        routing_agreement=1.0,
        near_ties=0,
        far_disagreements=0,
        near_tie_margin=1e-3,
        dtype="float32",
        sampled_tokens=64,
        arms=tuple(
            ArmAudit(
                label=label,
                tokens_equal=True,
                max_abs_logit_diff=0.0 if label == labels[0] else 1.5e-5,
                routing_agreement=1.0,
                near_ties=0,
                far_disagreements=0,
            )
            for label in labels
        ),
    )
