import pytest
import torch

from lpbench.executors.torch_engine.kernels.norm import add, add_norm
from lpbench.executors.torch_engine.kernels.reference import ReferenceKernels
from lpbench.shape.model import ModelShape
from tests.kernels.tiny import BOTH, QWEN


def drawn(*size: int) -> torch.Tensor:
    """Return numbers around 0, the same every time."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))


@pytest.mark.parametrize("num_parts", [None, 1, 3, 8])
@pytest.mark.parametrize("shape", BOTH, ids=lambda shape: shape.family)
def test_the_norm_is_that_of_the_sum_and_the_sum_stays(
    shape: ModelShape, num_parts: int | None
) -> None:
    """Any number of parts, none among them: the reference's norm, and its sum in place."""
    rows = 5
    hidden, weight = drawn(rows, shape.hidden_size), drawn(shape.hidden_size)
    parts = None if num_parts is None else drawn(rows, num_parts, shape.hidden_size)
    summed = hidden.clone()
    expected = ReferenceKernels(shape).add_norm(summed, parts, weight)
    normed = add_norm(
        hidden=hidden,
        parts=parts,
        weight=weight,
        eps=shape.rms_eps,
        rounds_unit=shape.family != "gpt_oss",
    )
    torch.testing.assert_close(expected, normed)
    torch.testing.assert_close(summed, hidden)


@pytest.mark.parametrize("width", [16, 48, 2880])
def test_all_parts_are_added_in_place(width: int) -> None:
    """The hidden states become themselves plus every part, whatever the width."""
    hidden, parts = drawn(3, width), drawn(3, 4, width)
    expected = hidden + parts.sum(1)
    add(hidden=hidden, parts=parts)
    torch.testing.assert_close(expected, hidden)


def test_the_norm_has_the_mean_square_of_its_weight() -> None:
    """A row's unit has mean square 1, but for epsilon, which alone shows in a row of zeros."""
    hidden = drawn(4, QWEN.hidden_size)
    hidden[1] = 0.0
    unit = add_norm(
        hidden=hidden,
        parts=None,
        weight=torch.ones(QWEN.hidden_size),
        eps=1e-6,
        rounds_unit=True,
    )
    square = torch.tensor([1.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(square, unit.square().mean(1), rtol=0.0, atol=1e-4)
