from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks
from lpbench.executors.torch_engine.kernels.expert_tiles import Tile
from lpbench.executors.torch_engine.kernels.experts import down, gate_up
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.shape.model import ModelShape
from tests.kernels.tiny import BOTH, GPT_OSS, QWEN

TILE = Tile(columns=32, inner=32, warps=4, stages=2, tma=False)
"""Neither 40 columns nor 48 or 40 inner values are a multiple of it."""

WEIGHTS = pytest.mark.parametrize("tma", [False, True], ids=["pointers", "TMA"])


@dataclass(frozen=True)
class Layer:
    """The experts of a tiny model and rows for them."""

    shape: ModelShape
    gate_up: torch.Tensor
    gate_up_bias: torch.Tensor | None
    down: torch.Tensor
    down_bias: torch.Tensor | None
    rows: torch.Tensor
    ids: torch.Tensor
    share: torch.Tensor

    @classmethod
    def draw(cls, shape: ModelShape, *, rows: int, padding: int = 0, seed: int = 0) -> "Layer":
        """Draw all values; large ones, so that GPT-OSS's clamps are met."""
        generator = torch.Generator().manual_seed(seed)
        experts, hidden, inner = shape.num_experts, shape.hidden_size, shape.expert_size
        has_bias = shape.has_expert_bias

        def normal(*dims: int) -> torch.Tensor:
            return torch.randn(dims, generator=generator)

        ids = torch.rand(rows, experts, generator=generator).argsort(1)[:, : shape.top_k].int()
        ids[rows - padding :] = experts
        return cls(
            shape=shape,
            gate_up=normal(experts, hidden, 2 * inner),
            gate_up_bias=normal(experts, 2 * inner) if has_bias else None,
            down=normal(experts, inner, hidden),
            down_bias=normal(experts, hidden) if has_bias else None,
            rows=normal(rows, hidden),
            ids=ids.contiguous(),
            share=torch.rand(rows, shape.top_k, generator=generator),
        )

    @property
    def limit(self) -> float | None:
        """The clamp where the family has one."""
        return self.shape.swiglu_limit if self.shape.family == "gpt_oss" else None

    def align(self, block: int) -> ExpertBlocks:
        """Return the pairs in blocks."""
        return ReferenceKernels(self.shape, block=block).align(self.ids)

    def gate_up_of(self, blocks: ExpertBlocks, tile: Tile) -> torch.Tensor:
        """Run the first kernel."""
        return gate_up(
            rows=self.rows,
            matrices=self.gate_up,
            bias=self.gate_up_bias,
            blocks=blocks,
            top_k=self.shape.top_k,
            limit=self.limit,
            tile=tile,
        )

    def down_of(self, inner: torch.Tensor, blocks: ExpertBlocks, tile: Tile) -> torch.Tensor:
        """Run the second kernel."""
        return down(
            inner=inner,
            matrices=self.down,
            bias=self.down_bias,
            blocks=blocks,
            share=self.share,
            tile=tile,
        )

    def compare(self, blocks: ExpertBlocks, tile: Tile) -> None:
        """Hold both kernels to the reference, where there are pairs."""
        reference = ReferenceKernels(self.shape, block=blocks.block)
        expected = reference.gate_up(self.rows, self.gate_up, self.gate_up_bias, blocks)
        held = holds_pair(blocks)
        inner = self.gate_up_of(blocks, tile)
        torch.testing.assert_close(inner[held], expected[held], rtol=1e-4, atol=1e-4)
        parts = reference.down(expected, self.down, self.down_bias, blocks, self.share)
        real = self.ids[:, 0] < self.shape.num_experts
        found = self.down_of(expected, blocks, tile)
        torch.testing.assert_close(found[real], parts[real], rtol=1e-4, atol=1e-3)


def holds_pair(blocks: ExpertBlocks) -> torch.Tensor:
    """Return which places of the blocks hold a pair."""
    return (blocks.pairs < blocks.total) & (
        torch.arange(len(blocks.pairs)) < blocks.count * blocks.block
    )


@WEIGHTS
@pytest.mark.parametrize("block", [16, 32, 64, 128])
@pytest.mark.parametrize("shape", BOTH, ids=lambda shape: shape.family)
def test_both_matmuls_are_the_references(shape: ModelShape, block: int, *, tma: bool) -> None:
    """At odd sizes, with experts of no, one and several blocks, and rows of padding."""
    layer = Layer.draw(shape, rows=70, padding=3)
    layer.ids[:60, 0] = 5
    layer.ids[:60, 1:] = torch.tensor([0, 11])
    layer.compare(layer.align(block), replace(TILE, tma=tma))


