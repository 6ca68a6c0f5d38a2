"""Which meters serve a run on a device, and what is said where one that was asked for does not.

Owns: the default meters of a device, the order of preference, the refusals.
Must not know: what is measured with a meter.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from pydantic import JsonValue

from lpbench.bench.dram import NOT_MEASURED, Alone, Company, unmeasured_dram
from lpbench.errors import UnavailableError
from lpbench.meters.catalogue import build_meter, probe_meter
from lpbench.meters.meter import Capability, Meter
from lpbench.record.schema import Caution, Reading

BY_WINDOW = ("cupti", "gpm")
"""Meters that open windows in this process, the best first."""

BY_KERNEL = "ncu"
"""The cross-check that runs the arms in a process of its own."""

COUNTER_METERS = (*BY_WINDOW, BY_KERNEL)

JOULE_METERS: Mapping[str, str] = {"cuda": "nvml", "cpu": "rapl"}
"""What measures the joules of a device unless told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What may measure DRAM bytes on a GPU.

    Attributes:
        build: gives the meter of a name for a device such as "cuda:0".
        probe: says whether the meter of a name that opens no windows can serve.
        company: tells who else is on a device.
        names: the meters asked for; () for the best one that opens windows.
        required: a run without them is refused; without names, one without the best.
    """

    build: Callable[[str, str], Meter]
    probe: Callable[[str], Capability]
    company: Callable[[str], Company]
    names: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """What does measure them.

    Attributes:
        meters: open windows, in the order in which their figures are preferred.
        by_kernel: whether the arms run under ncu too.
        absent: reason codes by meter that was wanted and is not there.
        cautions: the same in words, with the fix.
        facts: what the probes found, by meter.
        company: who else is on the device.
    """

    meters: tuple[Meter, ...] = ()
    by_kernel: bool = False
    absent: Mapping[str, str] = field(default_factory=dict)
    cautions: tuple[Caution, ...] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    company: Company = field(default_factory=Alone)

    @property
    def unmeasured(self) -> dict[str, Reading]:
        """The readings of a run before anything is measured, and of what cannot be."""
        wanted = [*(meter.name for meter in self.meters), *([BY_KERNEL] * self.by_kernel)]
        codes = {**dict.fromkeys((*wanted, "cupti"), NOT_MEASURED), **self.absent}
        return unmeasured_dram(codes)

    def own_processes(self, meter: str) -> int:
        """Return how many processes on the device are the run's own while a meter measures."""
        facts = self.facts.get(meter)
        has_child = isinstance(facts, dict) and facts.get("context") == "own"
        return 1 + has_child

    def close(self) -> None:
        """Let go of all of them."""
        with ExitStack() as closing:
            closing.callback(self.company.close)
            for meter in self.meters:
                closing.callback(meter.close)


def find_instruments(counters: Counters | None, device: str) -> Instruments:
    """Return what measures on this device; what was asked for and is not there, with its code.

    Raises:
        UnavailableError: one is not there, and a run without it is refused.
    """
    if counters is None:
        return Instruments(absent={"cupti": "no_device" if device == "cpu" else NOT_MEASURED})
    if device == "cpu":
        if counters.required:
            msg = "--require-counters: no DRAM counters are read on cpu; fix: --device cuda"
            raise UnavailableError(msg)
        return Instruments(
            absent=dict.fromkeys(("cupti", *counters.names), "no_device"),
            cautions=tuple(
                no_counters(name, "no DRAM counters are read on cpu; fix: --device cuda")
                for name in counters.names
            ),
        )
    meters: list[Meter] = []
    absent: dict[str, str] = {}
    cautions: list[Caution] = []
    facts: dict[str, JsonValue] = {}
    by_kernel = False
    for name in counters.names or BY_WINDOW:
        meter = None if name == BY_KERNEL else counters.build(name, device)
        found = counters.probe(name) if meter is None else meter.probe()
        if not found.available:
            if counters.required:
                msg = f"--require-counters: {name}: {found.reason}; fix: {found.fix}"
                raise UnavailableError(msg)
            absent[name] = found.code or "unavailable"
            cautions.append(no_counters(name, f"{found.reason}; fix: {found.fix}"))
            continue
        facts[name] = dict(found.facts)
        if meter is None:
            by_kernel = True
        else:
            meters.append(meter)
        if not counters.names:
            break
    return Instruments(
        meters=tuple(meters),
        by_kernel=by_kernel,
        absent=absent,
        cautions=tuple(cautions),
        facts=facts,
        company=counters.company(device),
    )


def no_counters(meter: str, reason: str) -> Caution:
    """Return the warning that a meter gave no bytes, for a reason in one line."""
    return Caution(code="no_counters", message=f"no DRAM bytes by {meter}: {reason}")


def gpu_counters(names: tuple[str, ...] = (), *, required: bool = False) -> Counters:
    """Return the counters of this machine's GPUs, as `Counters` describes them."""
    return Counters(
        build=lambda name, device: build_meter(name, gpu=_index(device)),
        probe=probe_meter,
        company=_company_on,
        names=names,
        required=required,
    )


def joule_meter(name: str | None, device: str) -> Meter:
    """Return the meter `name` for a device; None for the device's own."""
    kind, _, _ = device.partition(":")
    return build_meter(name or JOULE_METERS[kind], gpu=_index(device))


def require_counters(device: str) -> None:
    """Refuse a device whose DRAM bytes cannot be measured.

    Raises:
        UnavailableError: reason and fix, in one line.
    """
    find_instruments(gpu_counters(required=True), device).close()


def require_energy(device: str) -> None:
    """Refuse a device whose joules cannot be measured.

    Raises:
        UnavailableError: reason and fix, in one line.
    """
    found = joule_meter(None, device).probe()
    if not found.available:
        msg = f"--require-energy: {found.meter}: {found.reason}; fix: {found.fix}"
        raise UnavailableError(msg)


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _company_on(device: str) -> Company:
    from lpbench.meters.nvml.company import Company as OnGpu

    return OnGpu(gpu=_index(device))
