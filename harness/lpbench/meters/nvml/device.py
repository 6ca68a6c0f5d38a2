"""The edge to NVML: one GPU, its values typed, NVML's errors ours.

Owns: pynvml's import, opening a GPU, asking it.
Must not know: windows, what makes a number valid.

Calls cost microseconds and never wait for the GPU. Opening counts references, so a probe and an
open window do not disturb each other.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pydantic import JsonValue

from lpbench.meters.nvml.absent import Absent, GpuLostError, MissingError, lost_gpu
from lpbench.meters.nvml.visible import pick_gpu

_NOT_SUPPORTED, _NO_PERMISSION, _NOT_LOADED, _NO_LIBRARY, _NO_SYMBOL = 3, 4, 9, 12, 13
_LOST, _MISMATCH = 15, 18
"""nvmlReturn_t."""

_CODES = {
    _NOT_SUPPORTED: "not_supported",
    _NO_PERMISSION: "no_permission",
    _NO_SYMBOL: "missing_symbol",
}
_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of nvmlValue_t by nvmlValueType_t."""


@dataclass(frozen=True, slots=True)
class Field:
    """A value of nvmlDeviceGetFieldValues, or of a function of its own.

    Attributes:
        number: NVML_FI_DEV_*.
        scope: 0, or what the field takes: for power and energy 0 is the GPU, 1 the whole module.
        function: gives the same value of the GPU where the field is not served; None for the field.
    """

    number: int
    scope: int = 0
    function: str | None = None


class Gpu:
    """One GPU, open until `close`."""

    def __init__(self, library: ModuleType, handle: object, *, name: str, count: int) -> None:
        """Hold NVML's handle; `open_gpu` makes one.

        Args:
            library: pynvml.
            handle: the GPU's, as pynvml gives it.
            name: the product's.
            count: how many GPUs NVML sees.
        """
        self.library = library
        self.name = name
        self._count = count
        self._handle = handle

    def close(self) -> None:
        """Give the library back."""
        self.library.nvmlShutdown()

    def ask(self, function: str, *arguments: object) -> Any | Absent:  # noqa: ANN401 - as NVML types it
        """Call a function of NVML on this GPU.

        Raises:
            GpuLostError: the GPU is lost.
        """
        return self.call(function, self._handle, *arguments)

    def call(self, function: str, *arguments: object) -> Any | Absent:  # noqa: ANN401 - as `ask`
        """Call a function of NVML that takes no GPU.

        Raises:
            GpuLostError: the GPU is lost.
        """
        try:
            return getattr(self.library, function)(*arguments)
        except self.library.NVMLError as error:
            return absent(error.value)

    def number(self, function: str, *arguments: object) -> int | Absent:
        """Return the number that a function of NVML has for this GPU, as `ask` does."""
        found = self.ask(function, *arguments)
        return found if isinstance(found, Absent) else int(found)

    def fields(self, wanted: Sequence[Field]) -> tuple[float | Absent, ...]:
        """Return several values, the fields in one call, each in NVML's unit or absent by itself.

        Raises:
            GpuLostError: the GPU is lost.
        """
        asked = [(field.number, field.scope) for field in wanted if field.function is None]
        found = self.ask("nvmlDeviceGetFieldValues", asked) if asked else []
        values = iter([found] * len(asked) if isinstance(found, Absent) else map(_value, found))
        return tuple(
            next(values) if field.function is None else self.number(field.function)
            for field in wanted
        )

    def processes(self) -> tuple[int, ...] | Absent:
        """Return the ids of all processes on the GPU, in order; in a container they are the host's.

        Raises:
            GpuLostError: the GPU is lost.
        """
        computing = self.ask("nvmlDeviceGetComputeRunningProcesses_v3")
        if isinstance(computing, Absent):
            return computing
        drawing = self.ask("nvmlDeviceGetGraphicsRunningProcesses_v3")
        if isinstance(drawing, Absent):  # a board for computing alone
            drawing = []
        # One that computes and draws is in both lists.
        return tuple(sorted({process.pid for process in (*computing, *drawing)}))

    def refuse_partitioned(self) -> None:
        """Refuse a GPU whose MIG mode is on; one that does not know MIG is whole.

        Raises:
            MissingError: it is partitioned.
            GpuLostError: the GPU is lost.
        """
        found = self.ask("nvmlDeviceGetMigMode")
        if not isinstance(found, Absent) and found[0]:
            raise MissingError(
                code="mig",
                reason=f"{self.name} is partitioned by MIG, and is metered as a whole",
                fix="measure on a GPU without MIG",
            )

    def facts(self) -> dict[str, JsonValue]:
        """Return what a record says about the GPU; None for what it does not tell."""
        driver = self.call("nvmlSystemGetDriverVersion")
        ecc = self.ask("nvmlDeviceGetEccMode")
        limit = self.number("nvmlDeviceGetEnforcedPowerLimit")
        persistence = self.number("nvmlDeviceGetPersistenceMode")
        return {
            "device": self.name,
            "num_gpus": self._count,
            "driver": None if isinstance(driver, Absent) else str(driver),
            "ecc": None if isinstance(ecc, Absent) else bool(ecc[0]),
            "persistence": None if isinstance(persistence, Absent) else bool(persistence),
            "power_limit_w": None if isinstance(limit, Absent) else limit / 1e3,
        }


