"""The devices known by name: peaks and sizes as their vendor states them.

Owns: the shipped device entries, their lookup by catalogue name and by the driver's name.
Must not know: which device is here, what is measured on it.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.registry import unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device, whole: a slice of it (MIG) is another device.

    Attributes:
        name: the catalogue's name for it.
        cuda_names: what CUDA and NVML call it.
        memory_bandwidth: peak of its DRAM, reads and writes together, in B/s.
        memory_bytes: its DRAM as advertised, a GB taken as 10^9 bytes: no more than there is.
        cache_bytes: its last-level cache, in bytes.
        bf16_flops: peak of dense bfloat16 matrix products, in FLOP/s.
        tdp_w: thermal design power, in W.
        sources: where each figure is from, by its attribute's name.
        link_bandwidth: peak to its peers, one direction, in B/s: NVLink, or PCIe without it; None
            where it is not known, as with every figure below.
        fp8_flops: peak of dense 8-bit floating-point matrix products, in FLOP/s; None where it
            has none, too.
        fp4_flops: the same of 4-bit ones.
        idle_w: power without a process on it, in W. One that does nothing takes more, as it keeps
            the clocks up: 26 to 66 W on an H100, an A100 and an L40S (arXiv 2605.23918).
    """

    name: str
    cuda_names: tuple[str, ...]
    memory_bandwidth: float
    memory_bytes: int
    cache_bytes: int
    bf16_flops: float
    tdp_w: float
    sources: Mapping[str, str]
    link_bandwidth: float | None = None
    fp8_flops: float | None = None
    fp4_flops: float | None = None
    idle_w: float | None = None


def device_names() -> tuple[str, ...]:
    """Return the catalogue's names."""
    return tuple(sorted(path.stem for path in data_folder("workloads", "devices").glob("*.toml")))


def find_device(name: str) -> Device:
    """Return the device called `name` in the catalogue.

    Raises:
        InputError: there is none.
    """
    if name not in device_names():
        raise InputError(unknown("device", name, known=device_names()))
    path = data_folder("workloads", "devices") / f"{name}.toml"
    entry = tomllib.loads(path.read_text(encoding="utf-8"))
    return Device(name=name, cuda_names=tuple(entry.pop("cuda_names")), **entry)


def match(name: str) -> Device | None:
    """Return the device that CUDA or NVML calls `name`; None for one that is not known.

    The whole name must be equal: a PCIe card, an NVL board or a MIG slice differs from its
    sibling in a suffix, and in its peaks.
    """
    devices = map(find_device, device_names())
    return next((device for device in devices if name in device.cuda_names), None)
