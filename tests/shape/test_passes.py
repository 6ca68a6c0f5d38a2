from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.plan.chunked import Chunked
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.layered import Layered
from lpbench.plan.policy import Policy, View
from lpbench.plan.request import Progress
from lpbench.plan.whole import Whole
from lpbench.shape.catalogue import find_shape
from lpbench.shape.latent import Latent
from lpbench.shape.model import ModelShape
from lpbench.shape.passes import PassBytes, pass_bytes
from lpbench.shape.precision import PRECISIONS
from lpbench.shape.traffic import modelled_bytes
from tests.rowwise import Row, bytes_of_pass, uniform_loads

BF16, FP32 = PRECISIONS["bfloat16"], PRECISIONS["float32"]
EXAMPLES = settings(max_examples=60, deadline=None)
QWEN, _ = find_shape("qwen3-30b-a3b")
GPT_OSS, _ = find_shape("gpt-oss-20b")
DEEPSEEK, _ = find_shape("deepseek-v3")
SIZES = {
    "num_layers": 2,
    "windows": (2, 0),
    "hidden_size": 4,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 2,
    "num_experts": 4,
    "top_k": 2,
    "expert_size": 3,
    "vocab_size": 10,
}
TINY = replace(QWEN, **SIZES)  # type: ignore[arg-type]
LATENT = Latent(query_rank=3, kv_rank=5, nope_dim=2, rope_dim=4, value_dim=1)
TINY_DEEPSEEK = replace(
    DEEPSEEK,
    **SIZES | {"head_dim": 6, "latent": LATENT, "dense_layers": 1, "dense_size": 7},  # type: ignore[arg-type]
    shared_experts=2,
)
FAMILIES = (
    TINY,
    *(replace(find_shape(name)[0], **SIZES) for name in ("mixtral-8x7b", "olmoe-1b-7b")),  # type: ignore[arg-type]
    replace(GPT_OSS, **SIZES),  # type: ignore[arg-type]
    TINY_DEEPSEEK,
    replace(TINY_DEEPSEEK, latent=replace(LATENT, query_rank=0), shared_experts=1),
)


def tile(request: int, tokens: tuple[int, int], layers: tuple[int, int]) -> PromptTile:
    """Return a tile of half-open token and layer spans."""
    return PromptTile(request, Tile(Span(*tokens), Span(*layers)))


def prefill_only(*tiles: PromptTile) -> IterationPlan:
    """Return an iteration without decodes."""
    return IterationPlan(decodes=(), prefill=tiles)


def test_every_term_by_hand() -> None:
    """Two layers, the first with a window of 2; a decode at position 5, a tile in layer 0 alone.

    The tile is tokens 2 to 4 behind a context of 1: positions 3, 4, 5. Values, times 2 bytes:
    attention (8 x 4 + 4 x 4 + 2 + 2) in 2 layers; router 16 and norms 8 in 2 layers; 4 rows enter;
    head 10 x 4 and norm 4; keys seen 2 + 4 in layer 0, 6 in layer 1, 4 values each; 5 rows written;
    activations 5 x 124, 4 rows from the embedding, 3 for the sampled one, of 4 each; 5 experts.
    """
    plan = IterationPlan(decodes=(0,), prefill=(tile(1, (2, 5), (0, 1)),))
    expected = PassBytes(
        experts=2 * 5 * 36,
        attention_weights=2 * 2 * 52,
        dense_weights=2 * 2 * 24,
        embedding=2 * 4 * 4,
        head=2 * 44,
        kv_read=2 * 12 * 4,
        kv_written=2 * 5 * 4,
        activations=2 * (5 * 124 + 7 * 4),
        logits=2 * 10,
    )
    found = pass_bytes(plan, TINY, starts={0: 5, 1: 1}, sampled=1, precision=BF16, distinct=(3, 2))
    assert expected == found
    assert 360 + 208 + 96 + 32 + 88 + 96 + 40 + 1296 + 20 == found.total