def _value(field: Any) -> float | Absent:  # noqa: ANN401 - pynvml's structure
    """Return the value of a field that NVML answered.

    Raises:
        GpuLostError: the GPU is lost.
    """
    if field.nvmlReturn:
        return absent(field.nvmlReturn)
    value: float = getattr(field.value, _MEMBERS[field.valueType])
    return value


def open_gpu(wanted: int | str) -> Gpu:
    """Open the GPU that torch calls "cuda:N", or that has a UUID.

    Raises:
        MissingError: there is no pynvml, no driver or no such GPU, or it is partitioned.
    """
    try:
        import pynvml  # type: ignore[import-untyped] # noqa: PLC0415 - an extra, met here alone
    except ImportError:
        raise MissingError(
            code="no_pynvml",
            reason="pynvml is not installed",
            fix="pip install nvidia-ml-py",
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _no_driver(error.value, str(error)) from None
    try:
        gpu = _pick(pynvml, wanted)
        gpu.refuse_partitioned()
    except BaseException as error:
        pynvml.nvmlShutdown()
        if isinstance(error, GpuLostError):
            raise lost_gpu() from None
        if isinstance(error, pynvml.NVMLError):
            raise _no_driver(error.value, str(error)) from None
        raise
    return gpu


def _pick(library: ModuleType, wanted: int | str) -> Gpu:
    count = library.nvmlDeviceGetCount()
    found = [_identify(library, index) for index in range(count)]
    picked = pick_gpu(
        wanted,
        uuids=[uuid for _, _, uuid in found],
        names=[name for _, name, _ in found],
        listed=os.environ.get("CUDA_VISIBLE_DEVICES"),
        order=os.environ.get("CUDA_DEVICE_ORDER"),
    )
    handle, name, _ = found[picked]
    if handle is None:
        raise lost_gpu()
    return Gpu(library, handle, name=name, count=count)


def _identify(library: ModuleType, index: int) -> tuple[object | None, str, str]:
    """Return handle, name and UUID; of a GPU that is lost no handle: the others still serve.

    Raises:
        NVMLError: anything else went wrong.
    """
    try:
        handle = library.nvmlDeviceGetHandleByIndex(index)
        return handle, library.nvmlDeviceGetName(handle), library.nvmlDeviceGetUUID(handle)
    except library.NVMLError as error:
        if error.value != _LOST:
            raise
        return None, f"lost GPU {index}", ""


def absent(code: int) -> Absent:
    """Return the absence that an nvmlReturn_t other than success stands for.

    Raises:
        GpuLostError: the GPU is lost.
    """
    if code == _LOST:
        raise GpuLostError
    return Absent(_CODES.get(code, f"nvml_error_{code}"))


def _no_driver(code: int, message: str) -> MissingError:
    if code == _LOST:
        return lost_gpu()
    if code in {_NO_LIBRARY, _NOT_LOADED}:
        return MissingError(
            code="no_driver",
            reason="NVIDIA's driver is not here, or not loaded",
            fix="install it; in a container, start that with the GPU passed in",
        )
    if code == _MISMATCH:
        return MissingError(
            code="driver_mismatch",
            reason="the driver's library and kernel module are of different versions",
            fix="restart the machine, or the container",
        )
    return MissingError(
        code=_CODES.get(code, f"nvml_error_{code}"),
        reason=f"NVML does not start: {message}",
        fix="see whether nvidia-smi works",
    )
