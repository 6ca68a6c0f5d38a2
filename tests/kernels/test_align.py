from collections import Counter

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lpbench.executors.torch_engine.kernels import align as module
from lpbench.executors.torch_engine.kernels.align import align
from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks, most_blocks
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from tests.kernels.tiny import QWEN

EXPERTS, TOP_K = QWEN.num_experts, QWEN.top_k

FORMS = {"few": 2**17, "many": 0}
"""Up to how many pairs times experts each program counts for itself: always, and never."""


@st.composite
def routings(draw: st.DrawFn) -> torch.Tensor:
    """Draw ids: distinct experts of each row, out of few or of all; the last rows are padding."""
    rows, experts = draw(st.integers(1, 40)), draw(st.integers(TOP_K, EXPERTS))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    ids = torch.rand(rows, experts, generator=generator).argsort(1)[:, :TOP_K].int()
    ids[draw(st.integers(0, rows)) :] = EXPERTS
    return ids.contiguous()


def held(blocks: ExpertBlocks) -> dict[int, list[int]]:
    """Return the pairs of each expert in the order in which the first `count` blocks hold them."""
    found: dict[int, list[int]] = {}
    for number in range(int(blocks.count)):
        pairs = blocks.pairs[number * blocks.block :][: blocks.block].tolist()
        real = [pair for pair in pairs if pair != blocks.total]
        assert real
        assert [blocks.total] * (blocks.block - len(real)) == pairs[len(real) :]
        found.setdefault(int(blocks.experts[number]), []).extend(real)
    return found


@pytest.mark.parametrize("few", FORMS.values(), ids=FORMS.keys())
def test_blocks_hold_every_pair_once_and_no_more_blocks_than_that_takes(few: int) -> None:
    """Closed forms: each touched expert's pairs, ascending, in ceil(pairs / block) blocks."""

    @settings(deadline=None, max_examples=30)
    @given(routings(), st.sampled_from([4, 16]))
    @example(torch.full((3, TOP_K), EXPERTS, dtype=torch.int32), 16)
    def check(ids: torch.Tensor, block: int) -> None:
        blocks = align(ids=ids, num_experts=EXPERTS, block=block)
        flat = ids.flatten().tolist()
        numbers = Counter(expert for expert in flat if expert < EXPERTS)
        assert sum(-(-number // block) for number in numbers.values()) == int(blocks.count)
        expected = {
            expert: [pair for pair, own in enumerate(flat) if own == expert]
            for expert in sorted(numbers)
        }
        assert expected == held(blocks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", few)
        check()


@pytest.mark.parametrize("few", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("rows", [1, 7, 700])
def test_buffers_are_the_references(monkeypatch: pytest.MonkeyPatch, rows: int, few: int) -> None:
    """In either form, in one step and in several: the same pairs, experts and count."""
    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "_MANY_SEEN_AT_ONCE", 1024)
    generator = torch.Generator().manual_seed(rows)
    ids = torch.rand(rows, EXPERTS, generator=generator).argsort(1)[:, :TOP_K].int().contiguous()
    ids[rows - rows // 5 :] = EXPERTS
    expected = ReferenceKernels(QWEN, block=16).align(ids)
    blocks = align(ids=ids, num_experts=EXPERTS, block=16)
    assert expected.count.equal(blocks.count)
    assert expected.pairs.equal(blocks.pairs)
    count = int(expected.count)
    assert expected.experts[:count].equal(blocks.experts[:count])


def test_one_expert_may_have_all_pairs() -> None:
    """Its blocks are the first and follow each other; sizes follow from shapes alone."""
    ids = torch.full((50, 1), 5, dtype=torch.int32)
    blocks = align(ids=ids, num_experts=EXPERTS, block=16)
    assert {5: list(range(50))} == held(blocks)
    assert [5] * 4 == blocks.experts[:4].tolist()
    assert most_blocks(pairs=50, num_experts=EXPERTS, block=16) * 16 == len(blocks.pairs)
