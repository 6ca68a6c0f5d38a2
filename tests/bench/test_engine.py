"""The engine of a run: what it chooses, refuses before loading, and does for the audit."""

from pathlib import Path

import pytest
import torch

from lpbench.bench.cautions import run_cautions
from lpbench.bench.engine import WARM_UP_TOKENS, Engine
from lpbench.bench.experiment import resolve
from lpbench.errors import InputError, RunError, UnavailableError
from lpbench.executors.torch_engine.forward import Forward
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.shape.precision import PRECISIONS, Precision
from tests.bench.tiny import tiny_spec

AVAILABLE = "lpbench.executors.torch_engine.device.available_bytes"


def build(folder: Path, **changes: object) -> Engine:
    """Return the engine of a tiny run."""
    spec = tiny_spec(folder, **changes)
    return Engine(spec, resolve(spec))


def whole_prompt(request: int, tokens: int) -> IterationPlan:
    """Return the plan that prefills a prompt at once."""
    tile = Tile(Span(0, tokens), Span(0, 4))
    return IterationPlan(decodes=(), prefill=(PromptTile(request, tile),))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, "float32"), ("bfloat16", "bfloat16"), ("float32", "float32")],
)
def test_the_dtype_follows_the_device(tmp_path: Path, asked: str | None, expected: str) -> None:
    """float32 on a CPU, unless another is asked for."""
    engine = build(tmp_path, dtype=asked)
    assert (expected, "cpu") == (engine.spec["dtype"], engine.spec["device"])


def test_a_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is missed before anything is loaded."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnavailableError, match="cuda:3"):
        build(tmp_path, device="cuda:3")
    assert "cpu" == build(tmp_path, device=None).spec["device"]


@pytest.mark.parametrize(
    ("model", "family"),
    [("mixtral-8x7b", "mixtral"), ("olmoe-1b-7b", "olmoe"), ("deepseek-v3", "deepseek_v3")],
)
def test_a_family_that_is_modelled_only_is_refused(tmp_path: Path, model: str, family: str) -> None:
    """Before memory is asked for, in one line that says what does run it."""
    with pytest.raises(InputError) as caught:
        build(tmp_path, model=model)
    expected = f"model '{model}': family {family} is modelled only; use --executor roofline"
    assert expected == str(caught.value)


def test_pages_for_everyone_where_memory_allows(tmp_path: Path) -> None:
    """Three requests of 24 tokens take two pages each."""
    assert 6 == build(tmp_path).num_kv_pages
    assert 9 == build(tmp_path, num_kv_pages=9).num_kv_pages


