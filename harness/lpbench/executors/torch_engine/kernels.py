"""Which of torch's kernels a run gets, decided once, before anything is loaded.

Owns: the choice by device, dtype and shape, and its names in the record.
Must not know: how a kernel is called.
"""

from dataclasses import dataclass

import torch

from lpbench.executors.torch_engine.grouped import BLOCKS, MKL, TORCH, mkl_is_there
from lpbench.shape.model import ModelShape

_FAST_GROUPED = (9, 10)
"""Major compute capabilities (Hopper, Blackwell) on which torch's grouped_mm is one kernel."""

_ALIGNED = 8
"""bfloat16 values in the 16 bytes that this kernel asks the rows of its operands to start at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The choice.

    Attributes:
        experts: a name in `grouped.GROUPED_MM`.
        attention: "sdpa", which takes whole prompts as causal; "sdpa by query blocks" where torch
            would need all scores of a whole prompt at once.
        tf32: whether float32 matmuls may round their inputs to 10 bits.
        cudnn_attention: whether SDPA may take cuDNN's kernel, which plans anew for every length.
    """

    experts: str
    attention: str
    tf32: bool
    cudnn_attention: bool

    @property
    def fused_causal(self) -> bool:
        """Whether a whole prompt is one call."""
        return self.attention == "sdpa"


def pick_kernels(shape: ModelShape, *, device: torch.device, dtype: torch.dtype) -> Kernels:
    """Return the fastest that torch has for this device, without a host read inside a pass.

    torch's grouped_mm reads the group ends on the host, and loops, in float32 and on other GPUs
    than Hopper and Blackwell (aten/src/ATen/native/GroupedMMUtils.h, `_grouped_mm_fallback`), and
    SDPA has no fused float32 kernel on CUDA for query heads that share keys.
    """
    is_cpu, is_narrow = device.type == "cpu", dtype == torch.bfloat16
    return Kernels(
        experts=_experts(shape, device=device, is_narrow=is_narrow),
        attention="sdpa" if is_cpu or is_narrow else "sdpa by query blocks",
        tf32=torch.get_float32_matmul_precision() != "highest",
        cudnn_attention=not is_cpu and torch.backends.cuda.cudnn_sdp_enabled(),
    )


def _experts(shape: ModelShape, *, device: torch.device, is_narrow: bool) -> str:
    if device.type == "cpu":
        return TORCH if is_narrow or not mkl_is_there() else MKL
    is_aligned = shape.hidden_size % _ALIGNED == shape.expert_size % _ALIGNED == 0
    is_fast = torch.cuda.get_device_capability(device)[0] in _FAST_GROUPED
    return TORCH if is_narrow and is_aligned and is_fast else BLOCKS
