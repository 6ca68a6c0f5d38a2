"""Which generation of chips a kernel is launched on.

Owns: how it is told, and what it is taken for where there is no GPU.
Must not know: what a kernel makes of it.
"""

from functools import cache

import torch

AMPERE, HOPPER, BLACKWELL = 8, 9, 10
"""Generations by the first number of their compute capability."""


@cache
def major_of(device: torch.device) -> int:
    """Return that number; Hopper's without a GPU: what is interpreted is what Hopper runs."""
    return torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else HOPPER