def test_fewer_pages_where_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool shrinks to what is left, down to the largest request's pages; then it is refused."""
    planned = build(tmp_path).facts["memory_planned_bytes"]
    assert isinstance(planned, int)
    page = 16 * 2 * 4 * 16 * 4
    for missing, expected in ((0, 6), (1, 5), (4 * page, 2)):
        monkeypatch.setattr(AVAILABLE, lambda _, m=missing: -(-(planned - m) * 10 // 9))
        assert expected == build(tmp_path).num_kv_pages
    monkeypatch.setattr(AVAILABLE, lambda _: (planned - 5 * page) * 10 // 9)
    with pytest.raises(InputError, match=r"needs .* has "):
        build(tmp_path)


def test_nothing_is_loaded_before_load(tmp_path: Path) -> None:
    """Choosing and checking touch no weight; loading brings an executor that has run once."""
    engine = build(tmp_path)
    with pytest.raises(AssertionError, match="not loaded"):
        _ = engine.executor
    engine.load()
    engine.executor.start_arm(None)
    execution = engine.executor.execute(whole_prompt(1, 20))
    assert [1] == list(execution.tokens)
    assert (4, 2, 8) == execution.drawn.touched.shape


def test_drawn_weights_follow_the_seed(tmp_path: Path) -> None:
    """The same seed gives the same tokens and experts, in another process as well as here."""

    def outcome(seed: int) -> tuple[list[int], bytes]:
        engine = build(tmp_path, seed=seed, routing="model")
        engine.load()
        engine.executor.start_arm(None)
        execution = engine.executor.execute(whole_prompt(0, 20))
        return list(execution.tokens.values()), execution.drawn.touched.tobytes()

    assert outcome(1) == outcome(1) != outcome(2)


@pytest.mark.parametrize("routing", ["calibrated", "uniform"])
def test_drawn_routing_is_the_same_in_every_slice(tmp_path: Path, routing: str) -> None:
    """A prompt's experts are those of its positions, however it is cut."""
    engine = build(tmp_path, routing=routing)
    engine.load()
    engine.executor.start_arm(None)
    at_once = engine.executor.execute(whole_prompt(0, 20)).drawn.touched[:, 1]
    engine.executor.start_arm(None)
    parts = []
    for start, stop in ((0, 7), (7, 20)):
        tile = Tile(Span(start, stop), Span(0, 4))
        plan = IterationPlan(decodes=(), prefill=(PromptTile(0, tile),))
        parts.append(engine.executor.execute(plan).drawn.touched[:, 1])
    assert (at_once == (parts[0] | parts[1])).all()


def test_a_long_prompt_is_warmed_up_with_its_beginning(tmp_path: Path) -> None:
    """The warm-up is bounded, and leaves nothing behind in the cache."""
    assert WARM_UP_TOKENS <= 256
    engine = build(tmp_path, input_len=200, output_len=1, num_prompts=1)
    engine.load()
    engine.executor.start_arm(None)
    assert engine.executor.execute(whole_prompt(0, 200)).tokens


def test_the_audit_is_in_float32_where_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bfloat16 run is audited on float32 weights, or in bfloat16 where memory is short."""
    wide, tight = build(tmp_path, dtype="bfloat16"), build(tmp_path, dtype="bfloat16")
    wide.load()
    wide.load_for_audit()
    assert ("bfloat16", "float32") == (wide.dtype, wide.audit_dtype)
    wide.start_audit({0: [1] * 5}, [(0, 0)])
    assert wide.executor.execute(whole_prompt(0, 20)).tokens
    tight.load()
    monkeypatch.setattr(AVAILABLE, lambda _: 1000)
    tight.load_for_audit()
    assert ("bfloat16", "bfloat16") == (tight.dtype, tight.audit_dtype)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dtype": "mxfp4"}, "--dtype mxfp4 needs --kernels triton"),
        (
            {"dtype": "mxfp4", "kernels": "triton", "model": "builtin-moe"},
            "model 'builtin-moe': no qwen3_moe model is released in mxfp4; use --dtype bfloat16",
        ),
    ],
)
def test_mxfp4_that_nothing_computes_is_refused(
    tmp_path: Path, options: dict[str, str], expected: str
) -> None:
    """In one line, before a device is asked for."""
    with pytest.raises(InputError) as caught:
        build(tmp_path, **options)
    assert expected == str(caught.value)


def test_mxfp4_needs_a_gpu(tmp_path: Path) -> None:
    """As all of Triton's kernels do."""
    with pytest.raises(UnavailableError, match="--kernels triton needs a CUDA device"):
        build(tmp_path, dtype="mxfp4", kernels="triton", model="gpt-oss-20b")


def test_packed_experts_stay_packed_in_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An mxfp4 run is audited in float32 on the same packed experts, by the shipped tiles."""
    built: list[tuple[Precision, object]] = []

    def keep(*_: object, precision: Precision, tiles: object, **__: object) -> None:
        built.append((precision, tiles))

    monkeypatch.setenv("LPBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr("lpbench.executors.torch_engine.choice._check_triton", lambda *_: None)
    monkeypatch.setattr("lpbench.executors.torch_engine.build.build_executor", keep)
    monkeypatch.setattr(AVAILABLE, lambda _: 30 * 10**9)
    engine = build(tmp_path, dtype="mxfp4", kernels="triton", model="gpt-oss-20b")
    engine.load_for_audit()
    held = PRECISIONS["mxfp4"]
    assert ("mxfp4", held) == (engine.spec["dtype"], engine.precision)
    assert ("float32", [(held.widened, None)]) == (engine.audit_dtype, built)


def test_a_float32_engine_is_its_own_auditor(tmp_path: Path) -> None:
    """Nothing is loaded twice."""
    engine = build(tmp_path)
    engine.load()
    before = engine.executor
    engine.load_for_audit()
    assert before is engine.executor
    assert "float32" == engine.audit_dtype


def test_an_auditor_sees_logits_margins_and_experts(tmp_path: Path) -> None:
    """The probe keeps the sampled token's logits and every row's experts, and feeds the script."""
    engine = build(tmp_path)
    engine.load()
    probe = engine.start_audit({0: [3] * 5, 1: [4] * 5, 2: [5] * 5}, [(0, 0), (0, 1)])
    own = engine.executor.execute(whole_prompt(0, 20)).tokens[0]
    engine.executor.execute(IterationPlan(decodes=(0,), prefill=()))
    evidence = probe.evidence()
    assert {(0, 0), (0, 1)} == set(evidence.logits)
    assert own == evidence.logits[0, 0].argmax()
    assert (24, 4, 2) == evidence.experts[0].shape
    assert [True] * 21 + [False] * 3 == (evidence.experts[0][:, 0, 0] >= 0).tolist()
    assert (evidence.margins[0][:21] >= 0).all()


def test_the_facts_name_the_kernels_of_the_counting_pass(tmp_path: Path) -> None:
    """They are there once the engine is loaded, and stay when the audit computes with others."""
    engine = build(tmp_path, dtype="bfloat16")
    engine.load()
    expected = {
        "layers": "torch",
        "experts": "torch grouped_mm",
        "attention": "sdpa",
        "tf32": False,
        "cudnn_attention": False,
    }
    assert expected == engine.facts["kernels"]
    engine.load_for_audit()
    assert "float32" == engine.audit_dtype
    assert expected == engine.facts["kernels"]


@pytest.mark.parametrize(("utilization", "expected"), [(0.9, 6), (0.5, 3)])
def test_the_share_of_a_gpu_sizes_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, utilization: float, expected: int
) -> None:
    """Of a GPU of twice the plan, half in use by others, half may be used: three pages less."""
    planned = build(tmp_path).facts["memory_planned_bytes"]
    assert isinstance(planned, int)
    page = 16 * 2 * 4 * 16 * 4
    total = 2 * planned
    monkeypatch.setattr(AVAILABLE, lambda _: total - 3 * page)
    monkeypatch.setattr(
        "lpbench.executors.torch_engine.device.reserved_bytes",
        lambda _, *, gpu_memory_utilization: int(total * (1 - gpu_memory_utilization)),
    )
    assert expected == build(tmp_path, gpu_memory_utilization=utilization).num_kv_pages


@pytest.mark.parametrize(
    ("pages", "fits", "expected"), [(None, 4, True), (None, 6, False), (4, 6, False)]
)
def test_a_pool_that_hangs_on_free_memory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, pages: int | None, fits: int, expected: bool
) -> None:
    """Six pages are ever used: fewer, unless asked for, make plans that another run may not."""
    planned = build(tmp_path).facts["memory_planned_bytes"]
    assert isinstance(planned, int)
    page = 16 * 2 * 4 * 16 * 4
    monkeypatch.setattr(AVAILABLE, lambda _: (planned - (6 - fits) * page) * 10 // 9 + 10)
    spec = tiny_spec(tmp_path, num_kv_pages=pages)
    experiment = resolve(spec)
    engine = Engine(spec, experiment)
    assert min(fits, pages or fits) == engine.num_kv_pages
    said = [one.message for one in run_cautions(experiment, engine) if "pool" in one.code]
    assert expected == bool(said)
    assert not expected or "give --num-kv-pages 4 to runs" in said[0]


def test_loading_that_runs_out_of_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have taken what was free when it was planned."""

    def exhausted(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("lpbench.executors.torch_engine.build.dummy_weights", exhausted)
    with pytest.raises(RunError, match=r"ran out of memory while .* was loaded"):
        build(tmp_path).load()


def test_a_device_that_runs_out_of_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails with what the pass was and what to make smaller."""
    engine = build(tmp_path)
    engine.load()

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Forward, "run", exhausted)
    with pytest.raises(RunError, match="out of memory in a pass with 20 prompt tokens"):
        engine.executor.execute(whole_prompt(0, 20))


def test_the_facts_name_device_and_threads(tmp_path: Path) -> None:
    """What a reader of times must know, and what was planned."""
    facts = build(tmp_path).facts
    assert ("cpu", torch.get_num_threads()) == (facts["device"], facts["torch_threads"])
    assert facts["memory_planned_bytes"]
