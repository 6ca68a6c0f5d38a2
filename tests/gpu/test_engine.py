"""The engine on a GPU: transformers' logits, the CPU's counts, equal tokens, no hidden wait."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from lpbench.bench.audit import audit
from lpbench.executors.torch_engine.forward import Forward
from lpbench.executors.torch_engine.touched import Witness
from lpbench.plan.iteration import IterationPlan
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.routing import RoutingDraws
from tests.arms import build_bench
from tests.checkpoints import save_gpt_oss_mxfp4
from tests.gpu.checkpoints import (
    EXPERTS,
    LAYERS,
    REQUESTS,
    SCHEDULES,
    SCRIPT,
    TOP_K,
    Checkpoint,
)
from tests.oracle import Oracle, oracle_logits, worst_differences

pytestmark = pytest.mark.gpu

LAYERS_OF = ("torch", "triton")
"""Whose kernels."""

BOUND = 1e-4
"""Of a float32 logit, relative to the largest."""


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have torch raise where the host waits for the device within a pass."""
    run = Forward.run

    def watched(
        self: Forward, plan: IterationPlan, witness: Witness | None
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        try:
            torch.cuda.set_sync_debug_mode("error")
            return run(self, plan, witness)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Forward, "run", watched)
    yield
    assert 0 == torch.cuda.get_sync_debug_mode()