def test_every_term_of_deepseek_v3_by_hand() -> None:
    """A prompt of 4096 tokens in one pass: 61 layers, the first 3 dense, a latent of 512 + 64.

    Attention's tensors have 187,107,328 values; of 128 heads queries are 24,576 wide, values 16,384
    and a token's keys and values, made from its latent, 32,768.
    """
    plan = prefill_only(tile(0, (0, 4096), (0, 61)))
    found = pass_bytes(
        plan,
        DEEPSEEK,
        starts={0: 0},
        sampled=1,
        precision=BF16,
        distinct=(0,) * 3 + (256,) * 58,
    )
    every = 7 * 7168 + 2 * (1536 + 24_576 + 576 + 16_384)
    routed, shared = 8 * (6 * 2048 + 2 * 7168), 6 * 2048 + 3 * 7168
    moe, dense = 4 * 7168 + 256 + routed + shared, 3 * 7168 + 6 * 18_432
    row = 61 * (every + 2 * 32_768) + 58 * moe + 3 * dense
    expected = PassBytes(
        experts=2 * 58 * 256 * 44_040_192,
        shared_experts=2 * 58 * 44_040_192,
        attention_weights=2 * 61 * 187_107_328,
        dense_weights=2 * (61 * 2 * 7168 + 58 * 256 * 7169 + 3 * 3 * 7168 * 18_432),
        embedding=2 * 4096 * 7168,
        head=2 * 129_281 * 7168,
        kv_read=2 * 61 * 4096 * 576,
        kv_written=2 * 61 * 4096 * 576,
        activations=2 * (4096 * row + (4096 + 3) * 7168),
        logits=2 * 129_280,
    )
    assert expected == found


def test_a_decode_attends_to_the_latent_itself() -> None:
    """It moves 4 x 128 heads x 512 values a layer for that, and makes no keys of what is cached."""
    here, later = (
        pass_bytes(
            IterationPlan(decodes=(0,), prefill=()),
            DEEPSEEK,
            starts={0: start},
            sampled=1,
            precision=BF16,
        )
        for start in (0, 999)
    )
    plan = prefill_only(tile(0, (0, 1), (0, 61)))
    one = pass_bytes(plan, DEEPSEEK, starts={0: 0}, sampled=1, precision=BF16)
    extra = 61 * 128 * (4 * 512 - 2 * (128 + 128))
    assert 2 * extra == here.activations - one.activations
    assert here.activations == later.activations
    assert 2 * 61 * 999 * 576 == later.kv_read - here.kv_read


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("qwen3-30b-a3b", 3.0),
        ("qwen3-235b-a22b", 21.6),
        ("gpt-oss-20b", 3.6),
        ("gpt-oss-120b", 5.1),
        ("mixtral-8x7b", 12.7),
        ("olmoe-1b-7b", 1.2),
        ("deepseek-v3", 36.6),
    ],
)
def test_one_token_reads_the_parameters_that_are_active(name: str, billions: float) -> None:
    """As published, but that an embedding of the vocabulary is not read."""
    shape, _ = find_shape(name)
    found = pass_bytes(
        IterationPlan(decodes=(0,), prefill=()),
        shape,
        starts={0: 0},
        sampled=1,
        precision=BF16,
    )
    weights = found.experts + found.shared_experts + found.attention_weights + found.dense_weights
    assert billions == round((weights + found.head) / 2e9, 1)


@pytest.mark.parametrize("distinct", [None, (3, 2)])
def test_packed_experts_alone_are_smaller(distinct: tuple[int, int] | None) -> None:
    """Gate, up and down of 3 x 4 x 32 values in 17/32 bytes each, biases and all else as ever."""
    shape = replace(GPT_OSS, **SIZES | {"expert_size": 32})  # type: ignore[arg-type]
    plan = IterationPlan(decodes=(1,), prefill=(tile(0, (0, 3), (0, 2)),))
    plain, packed = (
        pass_bytes(
            plan, shape, starts={0: 5, 1: 1}, sampled=1, precision=precision, distinct=distinct
        )
        for precision in (BF16, PRECISIONS["mxfp4"])
    )
    biases = 2 * (2 * 32 + 4)
    ratio = (3 * 4 * 32 * 17 / 32 + biases) / (3 * 4 * 32 * 2 + biases)
    assert pytest.approx(ratio * plain.experts) == packed.experts
    assert replace(plain, experts=packed.experts) == packed


