"""Expert matrices in mxfp4, as GPT-OSS publishes them: four bits a value, a scale for 32.

Owns: the layout of packed matrices, and what they say in plain values.
Must not know: Triton, checkpoint files.
"""

from dataclasses import dataclass

import torch

from lpbench.executors.torch_engine.checkpoint import dequantize_mxfp4

GROUP = 32
"""Values that share a scale."""


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

    def matrices(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the values as [E, in, out]; bfloat16 holds all finite ones exactly."""
        groups = self.blocks.unflatten(2, (-1, GROUP // 2))
        return dequantize_mxfp4(groups, self.scales).to(dtype).mT
