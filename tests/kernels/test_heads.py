from dataclasses import dataclass, replace

import pytest
import torch

from lpbench.executors.torch_engine.kernels.heads import place_heads
from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.rotary import rotary_table
from lpbench.shape.model import ModelShape
from tests.kernels.tiny import GPT_OSS, QWEN

NUM_PAGES, PAGE_TOKENS, NUM_POSITIONS = 5, 4, 30
UNTOUCHED = 7.0
"""What the pages hold before."""

POSITIONS = torch.tensor([0, 1, 29, 12, 13], dtype=torch.int32)
SLOTS = torch.tensor([3, 4, 19, -1, 8], dtype=torch.int32)
"""The fourth row is padding."""

HEADS = {"six to one": (6, 1), "twelve to six": (12, 6), "eight to four": (8, 4)}
"""A program takes one, two and four heads."""


@dataclass(frozen=True)
class Case:
    """New rows of one layer, and empty pages for them."""

    shape: ModelShape
    qkv: torch.Tensor
    norms: tuple[torch.Tensor, torch.Tensor] | None
    pages: Pages

    @classmethod
    def of(cls, shape: ModelShape) -> "Case":
        """Draw rows and norms."""
        generator = torch.Generator().manual_seed(shape.num_heads)
        heads = shape.num_heads + 2 * shape.num_kv_heads
        pool = (NUM_PAGES, shape.num_kv_heads, PAGE_TOKENS, shape.head_dim)
        norms = torch.randn(2, shape.head_dim, generator=generator)
        return cls(
            shape=shape,
            qkv=torch.randn(len(SLOTS), heads * shape.head_dim, generator=generator),
            norms=(norms[0], norms[1]) if shape.has_qk_norm else None,
            pages=Pages(
                keys=torch.full(pool, UNTOUCHED),
                values=torch.full(pool, UNTOUCHED),
                tables=torch.zeros(1, 1, dtype=torch.int32),
            ),
        )

    def place(self) -> None:
        """Let the kernel do its work."""
        cos, sin = self.tables()
        place_heads(
            qkv=self.qkv,
            norms=self.norms,
            cos=cos,
            sin=sin,
            positions=POSITIONS,
            slots=SLOTS,
            pages=self.pages,
            eps=self.shape.rms_eps,
        )

    def place_by_reference(self) -> None:
        """Let the reference do it."""
        cos, sin = self.tables()
        ReferenceKernels(self.shape).place_heads(
            self.qkv,
            self.norms,
            cos=cos,
            sin=sin,
            positions=POSITIONS,
            slots=SLOTS,
            pages=self.pages,
        )

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cos and sin."""
        table = rotary_table(
            self.shape, NUM_POSITIONS, dtype=torch.float32, device=torch.device("cpu")
        )
        return table.cos[:, 0], table.sin[:, 0]


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS.keys())
@pytest.mark.parametrize("shape", [QWEN, GPT_OSS], ids=lambda shape: shape.family)
def test_heads_are_turned_in_place_and_put_into_pages(
    shape: ModelShape, heads: tuple[int, int]
) -> None:
    """With norms and without, however many heads: the reference's rows and pages."""
    shape = replace(shape, num_heads=heads[0], num_kv_heads=heads[1])
    expected, case = Case.of(shape), Case.of(shape)
    expected.place_by_reference()
    case.place()
    torch.testing.assert_close(expected.qkv, case.qkv)
    torch.testing.assert_close(expected.pages.keys, case.pages.keys)
    torch.testing.assert_close(expected.pages.values, case.pages.values)


def test_a_row_of_padding_touches_no_page() -> None:
    """As many places of the pool change as rows have a slot, each in all its values."""
    case = Case.of(QWEN)
    case.place()
    for pool in (case.pages.keys, case.pages.values):
        written = (pool != UNTOUCHED).transpose(1, 2).flatten(2).flatten(0, 1)
        slots = SLOTS[SLOTS >= 0].sort().values
        assert slots.tolist() == written.any(1).nonzero()[:, 0].tolist()
        assert written[slots].all()


def test_values_go_to_their_pages_bit_by_bit() -> None:
    """No norm and no rotation is a value's: what was projected is what is kept."""
    case = Case.of(QWEN)
    values = case.qkv[:, -QWEN.head_dim :].clone()
    case.place()
    kept = case.pages.values.flatten(0, 2)  # of one head: slots in their order
    for row, slot in enumerate(SLOTS.tolist()):
        if slot >= 0:
            assert values[row].equal(kept[slot])
    assert values.equal(case.qkv[:, -QWEN.head_dim :])


def test_turning_keeps_lengths_and_position_0_as_it_was() -> None:
    """A rotation without norms changes no head's length, and nothing where the angle is 0."""
    case = Case.of(replace(QWEN, family="mixtral"))
    before = case.qkv.clone()
    case.place()
    assert before[0].equal(case.qkv[0])
    lengths = (rows.unflatten(1, (-1, QWEN.head_dim)).norm(dim=-1) for rows in (before, case.qkv))
    torch.testing.assert_close(*lengths)
