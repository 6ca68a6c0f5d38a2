"""Every operator in bfloat16 on the GPU, at real models' sizes, against its formula in float32.

Both get the same bfloat16 values. The formula rounds nothing; an operator rounds what it says it
rounds, each time by at most `ROUNDING` of a value, so that a row is off by at most so many of its
lengths. Errors of many values are smaller by their chance signs: about half of that is seen. A key
or a step of the inner axis that was left out would be off by far more.
"""

import sys
from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch

from lpbench.executors.torch_engine.device import compute_on
from lpbench.executors.torch_engine.kernels.chip import major_of
from lpbench.executors.torch_engine.kernels.expert_tiles import choose_tiles
from lpbench.executors.torch_engine.kernels.fused import FusedKernels, Routing, query_rows
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.rotary import rotary_table
from lpbench.executors.torch_engine.weights import LayerWeights, dummy_weights
from lpbench.plan.request import PAGE_TOKENS, pages_for
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from tests.gpu import machine

pytestmark = pytest.mark.gpu

DTYPE = torch.bfloat16
ROUNDING = 2.0**-8
"""Half the distance of neighbours, of the lower one: of a value, what a rounding errs at most."""

UNTOUCHED = 7.0
"""What an output holds before."""

MODELS = ("qwen3-30b-a3b", "gpt-oss-20b")

EXPERTS = {name: (name, False) for name in MODELS} | {"gpt-oss-20b-mxfp4": (MODELS[1], True)}
"""Models, and whether their experts are packed."""

ROWS = (1, 32, 128, 256, 512, 2048)
"""All sizes of an expert block, in both models."""

LENGTHS = (8191, 1, 17, 64, 65, 500, 0, 2048, 129)
"""Keys of decodes, in turn; one that is none."""

