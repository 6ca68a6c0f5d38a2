"""Where the time of a pass goes, kernel by kernel, as torch's profiler sees it.

Owns: the profiler and what is taken from it.
Must not know: passes, how the times are shown.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """One kernel in a stretch of work.

    Attributes:
        name: of the kernel; on a CPU of torch's operator.
        calls: how often it ran.
        ms: how long all calls took together; an operator's without those that it calls.
    """

    name: str
    calls: int
    ms: float


def kernel_times(work: Callable[[], object], device: str) -> tuple[KernelTime, ...]:
    """Do the work under the profiler and return what took any time, the longest first.

    On a GPU these are its kernels, captured ones too, copies and fills; the profiler slows the host
    down, which launches them, and leaves their own times nearly as they are. The work has waited
    for the device when it returns.
    """
    # Else the profiler's own log goes to stderr. It looks when it first starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    on_gpu = torch.device(device).type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as profiler:
        work()
    found = [
        KernelTime(
            name=one.key,
            calls=one.count,
            ms=(one.self_device_time_total if on_gpu else one.self_cpu_time_total) / 1e3,
        )
        for one in profiler.key_averages()
        if one.device_type.name == ("CUDA" if on_gpu else "CPU")
    ]
    return tuple(sorted((one for one in found if one.ms > 0), key=lambda one: -one.ms))
