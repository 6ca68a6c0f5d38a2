import math
from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.executors.torch_engine.kernels.expert_tiles import Tile
from lpbench.executors.torch_engine.kernels.experts import down, gate_up
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from tests.kernels.tiny import GPT_OSS

SHAPE = replace(GPT_OSS, hidden_size=96, expert_size=32)
"""Inner sizes of whole groups; 96 is no multiple of a tile's 64."""

TILE = Tile(columns=64, inner=64, warps=4, stages=2, tma=False)

ONES = replace(SHAPE, num_experts=1, top_k=1)


@dataclass(frozen=True)
class Experts:
    """Packed experts and rows for them."""

    gate_up: Mxfp4
    gate_up_bias: torch.Tensor
    down: Mxfp4
    down_bias: torch.Tensor
    rows: torch.Tensor
    ids: torch.Tensor
    share: torch.Tensor

    @classmethod
    def draw(cls, rows: int, *, padding: int = 0, seed: int = 0) -> "Experts":
        """Draw all bytes; scales below 1, so that some values are clamped and most are not."""
        generator = torch.Generator().manual_seed(seed)
        experts, hidden, inner = SHAPE.num_experts, SHAPE.hidden_size, SHAPE.expert_size

        def packed(outs: int, ins: int) -> Mxfp4:
            blocks = torch.randint(0, 256, (experts, outs, ins // 2), generator=generator)
            scales = torch.randint(119, 125, (experts, outs, ins // 32), generator=generator)
            return Mxfp4(blocks.to(torch.uint8), scales.to(torch.uint8))

        def normal(*dims: int) -> torch.Tensor:
            return torch.randn(dims, generator=generator)

        ids = torch.rand(rows, experts, generator=generator).argsort(1)[:, : SHAPE.top_k].int()
        ids[rows - padding :] = experts
        return cls(
            gate_up=packed(2 * inner, hidden),
            gate_up_bias=normal(experts, 2 * inner),
            down=packed(hidden, inner),
            down_bias=normal(experts, hidden),
            rows=normal(rows, hidden),
            ids=ids.contiguous(),
            share=torch.rand(rows, SHAPE.top_k, generator=generator),
        )

    def compare(self, *, block: int, tile: Tile) -> None:
        """Hold both kernels to the reference on the unpacked values."""
        reference = ReferenceKernels(SHAPE, block=block)
        blocks = reference.align(self.ids)
        matrices = self.gate_up.matrices(torch.float32)
        expected = reference.gate_up(self.rows, matrices, self.gate_up_bias, blocks)
        inner = gate_up(
            rows=self.rows,
            matrices=self.gate_up,
            bias=self.gate_up_bias,
            blocks=blocks,
            top_k=SHAPE.top_k,
            limit=SHAPE.swiglu_limit,
            tile=tile,
        )
        held = blocks.pairs < blocks.total
        held[int(blocks.count) * block :] = False
        torch.testing.assert_close(inner[held], expected[held], rtol=1e-4, atol=1e-4)
        matrices = self.down.matrices(torch.float32)
        parts = reference.down(expected, matrices, self.down_bias, blocks, self.share)
        real = self.ids[:, 0] < SHAPE.num_experts
        found = down(
            inner=expected,
            matrices=self.down,
            bias=self.down_bias,
            blocks=blocks,
            share=self.share,
            tile=tile,
        )
        torch.testing.assert_close(found[real], parts[real], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("tma", [False, True], ids=["pointers", "TMA"])
@pytest.mark.parametrize(("columns", "inner"), [(64, 64), (32, 32), (64, 128)])
@pytest.mark.parametrize("block", [16, 64])
def test_packed_experts_are_the_references(
    block: int, columns: int, inner: int, *, tma: bool
) -> None:
    """Several blocks of an expert, rows of padding, tiles that divide the sizes and others."""
    experts = Experts.draw(40, padding=3)
    experts.ids[:30] = torch.tensor([1, 7, 11])
    experts.compare(block=block, tile=replace(TILE, columns=columns, inner=inner, tma=tma))


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 20), st.integers(0, 20), st.integers(0, 999))
def test_random_routings_are_the_references(rows: int, padding: int, seed: int) -> None:
    """Any number of rows, of which any are padding."""
    experts = Experts.draw(rows, padding=min(padding, rows), seed=seed)
    experts.compare(block=16, tile=TILE)


def weight_by_weight(matrices: Mxfp4) -> torch.Tensor:
    """Return one expert's values [in, out] as the kernel unpacks them: rows of one 1 each."""
    _, outs, _ = matrices.blocks.shape
    ins = matrices.blocks.shape[2] * 2
    shape = replace(ONES, hidden_size=outs, expert_size=ins)
    blocks = ReferenceKernels(shape).align(torch.zeros(ins, 1, dtype=torch.int32))
    inner = torch.zeros(len(blocks.pairs), ins)
    inner[:ins] = torch.eye(ins)
    parts = down(
        inner=inner,
        matrices=matrices,
        bias=None,
        blocks=blocks,
        share=torch.ones(ins, 1),
        tile=replace(TILE, columns=32, inner=32),
    )
    return parts[:, 0]


def test_every_byte_means_its_two_values() -> None:
    """All 256, by the format's own table, low half first."""
    magnitudes = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    table = [sign * magnitude for sign, magnitude in product((1.0, -1.0), magnitudes)]
    blocks = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    scales = torch.full((1, 16, 1), 127, dtype=torch.uint8)
    expected = [[table[byte % 16], table[byte // 16]] for byte in range(256)]
    found = weight_by_weight(Mxfp4(blocks, scales))
    assert torch.tensor(expected).view(16, 32).T.equal(found)


def test_every_scale_means_its_power_of_two() -> None:
    """All 256 times 1, exactly: the least is subnormal, the last is not a number."""
    scales = torch.arange(256, dtype=torch.uint8).view(1, 256, 1)
    blocks = torch.full((1, 256, 16), 0x02, dtype=torch.uint8)  # 1, then 0
    found = weight_by_weight(Mxfp4(blocks, scales))
    assert [2.0 ** (scale - 127) for scale in range(255)] == found[0, :255].tolist()
    assert found[:, 255].isnan().all()


def test_packed_matrices_know_their_values() -> None:
    """As [E, in, out]: 0.5 and -6 share a byte, and 4 is their group's scale."""
    blocks = torch.zeros(1, 2, 16, dtype=torch.uint8)
    blocks[0, 1, 3] = 0xF1
    scales = torch.full((1, 2, 1), 129, dtype=torch.uint8)
    matrices = Mxfp4(blocks, scales).matrices(torch.bfloat16)
    assert (1, 32, 2) == tuple(matrices.shape)
    assert torch.bfloat16 == matrices.dtype
    assert [2.0, -24.0] == matrices[0, 6:8, 1].tolist()
    assert 2 == int(matrices.count_nonzero())


def test_scales_are_put_in_order_once() -> None:
    """Neighbours along `out`; those that are already so are taken as they are."""
    scales = torch.randint(0, 255, (2, 6, 3), dtype=torch.uint8)
    first = Mxfp4(torch.zeros(2, 6, 48, dtype=torch.uint8), scales)
    assert first.scales.equal(scales)
    assert 1 == first.scales.stride(1)
    assert Mxfp4(first.blocks, first.scales).scales.data_ptr() == first.scales.data_ptr()


@pytest.mark.parametrize(
    ("blocks", "scales"),
    [((1, 2, 16), (1, 2, 2)), ((1, 2, 16), (1, 3, 1)), ((2, 2, 16), (1, 2, 1))],
)
def test_blocks_and_scales_have_one_shape(blocks: tuple[int, ...], scales: tuple[int, ...]) -> None:
    """Anything else is our own mistake."""
    with pytest.raises(AssertionError):
        Mxfp4(torch.zeros(blocks, dtype=torch.uint8), torch.zeros(scales, dtype=torch.uint8))


def test_bfloat16_holds_every_value_exactly() -> None:
    """A scale of any size but the smallest, where float32 has subnormals that bfloat16 lacks."""
    blocks = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(254, 16, 16).contiguous()
    scales = torch.arange(1, 255, dtype=torch.uint8).view(254, 1, 1).expand(254, 16, 1)
    packed = Mxfp4(blocks, scales)
    wide, narrow = (packed.matrices(dtype) for dtype in (torch.float32, torch.bfloat16))
    assert wide.equal(narrow.float())
    assert math.inf == wide.max()
