"""What a schedule predicts by: the roofline's layers, with the coverage that the executor has."""

from lpbench.executors.roofline.coefficients import find_coefficients
from lpbench.executors.roofline.cost import Roofline
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.executors.roofline.predictor import RooflinePredictor
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.predictor import LayerRows
from lpbench.plan.request import Request
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import find_device
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.coverage import CalibratedCoverage

SHAPE, _ = find_shape("qwen3-30b-a3b")
ROOFLINE = Roofline(
    SHAPE, PRECISIONS["bfloat16"], find_device("h200"), find_coefficients("kernels")
)


def test_a_batch_is_worked_out_once() -> None:
    """What was predicted is then carried out: one memory of the coverage serves both."""
    coverage = CalibratedCoverage(num_experts=SHAPE.num_experts, top_k=SHAPE.top_k)
    predictor = RooflinePredictor(ROOFLINE, coverage, num_layers=SHAPE.num_layers)
    rows = LayerRows(decodes=1, decode_tokens=11, prompts=((0, 64),))
    (kind,) = set(predictor.kinds)
    predicted = predictor.layer(kind, rows)
    assert predicted == predictor.layer(kind, rows)
    requests = [
        Request(index=0, prompt_tokens=1, output_tokens=4, context_tokens=10),
        Request(index=1, prompt_tokens=64, output_tokens=2),
    ]
    executor = RooflineExecutor(requests, shape=SHAPE, roofline=ROOFLINE, coverage=coverage)
    tile = Tile(Span(0, 64), Span(0, SHAPE.num_layers))
    cost = executor.execute(IterationPlan(decodes=(0,), prefill=(PromptTile(1, tile),))).modelled
    assert (1, 2) == (coverage.batch.cache_info().misses, coverage.batch.cache_info().hits)
    overhead = predictor.overhead(2)
    expected = SHAPE.num_layers * predicted.seconds + overhead.seconds
    assert abs(cost.seconds - expected) < 1e-9 * expected
