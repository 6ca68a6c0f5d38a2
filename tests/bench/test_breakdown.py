"""One prefill taken apart, against the pass as a whole."""

import pytest

from lpbench.bench.breakdown import operator_seconds
from lpbench.bench.prediction import model_device
from lpbench.bench.preview import preview
from lpbench.bench.spec import RunSpec
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.plan.request import Request
from lpbench.shape.catalogue import find_shape
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.coverage import find_coverage


@pytest.mark.parametrize("schedule", ["whole", "chunked", "layered"])
def test_operators_are_all_that_an_ideal_prefill_takes(schedule: str) -> None:
    """With ideal coefficients nothing but operators takes time, the head the rest of it."""
    shape, _ = find_shape("qwen3-30b-a3b")
    spec = RunSpec(coefficients="ideal")
    modelling = model_device(spec, shape, device="h100-sxm")
    coverage = find_coverage("calibrated", num_experts=shape.num_experts, top_k=shape.top_k)
    steps = preview(
        schedule, shape, prompt_tokens=2000, num_decodes=0, precision=PRECISIONS["bfloat16"]
    )
    found = operator_seconds(
        (step.plan for step in steps), modelling.roofline, coverage, num_layers=shape.num_layers
    )
    assert {"projections", "attention_prefill", "experts"} == set(found)
    executor = RooflineExecutor(
        [Request(index=0, prompt_tokens=2000, output_tokens=1)],
        shape=shape,
        roofline=modelling.roofline,
        coverage=coverage,
    )
    whole = sum(executor.execute(step.plan).modelled.seconds for step in steps)
    head = modelling.roofline.seconds(modelling.roofline.operators.head(1))
    assert whole == pytest.approx(sum(found.values()) + head)
