from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.executors.torch_engine.kernels.fused import Routing
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.executors.torch_engine.kernels.router import route
from lpbench.shape.model import ModelShape
from tests.kernels.tiny import BOTH, GPT_OSS, QWEN

EXPERTS, TOP_K = QWEN.num_experts, QWEN.top_k
OWNERS, POSITIONS = 3, 20
SUMMED = {
    "over all": (replace(QWEN, norm_topk=False), False),
    "of all, to the sum 1": (replace(QWEN, norm_topk=True), True),
    "over chosen": (GPT_OSS, True),
}
"""Shapes, and whether their weights are a softmax over the chosen experts."""


@dataclass(frozen=True)
class Case:
    """Rows to route."""

    logits: torch.Tensor
    routing: Routing

    @classmethod
    def of(cls, rows: int, *, count: int, seed: int = 0, drawn: bool = False) -> "Case":
        """Draw logits that differ, owners, and experts if asked to; the bits lie apart."""
        generator = torch.Generator().manual_seed(seed)
        orders = torch.rand(POSITIONS, EXPERTS, generator=generator).argsort(1)
        routing = Routing(
            count=torch.tensor([count], dtype=torch.int32),
            owners=torch.randint(OWNERS, (rows,), generator=generator, dtype=torch.int32),
            touched=torch.zeros(OWNERS, EXPERTS + 5, dtype=torch.bool)[:, :EXPERTS],
            drawn=orders.short()[:, :TOP_K] if drawn else None,
            sources=torch.randint(POSITIONS, (rows,), generator=generator, dtype=torch.int32),
        )
        return cls(3 * torch.randn(rows, EXPERTS, generator=generator), routing)

    def route(self, *, over_chosen: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Let the kernel do its work."""
        return route(logits=self.logits, routing=self.routing, top_k=TOP_K, over_chosen=over_chosen)


def bits(ids: torch.Tensor, routing: Routing) -> torch.Tensor:
    """Return which bits the rows' experts set, counted one by one."""
    touched = torch.zeros(OWNERS, EXPERTS, dtype=torch.bool)
    for row in range(int(routing.count)):
        for expert in ids[row].tolist():
            touched[routing.owners[row], expert] = True
    return touched


@pytest.mark.parametrize("drawn", [False, True], ids=["chosen", "drawn"])
@pytest.mark.parametrize(("shape", "over_chosen"), SUMMED.values(), ids=SUMMED.keys())
def test_experts_weights_and_bits_are_the_references(
    shape: ModelShape, *, over_chosen: bool, drawn: bool
) -> None:
    """However weights are summed, and whoever chooses: what the reference says."""
    count = 6
    case, expected = (Case.of(8, count=count, drawn=drawn) for _ in range(2))
    expected_ids, expected_share = ReferenceKernels(shape).route(expected.logits, expected.routing)
    ids, share = case.route(over_chosen=over_chosen)
    assert (torch.int32, torch.float32) == (ids.dtype, share.dtype)
    assert expected_ids.equal(ids)
    torch.testing.assert_close(expected_share[:count], share[:count])
    assert expected.routing.touched.equal(case.routing.touched)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), rows=st.integers(1, 9), data=st.data())
def test_bits_are_those_of_a_count_pair_by_pair(seed: int, rows: int, data: st.DataObject) -> None:
    """Whatever the rows, those of padding set none, and their experts are none."""
    count, drawn = data.draw(st.integers(0, rows)), data.draw(st.booleans())
    case = Case.of(rows, count=count, seed=seed, drawn=drawn)
    ids, share = case.route()
    assert bits(ids, case.routing).equal(case.routing.touched)
    assert (ids[count:] == EXPERTS).all()
    torch.testing.assert_close(torch.ones(count), share[:count].sum(1))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-2, 2), min_size=EXPERTS, max_size=EXPERTS))
def test_of_equal_logits_the_lowest_expert_comes_first(logits: list[int]) -> None:
    """The experts are those of a stable sort, largest logit first."""
    case = Case.of(1, count=1)
    case.logits[0] = torch.tensor(logits)
    ids, _ = case.route()
    expected = sorted(range(EXPERTS), key=lambda expert: -logits[expert])
    assert expected[:TOP_K] == ids[0].tolist()


def test_bits_that_are_set_stay() -> None:
    """A bit of before is not cleared."""
    case = Case.of(2, count=2)
    case.routing.touched[:] = True
    case.route()
    assert case.routing.touched.all()


@pytest.mark.parametrize("shape", BOTH, ids=lambda shape: shape.family)
def test_large_logits_overflow_nowhere(shape: ModelShape) -> None:
    """Logits in the hundreds, far apart: weights are the reference's, and finite."""
    case, expected = Case.of(4, count=4), Case.of(4, count=4)
    case.logits.mul_(100)
    expected.logits.mul_(100)
    _, expected_share = ReferenceKernels(shape).route(expected.logits, expected.routing)
    _, share = case.route()
    assert share.isfinite().all()
    torch.testing.assert_close(expected_share, share)