@WEIGHTS
@pytest.mark.parametrize(("columns", "inner"), [(16, 16), (64, 64), (16, 64), (128, 16)])
def test_tiles_of_any_form_give_the_same(columns: int, inner: int, *, tma: bool) -> None:
    """Tiles that divide the sizes, that are larger than them, and neither."""
    layer = Layer.draw(GPT_OSS, rows=9)
    layer.compare(layer.align(16), replace(TILE, columns=columns, inner=inner, tma=tma))


@pytest.mark.parametrize("group_rows", [2, 3, 8])
def test_the_order_of_blocks_changes_nothing(group_rows: int) -> None:
    """Groups of blocks that run together, their number no multiple of a group's."""
    layer = Layer.draw(QWEN, rows=20, padding=2)
    blocks = layer.align(16)
    plain, grouped = (
        layer.gate_up_of(blocks, tile) for tile in (TILE, replace(TILE, group_rows=group_rows))
    )
    held = holds_pair(blocks)
    assert plain[held].equal(grouped[held])
    layer.compare(blocks, replace(TILE, group_rows=group_rows))


@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(BOTH),
    st.integers(1, 40),
    st.integers(0, 40),
    st.integers(0, 999),
    st.booleans(),
)
@example(QWEN, 3, 3, 0, False)  # all rows are padding
def test_random_routings_are_the_references(
    shape: ModelShape,
    rows: int,
    padding: int,
    seed: int,
    tma: bool,  # noqa: FBT001 - drawn
) -> None:
    """Any number of rows, of which any are padding."""
    layer = Layer.draw(shape, rows=rows, padding=min(padding, rows), seed=seed)
    layer.compare(layer.align(16), replace(TILE, columns=64, inner=64, tma=tma))


def test_one_pair_by_hand() -> None:
    """SiLU(gate) * up, and the result times its weight: of ones, with all weights known."""
    shape = replace(QWEN, num_experts=2, top_k=1)
    layer = Layer.draw(shape, rows=1)
    layer.ids[:] = 1
    layer.rows[:] = 1 / 48
    layer.gate_up[:] = torch.nan
    layer.gate_up[1, :, :40], layer.gate_up[1, :, 40:] = 2.0, 3.0
    layer.down[1], layer.share[:] = 0.5 / 40, 0.25
    blocks = layer.align(16)
    inner = layer.gate_up_of(blocks, TILE)
    silu = float(F.silu(torch.tensor(2.0)))
    torch.testing.assert_close(inner[0], torch.full((40,), silu * 3.0))
    parts = layer.down_of(inner, blocks, TILE)
    torch.testing.assert_close(parts[0, 0], torch.full((48,), silu * 3.0 * 0.5 * 0.25))


@WEIGHTS
def test_no_other_experts_values_are_multiplied(*, tma: bool) -> None:
    """Experts without pairs are no numbers: those before and behind in memory leave no trace."""
    layer = Layer.draw(GPT_OSS, rows=6)
    layer.ids[:] = torch.tensor([2, 5, 8])
    for matrices in (layer.gate_up, layer.down):
        for expert in (0, 1, 3, 4, 6, 7, 9, 10, 11):
            matrices[expert] = torch.nan
    layer.compare(layer.align(16), replace(TILE, columns=64, inner=64, tma=tma))


def test_where_there_is_no_pair_nothing_is_read_or_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows of padding, places of padding and blocks past the count keep what they had."""
    layer = Layer.draw(QWEN, rows=8, padding=3)
    layer.rows[5:] = torch.nan
    blocks = layer.align(16)
    blocks.experts[int(blocks.count) :] = 2**30  # an address that would end the test
    new_empty = torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda *sizes, **named: new_empty(*sizes, **named).fill_(-7)
    )
    inner = layer.gate_up_of(blocks, TILE)
    held = holds_pair(blocks)
    assert (inner[~held] == -7.0).all()
    assert inner[held].isfinite().all()
    inner[~held] = torch.nan
    parts = layer.down_of(inner, blocks, TILE)
    assert (parts[5:] == -7.0).all()
    assert parts[:5].isfinite().all()


def test_clamps_hold_what_is_too_large() -> None:
    """GPT-OSS's activation of huge gates and ups: (limit + 1) * limit * sigmoid(1.702 * limit)."""
    layer = Layer.draw(GPT_OSS, rows=1)
    layer.rows[:], layer.gate_up[:] = 10.0, 10.0
    blocks = layer.align(16)
    limit = GPT_OSS.swiglu_limit
    expected = (limit + 1) * limit * float(torch.tensor(1.702 * limit).sigmoid())
    inner = layer.gate_up_of(blocks, TILE)
    torch.testing.assert_close(inner[holds_pair(blocks)], torch.full((3, 40), expected))