@pytest.mark.parametrize(("layers", "schedule"), [*product(LAYERS_OF, SCHEDULES)])
def test_float32_logits_equal_transformers(
    checkpoint: Checkpoint,
    layers: str,
    schedule: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Every generated token's logits are transformers' on the same GPU, without TF32 in either."""
    bench = build_bench(checkpoint.folder, REQUESTS, device="cuda:0", layers=layers)
    assert not bench.executor.kernels.tf32
    served = bench.serve(schedule, script=SCRIPT)
    theirs = type(checkpoint.model).from_pretrained(checkpoint.folder, dtype=torch.float32)
    expected = oracle_logits(Oracle(theirs.to("cuda:0")), bench.ids, SCRIPT)
    largest = max(float(np.abs(row).max()) for row in expected.values())
    worst = max(worst_differences(expected, served.witnessed.evidence.logits))
    record_property("worst", worst / largest)
    assert worst <= BOUND * largest


@pytest.mark.parametrize(("layers", "schedule"), [*product(LAYERS_OF, SCHEDULES)])
def test_bfloat16_errs_no_more_than_transformers_does(
    checkpoint: Checkpoint,
    layers: str,
    schedule: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Our mean error against float32 is at most 1.5 times that of transformers' bfloat16 model.

    Why the mean: tests/executors/torch_engine/test_against_transformers.py.
    """
    bench = build_bench(
        checkpoint.folder,
        REQUESTS,
        precision=PRECISIONS["bfloat16"],
        device="cuda:0",
        layers=layers,
    )
    reference = oracle_logits(Oracle(checkpoint.model), bench.ids, SCRIPT)
    rounded = type(checkpoint.model).from_pretrained(checkpoint.folder, dtype=torch.bfloat16)
    oracle = Oracle(rounded.to("cuda:0"))
    theirs = np.mean(worst_differences(reference, oracle_logits(oracle, bench.ids, SCRIPT)))
    served = bench.serve(schedule, script=SCRIPT)
    ours = np.mean(worst_differences(reference, served.witnessed.evidence.logits))
    record_property("mean_ours_theirs", (ours, theirs))
    assert ours <= 1.5 * theirs


@pytest.mark.parametrize(("layers", "schedule"), [*product(LAYERS_OF, SCHEDULES)])
def test_counts_equal_the_cpus_under_drawn_routing(
    checkpoint: Checkpoint, layers: str, schedule: str
) -> None:
    """With calibrated routing every iteration touches the same experts on both devices."""
    draws = RoutingDraws("calibrated", 3, LAYERS, EXPERTS, TOP_K)
    cpu, gpu = (
        build_bench(checkpoint.folder, REQUESTS, device=device, draws=draws, layers=whose).run(
            schedule, script=SCRIPT
        )
        for device, whose in (("cpu", "torch"), ("cuda:0", layers))
    )
    assert len(cpu) == len(gpu)
    for ours, theirs in zip(cpu, gpu, strict=True):
        assert ours.execution.drawn.prompts == theirs.execution.drawn.prompts
        assert np.array_equal(ours.execution.drawn.touched, theirs.execution.drawn.touched)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_routers_own_choice_is_the_cpus(checkpoint: Checkpoint, schedule: str) -> None:
    """Each row's experts are the CPU's, where the router is not undecided by less than 1e-3."""
    arms = [
        build_bench(checkpoint.folder, REQUESTS, device=device)
        .serve(schedule, script=SCRIPT)
        .witnessed
        for device in ("cpu", "cuda:0")
    ]
    found = audit(arms, dtype="float32")
    assert 0 == found.far_disagreements
    assert found.routing_agreement > 0.99


@pytest.mark.parametrize("layers", LAYERS_OF)
def test_schedules_generate_the_same_tokens(checkpoint: Checkpoint, layers: str) -> None:
    """In float32 all schedules decode the same greedy tokens."""
    bench = build_bench(checkpoint.folder, REQUESTS, device="cuda:0", layers=layers)
    tokens = [bench.serve(schedule).witnessed.tokens for schedule in SCHEDULES]
    assert [tokens[0]] * len(SCHEDULES) == tokens


@pytest.mark.parametrize(
    ("schedule", "dtype", "layers"), [*product(SCHEDULES, ("float32", "bfloat16"), LAYERS_OF)]
)
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.usefixtures("no_waiting")
def test_the_host_never_waits_within_a_pass(
    checkpoint: Checkpoint, schedule: str, dtype: str, layers: str
) -> None:
    """Nothing below Forward.run synchronises, with drawn routing and with the router's own."""
    for draws in (None, RoutingDraws("uniform", 3, LAYERS, EXPERTS, TOP_K)):
        bench = build_bench(
            checkpoint.folder,
            REQUESTS,
            precision=PRECISIONS[dtype],
            device="cuda:0",
            draws=draws,
            layers=layers,
        )
        bench.run(schedule)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_packed_experts_err_no_more_than_unpacked_ones(
    tmp_path: Path, schedule: str, record_property: Callable[[str, object], None]
) -> None:
    """A released checkpoint: in float32 transformers' logits, in bfloat16 no further from them.

    Both forms hold the same values, so that the mean errors differ by the order of sums alone.
    """
    model = save_gpt_oss_mxfp4(tmp_path, layers=LAYERS, experts=EXPERTS, top_k=TOP_K, seed=4)
    oracle, held = Oracle(model.to("cuda:0")), PRECISIONS["mxfp4"]
    errors: dict[str, list[float]] = {}
    for name, precision in (
        ("float32", held.widened),
        ("mxfp4", held),
        ("bfloat16", PRECISIONS["bfloat16"]),
    ):
        bench = build_bench(
            tmp_path, REQUESTS, precision=precision, device="cuda:0", layers="triton"
        )
        expected = oracle_logits(oracle, bench.ids, SCRIPT)
        served = bench.serve(schedule, script=SCRIPT)
        errors[name] = worst_differences(expected, served.witnessed.evidence.logits)
    record_property("mean", {name: float(np.mean(found)) for name, found in errors.items()})
    largest = max(float(np.abs(row).max()) for row in expected.values())
    assert max(errors["float32"]) <= BOUND * largest
    assert np.mean(errors["mxfp4"]) <= 1.5 * np.mean(errors["bfloat16"])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_captured_pieces_compute_what_single_launches_do(
    checkpoint: Checkpoint, schedule: str
) -> None:
    """Replayed in padded rooms or launched one by one, passes yield the same tokens and experts.

    In float32 and with drawn routing: other rooms may mean other kernels of the vendor's matmul.
    """
    draws = RoutingDraws("uniform", 3, LAYERS, EXPERTS, TOP_K)
    bench = build_bench(checkpoint.folder, REQUESTS, device="cuda:0", layers="triton", draws=draws)
    replayed = bench.run(schedule, script=SCRIPT)
    with bench.executor.profiled():
        launched = bench.run(schedule, script=SCRIPT)
    for one, other in zip(replayed, launched, strict=True):
        assert other.execution.tokens == one.execution.tokens
        assert np.array_equal(other.execution.drawn.touched, one.execution.drawn.touched)
