"""The double of cupti.cupti: results, the error, parameters passed by pointer.

Owns: what the binding itself answers, and the script that says how.
Must not know: lpbench; it is copied into a folder of its own.
"""

import ctypes
import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

_SCRIPT = Path(__file__).with_name("script.json")
SCRIPT: Mapping[str, Any] = (
    json.loads(_SCRIPT.read_text(encoding="utf-8")) if _SCRIPT.exists() else {"fault": None}
)

if SCRIPT["fault"] == "broken_import":
    raise ModuleNotFoundError("No module named 'elftools'")

DEVICE_GET_CHIP_NAME_PARAMS_STRUCT_SIZE = 32


class Result(enum.IntEnum):
    """The statuses that the double can give."""

    ERROR_INVALID_CONTEXT = 3
    ERROR_HARDWARE_BUSY = 26
    ERROR_VIRTUALIZED_DEVICE_NOT_SUPPORTED = 33
    ERROR_MIG_DEVICE_NOT_SUPPORTED = 43


class cuptiError(Exception):  # noqa: N801 - the vendor's name
    """A call that failed."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{Result(status).name}")
        self.status = status


class NotSupportedError(RuntimeError):
    """There is no driver; the vendor has it in a module of its own."""


class PmSamplingDecodeStopReason(enum.IntEnum):
    """Why a decode ended."""

    OTHER = 0
    COUNTER_DATA_FULL = 1
    END_OF_RECORDS = 2


class _Params:
    """A structure that is passed by its pointer."""

    _by_pointer: ClassVar[dict[int, Any]] = {}

    def __init__(self) -> None:
        self.struct_size = 0
        self._by_pointer[id(self)] = self

    @property
    def ptr(self) -> int:
        """Return what stands for the address."""
        return id(self)

    @classmethod
    def from_ptr(cls, ptr: int) -> Self:
        """Return the structure at an address."""
        found = cls._by_pointer[ptr]
        assert isinstance(found, cls)
        return found


class DeviceGetChipNameParams(_Params):
    """In: the device. Out: its chip."""

    device_index = 0
    p_chip_name = ""


class PmSamplingDecodeDataParams(_Params):
    """Out: how a decode ended; in the double, also how many records it took."""

    decode_stop_reason = 0
    overflow = 0
    left = 0
    room = 0
    taken = 0


def device_get_chip_name(ptr: int) -> None:
    """Name the chip."""
    DeviceGetChipNameParams.from_ptr(ptr).p_chip_name = SCRIPT["chip"]


def pm_sampling_decode_data(ptr: int) -> None:
    """Take as many records as there is room for, and say why no more."""
    params = PmSamplingDecodeDataParams.from_ptr(ptr)
    params.taken = min(params.left, params.room)
    is_full = params.taken == params.room
    if SCRIPT["fault"] == "truncated":
        params.taken, is_full = (params.taken + 1) // 2 if params.left > 1 else 0, True
    reason = PmSamplingDecodeStopReason
    params.decode_stop_reason = reason.COUNTER_DATA_FULL if is_full else reason.END_OF_RECORDS
    params.overflow = int(SCRIPT["fault"] == "overflow_flag")


def has_context() -> bool:
    """Return whether this process made a CUDA context with the double of libcuda."""
    return bool(ctypes.CDLL("libcuda.so.1").lpbench_contexts_made())
