"""The devices known by name: peaks and sizes as their vendor states them, or as measured.

Owns: the device entries and what is refused in one, their lookup by catalogue name, by file and by
the driver's name.
Must not know: which device is here, how it is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from reprlib import repr as brief

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.record.toml import read_toml
from lpbench.registry import unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device, whole: a slice of it (MIG) is another device.

    Attributes:
        name: the catalogue's name for it, or its file's.
        cuda_names: what CUDA and NVML call it; empty for what they do not know, as a CPU.
        memory_bandwidth: peak of its DRAM, reads and writes together, in B/s.
        memory_bytes: its DRAM as advertised, a GB taken as 10^9 bytes: no more than there is.
        bf16_flops: peak of dense bfloat16 matrix products, in FLOP/s.
        sources: where each figure is from, by its attribute's name.
        cache_bytes: its last-level cache, in bytes; None where it is not known, as with every
            figure below.
        tdp_w: thermal design power, in W.
        fp32_flops: peak of float32 arithmetic without tensor cores, in FLOP/s: TF32, which they
            offer, has ten bits.
        link_bandwidth: peak to its peers, one direction, in B/s: NVLink, or PCIe without it.
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
    bf16_flops: float
    sources: Mapping[str, str]
    cache_bytes: int | None = None
    tdp_w: float | None = None
    fp32_flops: float | None = None
    link_bandwidth: float | None = None
    fp8_flops: float | None = None
    fp4_flops: float | None = None
    idle_w: float | None = None

    def flops(self, dtype: str) -> float:
        """Return the peak of what computes in float32 or bfloat16, in FLOP/s.

        Raises:
            InputError: it is not known.
        """
        rate = self.fp32_flops if dtype == "float32" else self.bf16_flops
        if rate is None:
            raise InputError(f"device {self.name!r} states no fp32_flops, which float32 needs")
        return rate


RATES, SIZES, POWERS = (1e6, 1e21), (1.0, 1e18), (1e-3, 1e6)
"""Least and most B/s or FLOP/s, B, and W: beyond every device, and all that follows is finite."""

_WHOLE = ("memory_bytes", "cache_bytes")
_NEEDED = ("memory_bandwidth", "memory_bytes", "bf16_flops")
_FIGURES = tuple(
    one.name for one in fields(Device) if one.name not in ("name", "cuda_names", "sources")
)


def device_names() -> tuple[str, ...]:
    """Return the catalogue's names."""
    return tuple(sorted(path.stem for path in data_folder("workloads", "devices").glob("*.toml")))


def find_device(name: str) -> Device:
    """Return the device called `name` in the catalogue, or that of the TOML file at this path.

    Raises:
        InputError: neither is there, or the file is no device, or is named as one of the catalogue.
    """
    path = data_folder("workloads", "devices") / f"{name}.toml"
    if name not in device_names():
        path = Path(name)
        if path.suffix != ".toml":
            raise InputError(unknown("device", name, known=device_names()))
        if path.stem in device_names():
            msg = f"device file {path} is named as a device of the catalogue; name it otherwise"
            raise InputError(msg)
    entry = read_toml(path, what="device")
    return read_device(entry, name=path.stem.encode(errors="backslashreplace").decode())


def read_device(entry: Mapping[str, object], *, name: str) -> Device:
    """Return the device that a parsed file holds.

    Raises:
        InputError: a key is missing, unknown, or out of its range.
    """
    known = ("cuda_names", *_FIGURES, "sources")
    for key in entry:
        if key not in known:
            raise InputError(f"device {name!r}: " + unknown("key", key, known=known))
    sources = entry.get("sources")
    if not isinstance(sources, Mapping):
        raise InputError(f"device {name!r}: has no [sources]")
    names = entry.get("cuda_names", ())
    if not isinstance(names, list | tuple):
        raise InputError(f"device {name!r}: cuda_names is {brief(names)}; accepted: a list")
    given = {key: _figure(entry, key, name=name) for key in _FIGURES if key in entry}
    for key in _NEEDED:
        if key not in given:
            raise InputError(f"device {name!r}: has no {key}")
    return Device(
        name=name,
        cuda_names=tuple(map(str, names)),
        memory_bandwidth=given.pop("memory_bandwidth"),
        memory_bytes=int(given.pop("memory_bytes")),
        cache_bytes=int(given.pop("cache_bytes")) if "cache_bytes" in given else None,
        bf16_flops=given.pop("bf16_flops"),
        sources={key: str(value) for key, value in sources.items()},
        **given,
    )


def _figure(entry: Mapping[str, object], key: str, *, name: str) -> float:
    value = entry[key]
    is_whole = key in _WHOLE
    least, most = SIZES if is_whole else POWERS if key.endswith("_w") else RATES
    is_number = isinstance(value, int if is_whole else int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # type: ignore[operator]
        accepted = f"a {'whole ' if is_whole else ''}number, {least:g} to {most:g}"
        raise InputError(f"device {name!r}: {key} is {brief(value)}; accepted: {accepted}")
    return float(value)  # type: ignore[arg-type]


def match(name: str) -> Device | None:
    """Return the device that CUDA or NVML calls `name`; None for one that is not known.

    The whole name must be equal: a PCIe card, an NVL board or a MIG slice differs from its
    sibling in a suffix, and in its peaks.
    """
    devices = map(find_device, device_names())
    return next((device for device in devices if name in device.cuda_names), None)