PROMPTS = (
    ((0, 512), (0, 1), (1000, 100), (37, 300)),
    ((0, 2048),),
    ((6000, 1024),),
)
"""Of a pass: where the rows of each prompt begin, and how many they are."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Layer:
    """One layer of a model, and what computes it.

    Attributes:
        shape: the model's, with one layer.
        weights: in bfloat16, or packed.
        kernels: what is tested.
        reference: the formulas.
        gate_up: the weights' matrices in float32.
        down: likewise.
    """

    shape: ModelShape
    weights: LayerWeights
    kernels: FusedKernels
    reference: ReferenceKernels
    gate_up: torch.Tensor
    down: torch.Tensor

    @property
    def group(self) -> int:
        """Query heads of a key-value head."""
        return self.shape.num_heads // self.shape.num_kv_heads

    @property
    def width(self) -> int:
        """Of a row of queries, keys and values."""
        return (self.shape.num_heads + 2 * self.shape.num_kv_heads) * self.shape.head_dim

    @property
    def windows(self) -> tuple[int, ...]:
        """What layers of the model have."""
        return (0, 128) if self.shape.has_sinks else (0,)


def shape_of(name: str) -> ModelShape:
    """Return a catalogue model with one layer, and hardly any vocabulary."""
    shape, _ = find_shape(name)
    return replace(shape, num_layers=1, windows=(0,), vocab_size=16)


@pytest.fixture(scope="module", params=MODELS)
def layer(request: pytest.FixtureRequest) -> Layer:
    """Return a layer of each model in turn."""
    return build_layer(request.param)


@pytest.fixture(scope="module", params=EXPERTS)
def expert_layer(request: pytest.FixtureRequest) -> Layer:
    """Return a layer of each model in turn, and one whose experts are packed."""
    name, packed = EXPERTS[request.param]
    return build_layer(name, packed=packed)


def build_layer(name: str, *, packed: bool = False) -> Layer:
    """Return a layer of a model."""
    compute_on(machine.DEVICE)
    shape = shape_of(name)
    weights = dummy_weights(
        shape, dtype=DTYPE, device=machine.DEVICE, seed=0, packed=packed
    ).layers[0]
    gate_up, down = (
        one.matrices(torch.float32) if isinstance(one, Mxfp4) else one.float()
        for one in (weights.gate_up, weights.down)
    )
    return Layer(
        shape=shape,
        weights=weights,
        kernels=machine.fused_kernels(shape, dtype=DTYPE, mxfp4=packed),
        reference=ReferenceKernels(shape),
        gate_up=gate_up,
        down=down,
    )


def normal(*dims: int, seed: int = 0) -> torch.Tensor:
    """Return random values."""
    generator = torch.Generator(machine.DEVICE).manual_seed(seed)
    return torch.randn(dims, generator=generator, device=machine.DEVICE).to(DTYPE)


def integers(values: object) -> torch.Tensor:
    """Return int32 values on the GPU."""
    return torch.tensor(values, dtype=torch.int32, device=machine.DEVICE)


def wide(values: torch.Tensor | None) -> torch.Tensor | None:
    """Return values in float32, where there are any."""
    return None if values is None else values.float()


def assert_rounded(expected: torch.Tensor, found: torch.Tensor, *, roundings: int) -> None:
    """Hold rows, the last axis, to float32 ones: off by at most so many roundings."""
    assert DTYPE == found.dtype
    assert expected.shape == found.shape
    off = (found.float() - expected).norm(dim=-1) / expected.norm(dim=-1)
    worst = off.max().item() / ROUNDING  # NaN where any is
    sys.stdout.write(f"{worst:.2f} of {roundings} roundings\n")
    assert worst <= roundings


@pytest.mark.parametrize("rows", [1, 257, 2048])
def test_parts_are_added_and_normed(layer: Layer, rows: int) -> None:
    """The sum is rounded once, the norm as the family does, with and without parts."""
    shape, weight = layer.shape, layer.weights.post_norm
    hidden = normal(rows, shape.hidden_size)
    parts = normal(rows, shape.top_k, shape.hidden_size, seed=1)
    total = hidden.float() + parts.float().sum(1)
    added, other = hidden.clone(), hidden.clone()
    normed = layer.kernels.add_norm(added, parts, weight)
    layer.kernels.add(other, parts)
    assert torch.equal(added, other)
    assert_rounded(total, added, roundings=1)
    expected = layer.reference.add_norm(added.float(), None, weight.float())
    roundings = 1 if shape.family == "gpt_oss" else 2
    assert_rounded(expected, normed, roundings=roundings)
    assert_rounded(expected, layer.kernels.add_norm(added, None, weight), roundings=roundings)


def test_heads_are_placed(layer: Layer) -> None:
    """Normed, turned, written to their slots, and nowhere else."""
    shape, rows, pages = layer.shape, 300, 40
    qkv = normal(rows, layer.width)
    generator = torch.Generator().manual_seed(0)
    positions = torch.randint(4096, (rows,), generator=generator).tolist()
    slots = integers(torch.randperm(pages * PAGE_TOKENS, generator=generator)[:rows].tolist())
    slots[::50] = -1
    rotary = rotary_table(shape, 4096, dtype=DTYPE, device=machine.DEVICE)
    norms, pools = layer.weights.head_norms, []
    outs = []
    for kernels, dtype in ((layer.reference, torch.float32), (layer.kernels, DTYPE)):
        dims = (2, pages, shape.num_kv_heads, PAGE_TOKENS, shape.head_dim)
        pools.append(torch.full(dims, torch.nan, dtype=dtype, device=machine.DEVICE))
        outs.append(qkv.to(dtype, copy=True))
        kernels.place_heads(
            outs[-1],
            None if norms is None else (norms[0].to(dtype), norms[1].to(dtype)),
            cos=rotary.cos[:, 0].to(dtype),
            sin=rotary.sin[:, 0].to(dtype),
            positions=integers(positions),
            slots=slots,
            pages=Pages(pools[-1][0], pools[-1][1], integers([[0]])),
        )
    expected, found = (one.view(rows, -1, shape.head_dim) for one in outs)
    turned = shape.num_heads + shape.num_kv_heads
    assert_rounded(expected[:, :turned], found[:, :turned], roundings=1 if norms is None else 3)
    assert torch.equal(qkv.view_as(found)[:, turned:], found[:, turned:])
    kept = slots >= 0
    at = slots[kept].long()
    for pool, heads in zip(
        pools[1], (found[:, shape.num_heads : turned], found[:, turned:]), strict=True
    ):
        assert torch.equal(heads[kept], pool[at // PAGE_TOKENS, :, at % PAGE_TOKENS])
    assert torch.equal(pools[0].isnan(), pools[1].isnan())


def paged(shape: ModelShape, lengths: list[int]) -> Pages:
    """Return random keys and values of sequences, one a seat, in shuffled pages.

    Behind their ends stands no number, nor does it in a page that the tables name there.
    """
    needed = [pages_for(length) for length in lengths]
    number = sum(needed) + 1
    dims = (number, shape.num_kv_heads, PAGE_TOKENS, shape.head_dim)
    keys, values = normal(*dims, seed=1), normal(*dims, seed=2)
    spare, *order = torch.randperm(number, generator=torch.Generator().manual_seed(0)).tolist()
    keys[spare] = values[spare] = torch.nan
    tables = torch.full((len(lengths), max(needed) + 4), spare, dtype=torch.int32)
    for seat, (length, count) in enumerate(zip(lengths, needed, strict=True)):
        mine, order = order[:count], order[count:]
        tables[seat, :count] = torch.tensor(mine, dtype=torch.int32)
        if length % PAGE_TOKENS:
            for pool in (keys, values):
                pool[mine[-1], :, length % PAGE_TOKENS :] = torch.nan
    return Pages(keys, values, tables.to(machine.DEVICE))


def float_pages(pages: Pages) -> Pages:
    """Return the same in float32."""
    return Pages(pages.keys.float(), pages.values.float(), pages.tables)


@pytest.mark.parametrize("decodes", [1, 9, 72])
def test_decodes_attend_to_their_keys(layer: Layer, decodes: int) -> None:
    """Many splits and few, short sequences and long, with windows and sinks where there are any."""
    shape = layer.shape
    lengths = [LENGTHS[at % len(LENGTHS)] for at in range(decodes)]
    pages = paged(shape, lengths)
    qkv, sinks = normal(decodes, layer.width), layer.weights.sinks
    for window in layer.windows:
        out = normal(decodes, shape.num_heads * shape.head_dim).fill_(UNTOUCHED)
        expected = out.float()
        seats, counts = integers([*range(decodes)]), integers(lengths)
        layer.reference.attend_decodes(
            qkv.float(),
            float_pages(pages),
            seats=seats,
            lengths=counts,
            window=window,
            sinks=wide(sinks),
            out=expected,
        )
        layer.kernels.attend_decodes(
            qkv, pages, seats=seats, lengths=counts, window=window, sinks=sinks, out=out
        )
        heads = (-1, shape.num_heads, shape.head_dim)
        assert_rounded(expected.view(heads), out.view(heads), roundings=2)
        assert (out[counts == 0] == UNTOUCHED).all()


@pytest.mark.parametrize("prompts", PROMPTS, ids=str)
def test_prompts_attend_causally(layer: Layer, prompts: tuple[tuple[int, int], ...]) -> None:
    """Prompts of one row and of many tiles, with prefixes; rows of no block are left alone."""
    shape, most = layer.shape, query_rows(layer.group)
    pages = paged(shape, [position + count for position, count in prompts])
    blocks, rows = [], 2
    for seat, (position, count) in enumerate(prompts):
        blocks += [
            (rows + at, min(most, count - at), position + at, seat) for at in range(0, count, most)
        ]
        rows += count
    rows += 2
    table = integers([*blocks, (0, 0, 0, 0), (0, 0, 0, 0)])
    qkv, sinks = normal(rows, layer.width), layer.weights.sinks
    for window in layer.windows:
        out = normal(rows, shape.num_heads * shape.head_dim).fill_(UNTOUCHED)
        expected = out.float()
        layer.reference.attend_prompts(
            qkv.float(),
            float_pages(pages),
            blocks=table,
            window=window,
            sinks=wide(sinks),
            out=expected,
        )
        layer.kernels.attend_prompts(qkv, pages, blocks=table, window=window, sinks=sinks, out=out)
        heads = (-1, shape.num_heads, shape.head_dim)
        assert_rounded(expected.view(heads), out.view(heads), roundings=2)
        untouched = (out == UNTOUCHED).all(1).nonzero()[:, 0].tolist()
        assert [0, 1, rows - 2, rows - 1] == untouched


@pytest.mark.parametrize(("rows", "drawn"), [*product((1, 300, 2048), (False, True))])
def test_rows_are_routed(layer: Layer, rows: int, *, drawn: bool) -> None:
    """The largest logits' experts, of equal ones the lowest, or those drawn; their bits are set."""
    shape, top_k, count = layer.shape, layer.shape.top_k, max(1, rows - 5)
    logits = normal(rows, shape.num_experts)
    order = (-normal(rows, shape.num_experts, seed=1) if drawn else -logits).float()
    chosen = order.sort(stable=True).indices[:, :top_k].short()
    routings = [
        Routing(
            count=integers([count]),
            owners=integers([at % 5 for at in range(rows)]),
            touched=torch.zeros((6, 3, shape.num_experts), dtype=torch.bool, device=machine.DEVICE)[
                :, 1
            ],
            drawn=table,
            sources=integers([*range(rows)]),
        )
        for table in (chosen, chosen if drawn else None)
    ]
    expected_ids, expected_share = layer.reference.route(logits.float(), routings[0])
    ids, share = layer.kernels.route(logits, routings[1])
    assert torch.equal(expected_ids, ids)
    torch.testing.assert_close(share[:count], expected_share[:count], rtol=1e-5, atol=1e-6)
    assert torch.equal(routings[0].touched, routings[1].touched)


