"""Which kernels a run gets, decided once, before anything is loaded.

Owns: the choice by device, dtype and shape, and its names in the record.
Must not know: how a kernel is called.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import torch

from lpbench.errors import UnavailableError
from lpbench.executors.torch_engine.grouped import BLOCKS, MKL, TORCH, mkl_is_there
from lpbench.shape.model import ModelShape

_FAST_GROUPED = (9, 10)
"""Major compute capabilities (Hopper, Blackwell) on which torch's grouped_mm is one kernel."""

TRITON = "triton"

_HEADS = (16, 32, 64, 128)
"""Values of a head: tensor cores take 16 at once; tiles of more than 128 fit no shared memory."""

_ALIGNED = 8
"""bfloat16 values in the 16 bytes that this kernel asks the rows of its operands to start at."""


_LEAST_CAPABILITY = (8, 0)
"""Ampere's: bfloat16 in tensor cores, and copies to shared memory beside the computation."""


_SMALL, _SMALL_MAJOR = ((8, 6), (8, 9)), 12
"""Capabilities of chips whose programs have 99 KiB of shared memory (CUDA C++ Programming Guide,
"Compute Capabilities"): the tiles are cut for those with 163 and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The choice.

    Attributes:
        layers: "torch", operator by operator and request by request; "triton", our fused kernels.
        experts: a name in `grouped.GROUPED_MM`, or "triton".
        attention: "triton"; "sdpa", which takes whole prompts as causal; "sdpa by query blocks"
            where torch would need all scores of a whole prompt at once.
        tf32: whether float32 matmuls may round their inputs to 10 bits.
        cudnn_attention: whether SDPA may take cuDNN's kernel, which plans anew for every length.
    """

    layers: str = "torch"
    experts: str
    attention: str
    tf32: bool
    cudnn_attention: bool

    @property
    def fused_causal(self) -> bool:
        """Whether a whole prompt is one call."""
        return self.attention == "sdpa"


def pick_kernels(
    shape: ModelShape, *, device: torch.device, dtype: torch.dtype, layers: str = "torch"
) -> Kernels:
    """Return the fastest there are for this device, without a host read inside a pass.

    torch's grouped_mm reads the group ends on the host, and loops, in float32 and on other GPUs
    than Hopper and Blackwell (aten/src/ATen/native/GroupedMMUtils.h, `_grouped_mm_fallback`), and
    SDPA has no fused float32 kernel on CUDA for query heads that share keys.

    Args:
        shape: the model.
        device: where it runs.
        dtype: of its weights.
        layers: as `Kernels.layers` has them.

    Raises:
        UnavailableError: our kernels cannot run there.
    """
    is_cpu, is_narrow = device.type == "cpu", dtype == torch.bfloat16
    tf32 = torch.get_float32_matmul_precision() != "highest"
    if layers == TRITON:
        _check_triton(shape, device)
        return Kernels(
            layers=TRITON, experts=TRITON, attention=TRITON, tf32=tf32, cudnn_attention=False
        )
    return Kernels(
        experts=_experts(shape, device=device, is_narrow=is_narrow),
        attention="sdpa" if is_cpu or is_narrow else "sdpa by query blocks",
        tf32=tf32,
        cudnn_attention=not is_cpu and torch.backends.cuda.cudnn_sdp_enabled(),
    )


def _experts(shape: ModelShape, *, device: torch.device, is_narrow: bool) -> str:
    if device.type == "cpu":
        return TORCH if is_narrow or not mkl_is_there() else MKL
    is_aligned = shape.hidden_size % _ALIGNED == shape.expert_size % _ALIGNED == 0
    is_fast = torch.cuda.get_device_capability(device)[0] in _FAST_GROUPED
    return TORCH if is_narrow and is_aligned and is_fast else BLOCKS


def _check_triton(shape: ModelShape, device: torch.device) -> None:
    """Hold a device and a model to what our kernels ask for.

    Raises:
        UnavailableError: naming what is missing.
    """
    if device.type != "cuda":
        raise UnavailableError(
            f"--kernels triton needs a CUDA device; this run is on {device.type}"
        )
    if find_spec("triton") is None:
        raise UnavailableError("--kernels triton needs the Triton that torch's CUDA build brings")
    found = torch.cuda.get_device_capability(device)
    if found < _LEAST_CAPABILITY:
        raise UnavailableError(
            f"--kernels triton needs compute capability {_written(_LEAST_CAPABILITY)} or more; "
            f"this device has {_written(found)}"
        )
    if found in _SMALL or found[0] == _SMALL_MAJOR:
        raise UnavailableError(
            "--kernels triton needs 163 KiB of shared memory a program; compute capability "
            f"{_written(found)} has 99"
        )
    if shape.head_dim not in _HEADS:
        raise UnavailableError(
            f"--kernels triton needs heads of {', '.join(map(str, _HEADS))} values; "
            f"model {shape.name!r} has {shape.head_dim}"
        )


def _written(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
