"""Which of NVML's fields serve a window: the energy counter, and power to check it with.

Owns: the order of preference.
Must not know: windows, validity.
"""

from dataclasses import dataclass

from lpbench.meters.nvml.absent import Absent, MissingError
from lpbench.meters.nvml.device import Field, Gpu

_MODULE = 1
_COUNTERS = (
    Field(83),
    Field(191),
    Field(83, function="nvmlDeviceGetTotalEnergyConsumption"),
    Field(191, _MODULE),
)
"""TOTAL_ENERGY_CONSUMPTION; ENERGY of the GPU; the first where fields are not served; ENERGY of the
whole module, where superchips answer for nothing less. In mJ."""
_INSTANT, _AVERAGE = 186, 185
_USAGE = Field(_AVERAGE, function="nvmlDeviceGetPowerUsage")
_AVERAGED_S = 1.0
"""POWER_AVERAGE is a mean over the last second (nvml.h, nvmlDeviceGetPowerUsage)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The fields in use.

    Attributes:
        counter: the energy counter.
        power: power in the same scope; None where none is given.
    """

    counter: Field
    power: Field | None

    @property
    def is_module(self) -> bool:
        """Whether the counter counts the host processor too."""
        return self.counter.scope == _MODULE

    @property
    def lag_s(self) -> float:
        """How much of a window's front the power still shows from before it, in seconds."""
        return _AVERAGED_S if self.power and self.power.number == _AVERAGE else 0.0

    @property
    def power_name(self) -> str:
        """What power is called in records."""
        return "average power" if self.lag_s else "instantaneous power"

    def read(self, gpu: Gpu) -> tuple[int | Absent, float | None]:
        """Return the counter in mJ and power in W, in one call.

        Raises:
            GpuLostError: the GPU is lost.
        """
        wanted = (self.counter,) if self.power is None else (self.counter, self.power)
        counter, *power = gpu.fields(wanted)
        known = [value / 1e3 for value in power if not isinstance(value, Absent)]
        return (
            counter if isinstance(counter, Absent) else int(counter),
            known[0] if known else None,
        )


def find_source(gpu: Gpu) -> Source:
    """Return the best that this GPU and driver offer.

    Raises:
        MissingError: there is no energy counter: missing_symbol or not_supported.
        GpuLostError: the GPU is lost.
    """
    answers = gpu.fields(_COUNTERS)
    served = [
        field
        for field, value in zip(_COUNTERS, answers, strict=True)
        if not isinstance(value, Absent)
    ]
    if not served:
        raise _no_counter(gpu, next(each for each in answers if isinstance(each, Absent)))
    scope = served[0].scope
    offered = (Field(_INSTANT, scope), Field(_AVERAGE, scope), *([] if scope else [_USAGE]))
    answers = gpu.fields(offered)
    powers = [
        field
        for field, value in zip(offered, answers, strict=True)
        if not isinstance(value, Absent)
    ]
    return Source(counter=served[0], power=powers[0] if powers else None)


def _no_counter(gpu: Gpu, absent: Absent) -> MissingError:
    if absent.code == "missing_symbol":
        reason = "the driver is too old: its library has no call for energy"
        return MissingError(code=absent.code, reason=reason, fix="update the driver")
    return MissingError(
        code=absent.code,
        reason=f"{gpu.name} gives no energy counter ({absent.code})",
        fix="measure on a GPU of Volta or later",
    )