@pytest.mark.parametrize("rows", ROWS)
def test_experts_multiply_their_rows(expert_layer: Layer, rows: int) -> None:
    """Blocks are the reference's, and so are both matmuls, with rows of padding where there are."""
    layer, shape, weights = expert_layer, expert_layer.shape, expert_layer.weights
    generator = torch.Generator(machine.DEVICE).manual_seed(rows)
    order = torch.rand((rows, shape.num_experts), generator=generator, device=machine.DEVICE)
    ids = order.argsort(1)[:, : shape.top_k].int().contiguous()
    ids[rows - rows // 10 :] = shape.num_experts
    share = torch.rand((rows, shape.top_k), generator=generator, device=machine.DEVICE)
    x = normal(rows, shape.hidden_size)
    blocks = layer.kernels.align(ids)
    reference = ReferenceKernels(shape, block=blocks.block)
    expected_blocks = reference.align(ids)
    count = int(expected_blocks.count)
    filled = count * blocks.block
    assert count == int(blocks.count)
    assert torch.equal(expected_blocks.experts[:count], blocks.experts[:count])
    assert torch.equal(expected_blocks.pairs, blocks.pairs)
    held = blocks.pairs < blocks.total
    held[filled:] = False
    expected = reference.gate_up(x.float(), layer.gate_up, wide(weights.gate_up_bias), blocks)
    inner = layer.kernels.gate_up(x, weights.gate_up, weights.gate_up_bias, blocks)
    # Gate, up and their activation; gate and up once more behind their biases.
    roundings = 3 if weights.gate_up_bias is None else 5
    assert_rounded(expected[held], inner[held], roundings=roundings)
    expected = reference.down(inner.float(), layer.down, wide(weights.down_bias), blocks, share)
    parts = layer.kernels.down(inner, weights.down, weights.down_bias, blocks, share)
    real = ids[:, 0] < shape.num_experts
    assert_rounded(expected[real], parts[real], roundings=2)


SCALES = range(2, 253)
"""Those with which all values are normal numbers of bfloat16: others are no model's."""


@pytest.mark.parametrize(("pairs", "tma"), [*product((8, 16, 32, 64), (True, False))])
def test_every_byte_and_scale_means_its_two_values(pairs: int, *, tma: bool) -> None:
    """All 256 bytes times all scales, exactly, by every tile: rows of one 1 each find them."""
    from lpbench.executors.torch_engine.kernels.experts import down

    major = major_of(machine.DEVICE)
    tiles = choose_tiles(pairs=pairs, num_experts=1, dtype=DTYPE, mxfp4=True, major=major)
    assert 2 * pairs == tiles.block_rows
    magnitudes = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    table = [sign * magnitude for sign, magnitude in product((1.0, -1.0), magnitudes)]
    values = [table[half] for byte in range(256) for half in (byte % 16, byte // 16)]
    scales = torch.tensor([*SCALES], dtype=torch.uint8, device=machine.DEVICE)
    every = torch.arange(256, device=machine.DEVICE).to(torch.uint8)
    matrices = Mxfp4(
        every.repeat(len(scales), 1)[None],
        scales[None, :, None].repeat(1, 1, 16),
    )
    ins = len(values)
    shape = replace(
        shape_of("gpt-oss-20b"),
        num_experts=1,
        top_k=1,
        hidden_size=len(scales),
        expert_size=ins,
    )
    ids = torch.zeros((ins, 1), dtype=torch.int32, device=machine.DEVICE)
    blocks = ReferenceKernels(shape, block=tiles.block_rows).align(ids)
    inner = torch.zeros((len(blocks.pairs), ins), dtype=DTYPE, device=machine.DEVICE)
    inner[:ins] = torch.eye(ins, dtype=DTYPE, device=machine.DEVICE)
    parts = down(
        inner=inner,
        matrices=matrices,
        bias=None,
        blocks=blocks,
        share=torch.ones((ins, 1), device=machine.DEVICE),
        tile=replace(tiles.down, tma=tma),
    )
    expected = [[value * 2.0 ** (scale - 127) for scale in SCALES] for value in values]
    assert torch.equal(torch.tensor(expected, device=machine.DEVICE), parts[:, 0].float())