def test_terms_of_what_a_model_lacks_have_no_name() -> None:
    """Shared experts are a term where a model has them, so the others' ledgers stay as they are."""
    names = [
        "experts", "attention_weights", "dense_weights", "embedding", "head", "kv_read",
        "kv_written", "activations", "logits",
    ]  # fmt: skip
    assert names == list(PassBytes(experts=1).terms)
    assert ["experts", "shared_experts", *names[1:]] == list(PassBytes(shared_experts=1).terms)


def test_layers_below_the_experts_have_none() -> None:
    """A tile in dense layers alone reads no expert, routed or shared, and their MLPs instead."""
    plan = prefill_only(tile(0, (0, 9), (0, 3)))
    found = pass_bytes(plan, DEEPSEEK, starts={0: 0}, sampled=0, precision=BF16)
    assert (0, 0) == (found.experts, found.shared_experts)
    assert 2 * 3 * (2 * 7168 + 3 * 7168 * 18_432) == found.dense_weights


def test_a_pass_that_samples_nothing_reads_no_head() -> None:
    """The head's weights are read where a token is sampled, and only there."""
    plan = prefill_only(tile(0, (0, 3), (0, 1)))
    found = pass_bytes(plan, TINY, starts={0: 0}, sampled=0, precision=BF16)
    assert (0, 0) == (found.head, found.logits)


def test_layers_without_a_row_read_nothing() -> None:
    """A tile alone in one of two layers reads that layer's weights, and enters nothing."""
    plan = prefill_only(tile(0, (0, 3), (1, 2)))
    found = pass_bytes(plan, TINY, starts={0: 0}, sampled=1, precision=BF16)
    assert (2 * 52, 2 * 24, 0) == (found.attention_weights, found.dense_weights, found.embedding)


def test_experts_without_a_count_are_the_expectation() -> None:
    """Under uniform routing, as `modelled_bytes` has it."""
    plan = IterationPlan(decodes=(0, 1), prefill=(tile(2, (0, 3), (0, 1)),))
    found = pass_bytes(plan, TINY, starts={0: 4, 1: 4, 2: 0}, sampled=2, precision=BF16).experts
    assert modelled_bytes([plan], TINY, precision=BF16).total == found


def test_passes_add_up_term_by_term() -> None:
    """The sum of two passes has the sum of each term; nothing at all is the neutral element."""
    one = PassBytes(experts=1.5, kv_read=2, logits=3)
    two = PassBytes(experts=1, kv_written=4, logits=5)
    assert PassBytes(experts=2.5, kv_read=2, kv_written=4, logits=8) == one + two
    assert one == one + PassBytes()
    assert 6.5 == one.total


@pytest.mark.parametrize(
    ("shape", "batch", "context", "gb"),
    [
        (QWEN, 1, 2048, 6.3), (QWEN, 8, 2048, 27.5), (QWEN, 32, 2048, 59.5),
        (QWEN, 256, 2048, 112.0), (QWEN, 1, 8192, 6.9), (QWEN, 128, 8192, 163.5),
        (GPT_OSS, 1, 2048, 7.3), (GPT_OSS, 32, 2048, 41.8), (GPT_OSS, 256, 2048, 54.3),
        (GPT_OSS, 8, 8192, 29.2),
    ],
)  # fmt: skip
def test_decode_bytes_are_the_rooflines(
    shape: ModelShape, batch: int, context: int, gb: float
) -> None:
    """ENGINE.md 4, GB of one decode iteration: weights and keys read, no activations, to 0.1."""
    plan = IterationPlan(decodes=tuple(range(batch)), prefill=())
    found = pass_bytes(
        plan,
        shape,
        starts=dict.fromkeys(range(batch), context - 1),
        sampled=batch,
        precision=BF16,
    )
    weights = found.experts + found.attention_weights + found.dense_weights + found.head
    assert gb == pytest.approx((weights + found.kv_read) / 1e9, abs=0.1)


