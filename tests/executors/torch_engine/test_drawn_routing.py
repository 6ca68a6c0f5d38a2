"""Drawn routing in the engine: the draws decide the experts, the router's logits their weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lpbench.bench.engine import Engine
from lpbench.bench.experiment import Experiment, resolve
from lpbench.bench.loop import run_arm
from lpbench.bench.spec import RunSpec
from lpbench.executors.executor import Evidence
from lpbench.plan.request import Request
from lpbench.workload.routing import RoutingDraws
from tests.arms import build_bench, single_thread
from tests.checkpoints import save_gpt_oss, save_qwen3_moe
from tests.oracle import Oracle, final_sequences

SCHEDULES = ("chunked:max_num_batched_tokens=13", "layered:tokens_per_group=16")
LAYERS, EXPERTS, TOP_K = 5, 16, 3
REQUESTS = (
    Request(index=0, prompt_tokens=60, output_tokens=20),
    Request(index=1, prompt_tokens=17, output_tokens=25, context_tokens=14, arrival=1),
    Request(index=2, prompt_tokens=1, output_tokens=40, arrival=1),
)
POOL = 7
"""KV pages: the first request fills four, and the two others are preempted in turn."""

FAMILIES = {"qwen3_moe": save_qwen3_moe, "gpt_oss": save_gpt_oss}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


@pytest.mark.parametrize("kind", ["calibrated", "uniform"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_draws_choose_and_the_router_weighs(
    family: str, kind: str, schedule: str, tmp_path: Path
) -> None:
    """Experts are the drawn ones; logits are transformers', forced to them, router and all."""
    model = FAMILIES[family](tmp_path, layers=LAYERS, experts=EXPERTS, top_k=TOP_K, seed=1)
    draws = RoutingDraws(kind, 3, LAYERS, EXPERTS, TOP_K)
    bench = build_bench(tmp_path, REQUESTS, draws=draws)
    served = bench.serve(schedule, num_kv_pages=POOL)
    assert served.preempted
    oracle = Oracle(model)
    for request, sequence in final_sequences(bench.ids, served.witnessed.tokens).items():
        drawn = draws.experts(request=request, start=0, stop=len(sequence))
        logits = oracle.see(sequence, forced=drawn).logits[len(bench.ids[request]) - 1 :]
        assert np.array_equal(drawn.transpose(1, 0, 2), oracle.see(sequence, forced=drawn).experts)
        for nth, expected in enumerate(logits):
            ours = served.witnessed.evidence.logits[request, nth]
            assert np.abs(expected - ours).max() <= 1e-4


def audit_pass(engine: Engine, experiment: Experiment, *, arm: int) -> Evidence:
    """Return what the probe sees of one arm, fed arbitrary tokens."""
    requests = experiment.prompts.requests
    script = {request.index: [5] * request.output_tokens for request in requests}
    probe = engine.start_audit(script, [(request.index, 0) for request in requests])
    for _ in run_arm(
        experiment.arms[arm].policy,
        requests,
        engine.executor,
        num_layers=experiment.shape.num_layers,
        limits=experiment.limits(engine.num_kv_pages),
    ):
        pass
    return probe.evidence()


def test_two_schedules_of_a_run_meet_the_same_draws(tmp_path: Path) -> None:
    """A run's calibrated routing is RoutingDraws of its seed in every arm, row by row."""
    save_qwen3_moe(tmp_path, layers=LAYERS, experts=EXPERTS, top_k=TOP_K)
    spec = RunSpec(
        model=str(tmp_path),
        routing="calibrated",
        schedules=SCHEDULES,
        device="cpu",
        num_prompts=3,
        input_len=50,
        output_len=20,
        seed=11,
    )
    experiment = resolve(spec)
    engine = Engine(spec, experiment)
    engine.load()
    chunked, layered = (audit_pass(engine, experiment, arm=arm).experts for arm in (0, 1))
    draws = RoutingDraws("calibrated", 11, LAYERS, EXPERTS, TOP_K)
    for request in range(3):
        expected = draws.experts(request=request, start=0, stop=69).transpose(1, 0, 2)
        assert np.array_equal(expected, chunked[request])
        assert np.array_equal(expected, layered[request])


def test_the_router_still_decides_the_weights_of_drawn_experts(tmp_path: Path) -> None:
    """With other router weights the experts stay, the router's margins and the logits do not."""
    evidence = []
    for number, scale in enumerate((1.0, 3.0)):
        folder = tmp_path / str(number)
        model = save_qwen3_moe(folder, layers=LAYERS, experts=EXPERTS, top_k=TOP_K)
        for layer in model.model.layers:
            layer.mlp.gate.weight *= scale
        model.save_pretrained(folder)
        draws = RoutingDraws("calibrated", 3, LAYERS, EXPERTS, TOP_K)
        evidence.append(
            build_bench(folder, REQUESTS, draws=draws).serve("whole").witnessed.evidence
        )
    first, second = evidence
    for request in range(3):
        assert np.array_equal(first.experts[request], second.experts[request])
        assert not np.array_equal(first.margins[request], second.margins[request])
        assert np.abs(first.logits[request, 0] - second.logits[request, 0]).max() > 0.1
