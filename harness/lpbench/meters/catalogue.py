"""The meters known by name.

Owns: the list of meters, what each reads, and who builds it.
Must not know: how one measures. Nothing of a meter, its vendor's library least of all, is imported
before it is asked for.
"""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Literal, cast

from lpbench.errors import InputError
from lpbench.meters.meter import Capability, Meter
from lpbench.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A meter before it is built.

    Attributes:
        method: the method of its readings.
        reads: what it reads, in a few words.
        factory: "module:Class" that builds it without arguments; None for the one that the engine
            itself feeds, which opens no windows and is there wherever the engine is.
        per_gpu: it reads one GPU, which `gpu` names when it is built.
        probe: "module:function" in its place, for an outside tool that opens no windows here.
    """

    method: Literal["counted", "measured"]
    reads: str
    factory: str | None = None
    per_gpu: bool = False
    probe: str | None = None


METERS = Registry(
    "meter",
    {
        "experts": Entry(method="counted", reads="expert weights, from the router's decisions"),
        "nvml": Entry(
            method="measured",
            reads="joules of the GPU, by NVML's energy counter",
            factory="lpbench.meters.nvml.meter:NvmlMeter",
            per_gpu=True,
        ),
        "rapl": Entry(
            method="measured",
            reads="joules of the CPU packages, through powercap",
            factory="lpbench.meters.rapl:RaplMeter",
        ),
        "cupti": Entry(
            method="measured",
            reads="DRAM bytes of the GPU, by PM sampling",
            factory="lpbench.meters.cupti.meter:CuptiMeter",
            per_gpu=True,
        ),
        "gpm": Entry(
            method="measured",
            reads="DRAM bandwidth of the GPU, in per cent, without profiling rights",
            factory="lpbench.meters.nvml.gpm:GpmMeter",
            per_gpu=True,
        ),
        "ncu": Entry(
            method="measured",
            reads="DRAM bytes by kernel, under Nsight Compute: a cross-check",
            probe="lpbench.meters.ncu:probe",
        ),
    },
    error=InputError,
)


def build_meter(name: str, *, gpu: int = 0) -> Meter:
    """Return the meter called `name`.

    Args:
        name: as in `METERS`.
        gpu: N of "cuda:N", for one that reads a GPU.

    Raises:
        InputError: there is no such meter, or it is the one that opens no windows.
    """
    entry = METERS.get(name)
    if entry.factory is None:
        raise InputError(f"meter {name!r} is part of every run and cannot be chosen")
    options = {"gpu": gpu} if entry.per_gpu else {}
    return cast("Meter", resolve_name(entry.factory)(**options))


def probe_meter(name: str) -> Capability:
    """Return whether the meter called `name` can measure here.

    Raises:
        InputError: there is no such meter.
    """
    try:
        return _probe(name, METERS.get(name))
    except ModuleNotFoundError as missing:
        return Capability(
            meter=name,
            available=False,
            code="missing_package",
            reason=f"package {missing.name!r} is not installed",
            fix=f"pip install {missing.name}",
        )


def _probe(name: str, entry: Entry) -> Capability:
    if entry.probe is not None:
        return cast("Capability", resolve_name(entry.probe)())
    if entry.factory is None:
        return Capability(meter=name, available=True)
    return build_meter(name).probe()