def arm_bytes(policy: Policy, shape: ModelShape, *, prompt: int, context: int = 0) -> PassBytes:
    """Return the bytes of one prompt's prefill, alone in the engine."""
    total = PassBytes()
    for plan, sampled in prefill(policy, prompt, num_layers=shape.num_layers):
        total += pass_bytes(plan, shape, starts={0: context}, sampled=sampled, precision=BF16)
    return total


def prefill(policy: Policy, prompt: int, *, num_layers: int) -> Iterator[tuple[IterationPlan, int]]:
    """Yield one prompt's iterations, and the tokens each samples."""
    progress = Progress.start(0, prompt, num_layers=num_layers)
    while not progress.is_done:
        view = View(
            num_layers=num_layers,
            decodes=(),
            begun=(progress,) if progress.is_begun else (),
            queue=() if progress.is_begun else (progress,),
            free_pages=progress.pages,
            free_seqs=1,
        )
        plan = policy.plan(view)
        progress = progress.after(plan.prefill[0].tile)
        yield plan, int(progress.is_done)


def test_chunks_read_keys_again_as_the_paper_says() -> None:
    """PAPER.md 7: 16 chunks of 8192 tokens read 6.0 GB of keys and values more than layered."""
    chunked = arm_bytes(Chunked(max_num_batched_tokens=512), QWEN, prompt=8192).kv_read
    layered = arm_bytes(Layered(), QWEN, prompt=8192).kv_read
    assert 6.0 == pytest.approx((chunked - layered) / 1e9, abs=0.05)
    assert 98_304 * 8192 == layered


@EXAMPLES
@given(
    prompt=st.integers(1, 60),
    context=st.integers(0, 20),
    groups=st.integers(1, 6),
    chunk=st.integers(1, 30),
    window=st.integers(0, 9),
)
def test_schedules_agree_where_they_must(
    *, prompt: int, context: int, groups: int, chunk: int, window: int
) -> None:
    """A prompt alone: layered moves what whole moves, chunked reads no less and writes the same."""
    shape = replace(TINY, num_layers=5, windows=(window, 0, window, 0, window))
    whole, layered, chunked = (
        arm_bytes(policy, shape, prompt=prompt, context=context)
        for policy in (
            Whole(),
            Layered(num_groups=groups),
            Chunked(max_num_batched_tokens=chunk),
        )
    )
    assert whole.terms == pytest.approx(layered.terms)
    alike = ("embedding", "head", "kv_written", "activations", "logits")
    assert [whole.terms[name] for name in alike] == [chunked.terms[name] for name in alike]
    assert all(chunked.terms[name] >= whole.terms[name] - 1e-6 for name in whole.terms)


@EXAMPLES
@given(
    start=st.integers(0, 20),
    edges=st.sets(st.integers(0, 40), min_size=2),
    layers=st.integers(1, 2),
    window=st.integers(0, 9),
)
def test_tiles_add_up(*, start: int, edges: set[int], layers: int, window: int) -> None:
    """However a tile is cut along its tokens, what each row moves by itself stays the same."""
    shape = replace(TINY, windows=(window, 0))

    def moved(first: int, last: int) -> PassBytes:
        plan = prefill_only(tile(0, (first, last), (0, layers)))
        return pass_bytes(plan, shape, starts={0: start}, sampled=0, precision=BF16)

    together = moved(min(edges), max(edges))
    parts = sum((moved(*edge) for edge in pairwise(sorted(edges))), PassBytes())
    for name in ("kv_written", "activations", "embedding"):
        assert together.terms[name] == parts.terms[name]
    assert together.kv_read <= parts.kv_read


