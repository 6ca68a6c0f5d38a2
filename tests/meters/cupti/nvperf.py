"""Metric names, units and passes from NVIDIA's own libnvperf_host: it needs no driver.

Owns: the few NVPW calls of the public nvperf_host.h that answer them, through ctypes.
Must not know: lpbench.

A parameter structure's `structSize` is the offset of its last field plus that field's size.
"""

import ctypes
import sysconfig
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int8, c_size_t, c_uint8, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

_ABI = (("structSize", c_size_t), ("pPriv", c_void_p))
_PM_SAMPLED = 2  # NVPA_ACTIVITY_KIND_REALTIME_SAMPLED


class _EvalRequest(Structure):
    _fields_ = (
        ("metric_index", c_size_t),
        ("metric_type", c_uint8),
        ("rollup", c_uint8),
        ("submetric", ctypes.c_uint16),
    )


class _DimUnit(Structure):
    _fields_ = (("unit", ctypes.c_uint32), ("exponent", c_int8))


class _RawRequest(Structure):
    _fields_ = (*_ABI, ("name", c_char_p), ("isolated", c_uint8), ("keep_instances", c_uint8))


_EVAL_SIZE, _DIM_SIZE = 12, 5
_RAW_SIZE = _RawRequest.keep_instances.offset + 1


@cache
def library() -> ctypes.CDLL | None:
    """Return the library of the installed nvidia-cuda-cupti; None where there is none."""
    site = Path(sysconfig.get_path("purelib"))
    found = sorted(site.glob("nvidia/cu*/lib/libnvperf_host.so"))
    if not found:
        return None
    loaded = ctypes.CDLL(str(found[0]))
    assert 0 == loaded.NVPW_InitializeHost(byref(_params()))
    return loaded


