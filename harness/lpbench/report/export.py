"""A record in the forms that other tools read.

Owns: their keys and units.
Must not know: how a number came about. What is absent or not valid is left out, never zero.
"""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from lpbench.analysis.metrics import COMPARED, LESS
from lpbench.record.schema import Arm, Reading, Record

VLLM: Mapping[str, str] = {"ttft": "ttft", "tpot": "tpot", "tbt": "itl", "e2e": "e2el"}
"""Our latencies, and what `vllm bench serve --save-result` calls them."""


def github_benchmark(record: Record) -> str:
    """Return the figures of which less is better, as github-action-benchmark reads them.

    Its format `customSmallerIsBetter`: a JSON array of name, unit, value and, for people, extra.
    """
    entries = [
        {
            "name": f"{arm.label} {name}",
            "unit": reading.unit,
            "value": reading.value,
            "extra": f"{reading.method} by {reading.source}",
        }
        for arm in record.own_arms
        for name, reading in arm.metrics.items()
        if name in COMPARED and COMPARED[name].better == LESS and _is_valid(reading)
    ]
    return json.dumps(entries, indent=1) + "\n"


def vllm_results(record: Record) -> str:
    """Return a line per schedule with the keys of vLLM's result file, in its units."""
    return "".join(json.dumps(_vllm(arm, record)) + "\n" for arm in record.own_arms)


def _vllm(arm: Arm, record: Record) -> dict[str, JsonValue]:
    spec = record.spec
    found: dict[str, JsonValue] = {
        "backend": "lpbench",
        "label": arm.label,
        "model_id": spec.get("model"),
        "num_prompts": spec.get("num_prompts"),
        "completed": spec.get("num_prompts"),
    }
    for ours, theirs in VLLM.items():
        for statistic in ("mean", "median", "p99"):
            reading = arm.metrics.get(f"{ours}_ms_{statistic}")
            if reading is not None and _is_valid(reading):
                found[f"{statistic}_{theirs}_ms"] = reading.value
    return found


def _is_valid(reading: Reading) -> bool:
    return reading.validity == "valid"
