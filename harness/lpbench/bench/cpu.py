"""This machine's CPU as a device: measured, as no vendor states what a number of threads reaches.

Owns: the figures of the device file and what it says of their source.
Must not know: how they are measured, who reads the file.
"""

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING

import psutil

from lpbench import __version__
from lpbench.record.provenance import cpu_model, installed_version
from lpbench.record.toml import rounded, to_toml
from lpbench.shape.device import Device
from lpbench.units import format_bytes

if TYPE_CHECKING:
    from lpbench.executors.torch_engine.peaks import Peaks


def measure_cpu(*, name: str) -> Device:
    """Measure the CPU and return it as a device; takes some seconds.

    What is not known of a CPU is left out: power, and a link to others.
    """
    from lpbench.executors.torch_engine.peaks import measure_peaks

    return cpu_device(measure_peaks(), name=name, memory_bytes=int(psutil.virtual_memory().total))


def cpu_device(peaks: "Peaks", *, name: str, memory_bytes: int) -> Device:
    """Return what was measured as a device."""
    when = dt.datetime.now(dt.UTC).date().isoformat()
    how = (
        f"measured by lpbench {__version__} with torch {installed_version('torch')} on {when}, "
        f"{cpu_model()}, threads: {peaks.threads}, the best of several: "
    )
    product = "a product of square matrices of up to 4096 rows"
    sources = {
        "memory_bandwidth": (
            f"{how}the larger of summing {format_bytes(peaks.buffer_bytes)} "
            f"({format_bytes(peaks.read)}/s) and adding as much to it "
            f"({format_bytes(peaks.update)}/s, two reads and a write)"
        ),
        "memory_bytes": "psutil: all physical memory",
        "cache_bytes": "Linux, /sys/devices/system/cpu/cpu0/cache",
        "bf16_flops": f"{how}{product}",
        "fp32_flops": f"{how}{product}",
    }
    if peaks.cache_bytes is None:
        del sources["cache_bytes"]
    return Device(
        name=name,
        cuda_names=(),
        memory_bandwidth=rounded(max(peaks.read, peaks.update)),
        memory_bytes=memory_bytes,
        cache_bytes=peaks.cache_bytes,
        bf16_flops=rounded(peaks.flops["bfloat16"]),
        fp32_flops=rounded(peaks.flops["float32"]),
        sources=sources,
    )


def device_toml(device: Device) -> str:
    """Return a device as the text of its file, whose name is the device's."""
    values = asdict(device)
    del values["name"]
    return to_toml(values)