class Chip:
    """A chip that the library can evaluate metrics for."""

    def __init__(self, name: str) -> None:
        """Set up its evaluator."""
        self._name = name.encode()
        sized = _call(
            "NVPW_CUDA_MetricsEvaluator_CalculateScratchBufferSize",
            ("chip", c_char_p, self._name),
            ("availability", c_void_p, None),
            ("size", c_size_t, 0),
        )
        self._scratch = ctypes.create_string_buffer(sized.size)
        self._evaluator = _call(
            "NVPW_CUDA_MetricsEvaluator_Initialize",
            ("scratch", c_void_p, ctypes.addressof(self._scratch)),
            ("scratch_size", c_size_t, sized.size),
            ("chip", c_char_p, self._name),
            ("availability", c_void_p, None),
            ("counter_data", c_void_p, None),
            ("counter_data_size", c_size_t, 0),
            ("evaluator", c_void_p, None),
        ).evaluator

    def known(self, names: Sequence[str]) -> list[str]:
        """Return those of the metrics that the chip has."""
        return [name for name in names if self._request(name) is not None]

    def units(self, name: str) -> list[tuple[str, int]]:
        """Return a metric's units, each with its exponent."""
        request = self._request(name)
        assert request is not None, name
        told = (
            ("evaluator", c_void_p, self._evaluator),
            ("request", c_void_p, ctypes.addressof(request)),
            ("request_size", c_size_t, _EVAL_SIZE),
        )
        sizes = ("size", c_size_t, _DIM_SIZE)
        call = "NVPW_MetricsEvaluator_GetMetricDimUnits"
        count = _call(call, *told, ("units", c_void_p, None), ("count", c_size_t, 0), sizes).count
        units = (_DimUnit * count)()
        _call(
            call,
            *told,
            ("units", c_void_p, ctypes.addressof(units)),
            ("count", c_size_t, count),
            sizes,
        )
        return [(self._unit_name(unit.unit), unit.exponent) for unit in units]

    def passes(self, names: Sequence[str]) -> int:
        """Return the passes that sampling these metrics together takes."""
        raw = [_RawRequest(_RAW_SIZE, None, name, 0, 1) for name in self._raw_counters(names)]
        requests = (_RawRequest * len(raw))(*raw)
        config = _call(
            "NVPW_CUDA_RawMetricsConfig_Create_V2",
            ("kind", c_int, _PM_SAMPLED),
            ("chip", c_char_p, self._name),
            ("availability", c_void_p, None),
            ("config", c_void_p, None),
        ).config
        on = ("config", c_void_p, config)
        _call("NVPW_RawMetricsConfig_BeginPassGroup", on, ("max_passes", c_size_t, 0))
        _call(
            "NVPW_RawMetricsConfig_AddMetrics",
            on,
            ("requests", c_void_p, ctypes.addressof(requests)),
            ("count", c_size_t, len(raw)),
        )
        _call("NVPW_RawMetricsConfig_EndPassGroup", on)
        _call("NVPW_RawMetricsConfig_GenerateConfigImage", on, ("merge", c_uint8, 0))
        passes = _call("NVPW_RawMetricsConfig_GetNumPasses_V2", on, ("passes", c_size_t, 0)).passes
        _call("NVPW_RawMetricsConfig_Destroy", on)
        return int(passes)

    def _request(self, name: str) -> _EvalRequest | None:
        request = _EvalRequest()
        params = _params(
            ("evaluator", c_void_p, self._evaluator),
            ("name", c_char_p, name.encode()),
            ("request", c_void_p, ctypes.addressof(request)),
            ("request_size", c_size_t, _EVAL_SIZE),
        )
        call = _function("NVPW_MetricsEvaluator_ConvertMetricNameToMetricEvalRequest")
        return request if 0 == call(byref(params)) else None

    def _unit_name(self, unit: int) -> str:
        named = _call(
            "NVPW_MetricsEvaluator_DimUnitToString",
            ("evaluator", c_void_p, self._evaluator),
            ("unit", ctypes.c_uint32, unit),
            ("singular", c_char_p, None),
            ("plural", c_char_p, None),
        )
        return bytes(named.plural).decode()

    def _raw_counters(self, names: Sequence[str]) -> list[bytes]:
        found = [self._request(name) for name in names]
        assert None not in found, names
        requests = (_EvalRequest * len(found))(*(request for request in found if request))
        told = (
            ("evaluator", c_void_p, self._evaluator),
            ("requests", c_void_p, ctypes.addressof(requests)),
            ("count", c_size_t, len(found)),
            ("request_size", c_size_t, _EVAL_SIZE),
            ("stride", c_size_t, ctypes.sizeof(_EvalRequest)),
        )
        none = ("raw", POINTER(c_char_p), None), ("raw_count", c_size_t, 0)
        optional = ("optional", POINTER(c_char_p), None), ("optional_count", c_size_t, 0)
        call = "NVPW_MetricsEvaluator_GetMetricRawDependencies"
        sized = _call(call, *told, *none, *optional)
        raw = (c_char_p * sized.raw_count)()
        spare = (c_char_p * max(sized.optional_count, 1))()
        _call(
            call,
            *told,
            ("raw", POINTER(c_char_p), raw),
            ("raw_count", c_size_t, sized.raw_count),
            ("optional", POINTER(c_char_p), spare),
            ("optional_count", c_size_t, sized.optional_count),
        )
        return [name for name in raw if name is not None]


def _params(*fields: tuple[str, Any, object]) -> Any:  # noqa: ANN401 - a structure made here
    names = [*_ABI, *((name, kind) for name, kind, _ in fields)]
    kind = type("Params", (Structure,), {"_fields_": names})
    last = getattr(kind, names[-1][0])
    values = {name: value for name, _, value in fields if value is not None}
    return kind(structSize=last.offset + last.size, **values)


def _call(function: str, *fields: tuple[str, Any, object]) -> Any:  # noqa: ANN401 - as above
    params = _params(*fields)
    status = _function(function)(byref(params))
    assert 0 == status, (function, status)
    return params


def _function(name: str) -> Any:  # noqa: ANN401 - ctypes
    loaded = library()
    assert loaded is not None
    return getattr(loaded, name)
