"""The roofline against closed forms: tables of the design study, and the paper's arithmetic.

The tables count weights, keys and values alone, on 4.3 TB/s and 790 TFLOP/s, under uniform routing
(ENGINE.md 4, PAPER.md 7); so do the `ideal` coefficients.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lpbench.bench.loop import Limits, run_arm
from lpbench.executors.executor import Cost
from lpbench.executors.roofline.coefficients import IDEAL
from lpbench.executors.roofline.cost import Roofline
from lpbench.executors.roofline.executor import RooflineExecutor
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import find_device
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS, expert_bytes
from lpbench.workload.coverage import find_coverage

QWEN, OSS = "qwen3-30b-a3b", "gpt-oss-20b"
DEVICE = replace(find_device("h200"), memory_bandwidth=4.3e12, bf16_flops=790e12)


def shape_of(model: str) -> ModelShape:
    """Return a catalogue shape."""
    return find_shape(model)[0]


def executor(
    model: str, requests: Sequence[Request], *, precision: str = "bfloat16"
) -> RooflineExecutor:
    """Return the bound itself, under uniform routing."""
    shape = shape_of(model)
    return RooflineExecutor(
        requests,
        shape=shape,
        roofline=Roofline(shape, PRECISIONS[precision], DEVICE, IDEAL),
        coverage=find_coverage("uniform", num_experts=shape.num_experts, top_k=shape.top_k),
    )


def decode(model: str, precision: str, batch: int, context: int) -> Cost:
    """Return the cost of one iteration of decodes alone."""
    requests = [
        Request(index=at, prompt_tokens=1, output_tokens=2, context_tokens=context - 1)
        for at in range(batch)
    ]
    plan = IterationPlan(decodes=tuple(range(batch)), prefill=())
    return executor(model, requests, precision=precision).execute(plan).modelled


def prefill(model: str, precision: str, tokens: int) -> Cost:
    """Return the cost of one prompt through all layers."""
    requests = [Request(index=0, prompt_tokens=tokens, output_tokens=1)]
    tile = Tile(Span(0, tokens), Span(0, shape_of(model).num_layers))
    plan = IterationPlan(decodes=(), prefill=(PromptTile(0, tile),))
    return executor(model, requests, precision=precision).execute(plan).modelled


@pytest.mark.parametrize(
    ("model", "precision", "batch", "expected"),
    [
        (QWEN, "bfloat16", (1, 2048), (6.3, 1.46)),
        (QWEN, "bfloat16", (8, 2048), (27.5, 6.38)),
        (QWEN, "bfloat16", (32, 2048), (59.5, 13.84)),
        (QWEN, "bfloat16", (128, 8192), (163.5, 38.02)),
        (QWEN, "bfloat16", (256, 8192), (266.6, 62.22)),
        (OSS, "bfloat16", (1, 2048), (7.3, 1.69)),
        (OSS, "bfloat16", (32, 2048), (41.8, 9.73)),
        (OSS, "bfloat16", (256, 8192), (93.0, 21.85)),
        (OSS, "mxfp4", (8, 2048), (9.5, 2.22)),
        (OSS, "mxfp4", (32, 8192), (19.0, 4.41)),
        (OSS, "mxfp4", (256, 8192), (64.9, 15.32)),
    ],
)
def test_decodes_take_what_their_bytes_take(
    model: str, precision: str, batch: tuple[int, int], expected: tuple[float, float]
) -> None:
    """So many decodes at a context: GB to the last digit of the table, ms within 1 %."""
    gigabytes, milliseconds = expected
    cost = decode(model, precision, *batch)
    assert gigabytes == pytest.approx(cost.bytes / 1e9, abs=0.051)
    assert milliseconds == pytest.approx(cost.seconds * 1e3, rel=0.01)


@pytest.mark.parametrize(
    ("model", "precision", "tokens", "teraflops", "milliseconds"),
    [
        (QWEN, "bfloat16", 512, 2.9, 14.9),
        (QWEN, "bfloat16", 2048, 12.8, 20.4),
        (QWEN, "bfloat16", 8192, 71.1, 90.2),
        (OSS, "bfloat16", 512, 3.1, 10.0),
        (OSS, "bfloat16", 2048, 12.9, 16.6),
        (OSS, "bfloat16", 8192, 56.4, 71.7),
        (OSS, "mxfp4", 512, 3.1, 4.2),
        (OSS, "mxfp4", 8192, 56.4, 71.7),
    ],
)
def test_a_prompt_takes_the_larger_of_bytes_and_flops(
    model: str, precision: str, tokens: int, teraflops: float, milliseconds: float
) -> None:
    """FLOPs to the last digit of the table, times within 1 %."""
    cost = prefill(model, precision, tokens)
    assert teraflops == pytest.approx(cost.flops / 1e12, abs=0.051)
    assert milliseconds == pytest.approx(cost.seconds * 1e3, rel=0.01)


def prefill_bytes(model: str, schedule: str, decodes: int) -> tuple[float, int]:
    """Return the expert bytes of the iterations that carry the 8192-token prompt, in GB; how many.

    So many requests decode all along, each with a context.
    """
    requests = [
        Request(index=at, prompt_tokens=1, output_tokens=100, context_tokens=2047)
        for at in range(decodes)
    ]
    prompt = Request(index=decodes, prompt_tokens=8192, output_tokens=1, arrival=3)
    shape = shape_of(model)
    steps = run_arm(
        parse_schedule(schedule),
        [*requests, prompt],
        executor(model, [*requests, prompt]),
        num_layers=shape.num_layers,
        limits=Limits(num_kv_pages=1_000_000, max_num_seqs=1000),
    )
    loads = [
        step.execution.modelled.distinct
        for step in steps
        if any(part.request == decodes for part in step.plan.prefill)
    ]
    return sum(loads) * expert_bytes(shape, PRECISIONS["bfloat16"]) / 1e9, len(loads)


@pytest.mark.parametrize(
    ("decodes", "reported"),
    [(0, 58), (1, 112), (4, 256), (8, 409), (16, 618), (24, 743), (32, 817), (64, 914), (128, 927)],
)
def test_layered_reads_what_the_paper_s_arithmetic_says(decodes: int, reported: int) -> None:
    """T [1 + 15 c(B)] over the 16 iterations that carry the prompt, to 0.1 % of the closed form."""
    total, c = 57.98206, 1 - (1 - 8 / 128) ** decodes
    found, iterations = prefill_bytes(QWEN, "layered:num_groups=16", decodes)
    rows = 1 - (1 - 8 / 128) ** (8192 + decodes)
    assert 16 == iterations
    assert total * (rows + 15 * c) == pytest.approx(found, rel=1e-3)
    assert reported == pytest.approx(found, abs=0.75)


@pytest.mark.parametrize("decodes", [0, 1, 4, 8, 16, 24, 32, 64, 128])
def test_chunked_reads_nearly_all_in_every_chunk(decodes: int) -> None:
    """A budget of 512 + B leaves 512 tokens to the prompt: 16 times 57.98 GB, to 0.1 %."""
    found, iterations = prefill_bytes(
        QWEN, f"chunked:max_num_batched_tokens={512 + decodes}", decodes
    )
    assert 16 == iterations
    assert 927.7 == pytest.approx(found, rel=1e-3)


def test_gpt_oss_with_twelve_groups() -> None:
    """Twelve groups of two layers: T [1 + 11 c(B)]; four decode iterations more make PAPER.md's."""
    c = 1 - (1 - 4 / 32) ** 8
    found, iterations = prefill_bytes(OSS, "layered:num_groups=12", 8)
    assert 12 == iterations
    assert 38.234 * (1 + 11 * c) == pytest.approx(found, rel=1e-3)
    assert 415 == pytest.approx(found + 4 * 38.234 * c, abs=0.75)