@st.composite
def plans(draw: st.DrawFn, *, num_layers: int) -> tuple[IterationPlan, dict[int, int]]:
    """Draw an iteration: decodes and tiles of other requests anywhere, and where they stand."""
    decodes = tuple(range(draw(st.integers(0, 4))))
    tiles = []
    for request in range(len(decodes), len(decodes) + draw(st.integers(0, 3))):
        first, low = draw(st.integers(0, 12)), draw(st.integers(0, num_layers - 1))
        tokens = (first, first + draw(st.integers(1, 12)))
        tiles.append(tile(request, tokens, (low, draw(st.integers(low + 1, num_layers)))))
    requests = range(len(decodes) + len(tiles))
    starts = {request: draw(st.integers(0, 15)) for request in requests}
    return IterationPlan(decodes=decodes, prefill=tuple(tiles)), starts


def rows_of(plan: IterationPlan, starts: dict[int, int], *, num_layers: int) -> list[list[Row]]:
    """Return the rows of each layer, one by one."""
    rows: list[list[Row]] = []
    for layer in range(num_layers):
        mine: list[Row] = [(request, starts[request], False) for request in plan.decodes]
        for part in plan.prefill:
            tokens, layers = part.tile.tokens, part.tile.layers
            if layers.start <= layer < layers.stop:
                mine += [
                    (part.request, starts[part.request] + token, True)
                    for token in range(tokens.start, tokens.stop)
                ]
        rows.append(mine)
    return rows


@settings(max_examples=150, deadline=None)
@given(data=st.data(), family=st.sampled_from(FAMILIES), num_layers=st.integers(1, 6))
def test_every_term_is_the_sum_over_rows(
    data: st.DataObject, family: ModelShape, num_layers: int
) -> None:
    """Closed forms and plain loops over rows give the same, with windows and without."""
    windows = tuple(data.draw(st.integers(0, 7)) for _ in range(num_layers))
    dense = data.draw(st.integers(0, num_layers - 1)) if family.dense_size else 0
    shape = replace(family, num_layers=num_layers, windows=windows, dense_layers=dense)
    plan, starts = data.draw(plans(num_layers=num_layers))
    sampled = data.draw(st.integers(0, len(starts)))
    found = pass_bytes(plan, shape, starts=starts, sampled=sampled, precision=FP32)
    rows = rows_of(plan, starts, num_layers=num_layers)
    expected = bytes_of_pass(rows, shape, sampled=sampled, bytes_per_value=4)
    assert expected.keys() <= found.terms.keys()
    for name in found.terms.keys() - {"experts"}:
        assert expected[name] == found.terms[name], name
    expert = 4 * shape.params_per_expert
    assert expert * uniform_loads(rows, shape) == pytest.approx(found.experts)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), num_layers=st.integers(2, 6))
def test_expert_bytes_are_the_sum_over_layers(data: st.DataObject, num_layers: int) -> None:
    """All, what prefill adds, and the shared ones: expert by expert in every layer that has any."""
    shape = replace(
        TINY_DEEPSEEK,
        num_layers=num_layers,
        windows=(0,) * num_layers,
        dense_layers=data.draw(st.integers(0, num_layers - 1)),
    )
    plan, starts = data.draw(plans(num_layers=num_layers))
    found = modelled_bytes([plan], shape, precision=FP32)
    rows = rows_of(plan, starts, num_layers=num_layers)
    expert = 4 * 3 * 4 * 3
    everyone, decodes = uniform_loads(rows, shape), uniform_loads(rows, shape, prefill=False)
    assert expert * everyone == pytest.approx(found.total)
    assert expert * (everyone - decodes) == pytest.approx(found.prefill)
    assert sum(2 * expert for mine in rows[shape.dense_layers :] if mine) == found.shared
