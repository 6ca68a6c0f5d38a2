"""Experts kept in mxfp4: what is loaded, drawn, computed, counted and refused."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from lpbench.bench.arm import ArmLog
from lpbench.bench.experiment import ArmSpec
from lpbench.bench.loop import Limits
from lpbench.errors import InputError
from lpbench.executors.torch_engine.checkpoint import check_checkpoint, check_packed, load_weights
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.weights import LayerWeights, ModelWeights, dummy_weights
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape, read_config
from lpbench.shape.precision import PRECISIONS, expert_bytes, weight_bytes
from tests.arms import build_bench, build_fused_bench, single_thread
from tests.checkpoints import save_gpt_oss, save_gpt_oss_mxfp4, save_qwen3_moe
from tests.graphs import RecordedWork
from tests.oracle import Oracle, greedy, oracle_logits, worst_differences

BOUND = 1e-4
"""Of float32 logits, which are of order 1."""

EXPERTS = ("gate_up", "down")
SCHEDULES = ("chunked:max_num_batched_tokens=37", "layered:num_groups=2")

LENGTHS = ((0, 15, 20, 2), (0, 23, 12, 2), (20, 20, 3, 2))
"""Context, prompt, output, arrival."""

REQUESTS = tuple(
    Request(
        index=index, context_tokens=context, prompt_tokens=prompt, output_tokens=out, arrival=at
    )
    for index, (context, prompt, out, at) in enumerate(LENGTHS)
)
TIGHT_POOL = 4
"""KV pages: the three need 9, each 3."""

OSS, _ = find_shape("gpt-oss-20b")
SMALL = replace(
    OSS, num_layers=2, windows=(4, 0), hidden_size=96, num_experts=8, expert_size=64, vocab_size=50
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


def load(folder: Path, *, packed: bool, dtype: torch.dtype = torch.bfloat16) -> ModelWeights:
    """Load a folder as its own config.json describes it."""
    shape = ModelShape.from_config(read_config(folder), name="tiny")
    return load_weights(folder, shape, dtype=dtype, device="cpu", packed=packed)


def tensors(layer: LayerWeights) -> dict[str, torch.Tensor]:
    """Return all tensors of a layer by name, both halves of a packed one."""
    found: dict[str, torch.Tensor] = {}
    for field in fields(layer):
        value = getattr(layer, field.name)
        if isinstance(value, Mxfp4):
            found |= {f"{field.name} blocks": value.blocks, f"{field.name} scales": value.scales}
        elif value is not None:
            found[field.name] = value
    return found


def bytes_of_an_expert(layer: LayerWeights) -> int:
    """Return the bytes of all that an expert has of its own, as held in memory."""
    return sum(
        value[0].numel() * value.element_size()
        for name, value in tensors(layer).items()
        if name.startswith(EXPERTS)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_released_checkpoint_stays_packed(tmp_path: Path, dtype: torch.dtype) -> None:
    """Unpacked, its experts are those that are unpacked on loading; all else is the same."""
    save_gpt_oss_mxfp4(tmp_path)
    plain, packed = (load(tmp_path, packed=one, dtype=dtype) for one in (False, True))
    for theirs, ours in zip(plain.layers, packed.layers, strict=True):
        for field in fields(LayerWeights):
            want, got = getattr(theirs, field.name), getattr(ours, field.name)
            assert (field.name in EXPERTS) == isinstance(got, Mxfp4)
            if isinstance(got, Mxfp4):
                got = got.matrices(dtype)
            assert (want is None and got is None) or want.equal(got), field.name
    assert plain.embed.equal(packed.embed)


def test_progress_counts_packed_tensors_once(tmp_path: Path) -> None:
    """Blocks and scales are one."""
    save_gpt_oss_mxfp4(tmp_path, layers=1)
    shape = ModelShape.from_config(read_config(tmp_path), name="tiny")
    seen: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    for packed, said in seen.items():
        load_weights(
            tmp_path,
            shape,
            dtype=torch.float32,
            device="cpu",
            packed=packed,
            progress=lambda done, total, said=said: said.append((done, total)),  # type: ignore[misc]
        )
    assert seen[False] == seen[True]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_packed_experts_give_the_logits_of_transformers(tmp_path: Path, schedule: str) -> None:
    """Which unpacks them first: float32 logits under preemption, and the same greedy choices."""
    oracle = Oracle(save_gpt_oss_mxfp4(tmp_path))
    bench = build_fused_bench(
        tmp_path,
        REQUESTS,
        kernels=ReferenceKernels,
        graphs=None,
        num_kv_pages=TIGHT_POOL,
        packed=True,
    )
    served = bench.serve(schedule, num_kv_pages=TIGHT_POOL)
    assert served.preempted
    expected = oracle_logits(oracle, bench.ids, served.witnessed.tokens)
    assert greedy(expected) == served.witnessed.tokens
    assert max(worst_differences(expected, served.witnessed.evidence.logits)) <= BOUND


def test_torchs_own_operators_take_no_packed_experts(tmp_path: Path) -> None:
    """That they are given none is settled before."""
    save_gpt_oss_mxfp4(tmp_path)
    with pytest.raises(AssertionError, match="packed"):
        _ = load(tmp_path, packed=True).layers[0].plain_experts
    assert (8, 64, 192) == tuple(load(tmp_path, packed=False).layers[0].plain_experts[0].shape)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_counted_bytes_are_those_of_packed_experts(tmp_path: Path, schedule: str) -> None:
    """The experts that every pass touched, times the bytes that one is held in."""
    save_gpt_oss_mxfp4(tmp_path)
    (layer, *_) = load(tmp_path, packed=True).layers
    each = bytes_of_an_expert(layer)
    fused = build_fused_bench(
        tmp_path, REQUESTS, kernels=ReferenceKernels, graphs=RecordedWork(), packed=True
    )
    plain = build_bench(tmp_path, REQUESTS)
    arm = ArmSpec(typed=schedule, label=schedule, policy=parse_schedule(schedule))
    log = ArmLog(arm, REQUESTS, fused.shape, precision=PRECISIONS["mxfp4"])
    limits = Limits(num_kv_pages=TIGHT_POOL, max_num_seqs=256)
    passes = [log.observe(step) for step in fused.run(schedule, limits=limits)]
    touched = [
        int(step.execution.drawn.touched.any(axis=1).sum())
        for step in plain.run(schedule, limits=limits)
    ]
    assert [each * count for count in touched] == [line["expert_bytes"] for line in passes]
    record = log.to_record()
    assert each * sum(touched) == record.metrics["expert_bytes"].value
    assert record.ledger is not None
    modelled = {term.name: term.bytes for term in record.ledger.modelled}
    assert each * sum(touched) == modelled["experts"]


def test_all_bytes_are_those_in_memory(tmp_path: Path) -> None:
    """An expert's and the whole model's, matrices in 4.25 bits and all else in bfloat16."""
    save_gpt_oss_mxfp4(tmp_path)
    shape = ModelShape.from_config(read_config(tmp_path), name="tiny")
    weights = load(tmp_path, packed=True)
    held = PRECISIONS["mxfp4"]
    assert bytes_of_an_expert(weights.layers[0]) == expert_bytes(shape, held)
    every = [weights.embed, weights.norm, weights.head]
    every += [one for layer in weights.layers for one in tensors(layer).values()]
    assert sum(one.numel() * one.element_size() for one in every) == weight_bytes(shape, held)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drawn_packed_experts_keep_activations_of_order_one(dtype: torch.dtype) -> None:
    """Mean 0, deviation 1/sqrt(inputs), under two scales; all else as where nothing is packed."""
    weights = dummy_weights(SMALL, dtype=dtype, device="cpu", seed=0, packed=True)
    for layer in weights.layers:
        for name, inputs in zip(EXPERTS, (96, 64), strict=True):
            matrices = getattr(layer, name)
            values = matrices.matrices(torch.float32)
            assert 2 == len(matrices.scales.unique())
            assert pytest.approx(0, abs=0.01) == values.mean().item()
            assert pytest.approx(inputs**-0.5, rel=0.05) == values.std().item()
        others = {one.dtype for name, one in tensors(layer).items() if " " not in name}
        assert {dtype} == others


def test_drawn_packed_experts_repeat_with_the_seed_in_every_dtype() -> None:
    """An audit in float32 sees the experts that were counted, bit for bit."""
    first, same, wide, other = (
        tensors(dummy_weights(SMALL, dtype=dtype, device="cpu", seed=seed, packed=True).layers[1])
        for dtype, seed in (
            (torch.bfloat16, 1),
            (torch.bfloat16, 1),
            (torch.float32, 1),
            (torch.bfloat16, 2),
        )
    )
    for name, value in first.items():
        assert value.equal(same[name])
        assert value.equal(wide[name].to(value.dtype))
        assert not value.equal(other[name])


@pytest.mark.parametrize("save", [save_gpt_oss, save_qwen3_moe])
def test_a_checkpoint_that_is_not_packed_is_refused(
    tmp_path: Path, save: Callable[[Path], object]
) -> None:
    """Nobody packs it in passing: that would be another model."""
    save(tmp_path)
    shape = ModelShape.from_config(read_config(tmp_path), name="tiny")
    with pytest.raises(InputError) as caught:
        check_checkpoint(tmp_path, shape, packed=True)
    expected = f"checkpoint '{tmp_path}': its experts are not in mxfp4; use --dtype bfloat16"
    assert expected == str(caught.value)


def test_a_family_without_a_packed_release_is_refused() -> None:
    """By name."""
    shape, _ = find_shape("qwen3-30b-a3b")
    with pytest.raises(InputError) as caught:
        check_packed(shape)
    expected = (
        "model 'qwen3-30b-a3b': no qwen3_moe model is released in mxfp4; use --dtype bfloat16"
    )
    assert expected == str(caught.value)


@pytest.mark.parametrize("changes", [{"hidden_size": 72}, {"expert_size": 72}])
def test_rows_of_no_whole_number_of_scales_are_refused(changes: dict[str, int]) -> None:
    """Drawn ones too; the released sizes are taken."""
    check_packed(OSS)
    with pytest.raises(InputError, match="cannot be in mxfp4, which takes multiples of 32; use"):
        check_packed(replace(OSS, **changes))  # type: ignore[arg-type]
