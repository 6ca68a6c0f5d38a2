"""Expert matrices in mxfp4, as GPT-OSS publishes them: four bits a value, a scale for 32.

Owns: the format, the layout of packed matrices, and what they say in plain values.
Must not know: Triton, checkpoint files.
"""

from dataclasses import dataclass
from math import nan

import torch

from lpbench.shape.precision import MXFP4_GROUP

GROUP = MXFP4_GROUP
"""Values that share a scale."""

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the three low bits of an E2M1 value mean; the fourth is the sign."""

BIAS = 127
"""Of a scale: s stands for 2^(s - 127)."""


@dataclass(frozen=True, slots=True)
class Mxfp4:
    """The matrices of a layer's experts (OCP Microscaling Formats 1.0, MXFP4).

    Stored [E, out, in], for the values that share bytes and scales are neighbours along `in`.

    Attributes:
        blocks: uint8 [E, out, in / 2], two E2M1 values a byte, the one in its low half first.
        scales: uint8 [E, out, in / 32], E8M0: 2^(scale - 127); 255 makes its values not-a-number.
            Neighbours in memory along `out`, whichever way they are given: a kernel wants those of
            many outputs and few groups at a time.
    """

    blocks: torch.Tensor
    scales: torch.Tensor

    def __post_init__(self) -> None:
        """Hold blocks and scales to one shape, and put the scales in order."""
        assert self.blocks.dtype == self.scales.dtype == torch.uint8
        assert self.blocks.shape[:2] == self.scales.shape[:2]
        assert self.blocks.shape[2] * 2 == self.scales.shape[2] * GROUP
        assert self.blocks.is_contiguous()
        object.__setattr__(self, "scales", self.scales.mT.contiguous().mT)

    @classmethod
    def empty(cls, dims: tuple[int, ...], *, device: torch.device | str) -> "Mxfp4":
        """Return room for matrices of dimensions [E, in, out]; what it holds is undefined."""
        experts, inputs, outputs = dims
        blocks, scales = (
            torch.empty((experts, outputs, inputs // per), dtype=torch.uint8, device=device)
            for per in (2, GROUP)
        )
        return cls(blocks, scales)

    @property
    def inputs(self) -> int:
        """Values of a row."""
        return self.blocks.shape[2] * 2

    def matrices(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the values as [E, in, out]; bfloat16 holds all finite ones exactly."""
        groups = self.blocks.unflatten(2, (-1, GROUP // 2))
        return dequantize_mxfp4(groups, self.scales).to(dtype).mT


def dequantize_mxfp4(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the values of an mxfp4 tensor (OCP Microscaling Formats 1.0, MXFP4).

    A byte holds two E2M1 values, the one in its low half first; 16 bytes share a scale s, which
    multiplies them by 2^(s - 127), or makes them not-a-number where s is 255.

    Args:
        blocks: uint8 [.., groups, 16].
        scales: uint8 [.., groups].

    Returns:
        float32 [.., 32 * groups]; all finite values are exact, in bfloat16 too.
    """
    device = blocks.device
    value = torch.tensor(
        [sign * magnitude for sign in (1.0, -1.0) for magnitude in MAGNITUDES], device=device
    )
    pair = torch.stack((value.repeat(16), value.repeat_interleave(16)), dim=1)
    power = torch.tensor([*(2.0 ** (scale - BIAS) for scale in range(255)), nan], device=device)
    values = pair.index_select(0, blocks.flatten().int()).view(*blocks.shape, 2)
    values *= power[scales.int()][..., None, None]
    return values.flatten(start_dim=-3)
