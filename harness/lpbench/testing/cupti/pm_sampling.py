"""The double of cupti.pm_sampling: the Collector, its order of calls and its exceptions.

Owns: the samples of the script, from the time of `start` on.
Must not know: lpbench; it is copied into a folder of its own.
"""

import enum
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import cupti as binding
from . import profiler_host


class TriggerMode(enum.IntEnum):
    """What a sample waits for."""

    GPU_SYSCLK_INTERVAL = 0
    GPU_TIME_INTERVAL = 1


class HardwareBufferAppendMode(enum.IntEnum):
    """What happens when the buffer is full."""

    KEEP_OLDEST = 0
    KEEP_LATEST = 1


@dataclass(frozen=True)
class Sample:
    """One interval."""

    start_timestamp: int
    end_timestamp: int
    metric_values: list[float]


class CounterData:
    """The samples of one decode."""

    def __init__(self, samples: Sequence[Sample], *, room: int) -> None:
        self._samples = samples
        self.num_total_samples = room
        self.num_populated_samples = self.num_completed_samples = len(samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)


class Collector:
    """Samples one device."""

    def __init__(self, device_index: int = 0) -> None:
        self._device_index = device_index
        self._is_enabled = False
        self._is_started = False
        self._metrics: list[str] = []
        self._records: list[Sample] = []

    def enable(self) -> None:
        """Take hold of the counters."""
        refusal = _refusal(binding.SCRIPT["fault"], self._device_index)
        if refusal is not None:
            raise refusal
        self._is_enabled = True

    def configure(
        self,
        *,
        metrics: list[str],
        hardware_buffer_size: int,
        sampling_interval: int,
        trigger_mode: TriggerMode,
        hw_buffer_append_mode: HardwareBufferAppendMode,
    ) -> None:
        """Say what is sampled."""
        self._require_enabled()
        assert hardware_buffer_size > 0
        assert hw_buffer_append_mode is HardwareBufferAppendMode.KEEP_OLDEST
        has_no_timer = binding.SCRIPT["chip"] == "GA100"
        is_timed = trigger_mode is TriggerMode.GPU_TIME_INTERVAL
        has_few = binding.SCRIPT["fault"] == "few_counters" and len(metrics) > 2  # noqa: PLR2004
        refuses = binding.SCRIPT["fault"] == "not_supported" or has_few
        if refuses or (has_no_timer and is_timed):
            raise ValueError("Requested PM sampling configuration is not supported.")
        host = profiler_host.ProfilerHost(
            binding.SCRIPT["chip"], profiler_host.ProfilerType.PM_SAMPLING
        )
        host.initialize()
        host.create_config_image(metrics=metrics)
        host.deinitialize()
        self._metrics = metrics
        self._interval = sampling_interval

    def start(self) -> None:
        """Begin to sample."""
        self._require_enabled()
        if self._is_started:
            raise RuntimeError("PM Sampling collection has already started")
        if binding.SCRIPT["fault"] == "hang":
            time.sleep(3600)
        self._is_started = True
        self._start_ns = time.time_ns()

    def stop(self) -> None:
        """Stop; what the script says has been sampled."""
        self._require_enabled()
        if not self._is_started:
            raise RuntimeError("PM Sampling collection has already stopped")
        if binding.SCRIPT["fault"] == "crash":
            os.abort()
        print("a library that prints to standard output")  # noqa: T201 - as one may
        self._is_started = False
        series = zip(binding.SCRIPT["read"], binding.SCRIPT["written"], strict=True)
        edges = [self._start_ns + at * self._interval for at in range(1 << 12)]
        self._records = [
            Sample(start, end, [read, written, *(1e9 for _ in self._metrics[2:])])
            for start, end, (read, written) in zip(edges, edges[1:], series, strict=False)
        ]
        if binding.SCRIPT["fault"] == "no_samples":
            self._records = []

    def decode(self, max_samples: int = 10_000) -> CounterData:
        """Take the oldest records, at most so many."""
        self._require_enabled()
        params = binding.PmSamplingDecodeDataParams()
        params.left, params.room = len(self._records), max_samples
        binding.pm_sampling_decode_data(params.ptr)
        if binding.SCRIPT["fault"] == "overflow" and params.taken < max_samples:
            raise MemoryError("Record overflow in the hardware buffer.")
        taken, self._records = self._records[: params.taken], self._records[params.taken :]
        return CounterData(taken, room=max_samples)

    def disable(self) -> None:
        """Let go of the counters, once."""
        self._require_enabled()
        self._is_enabled = False
        marker = os.environ.get("LPBENCH_CUPTI_DOUBLE_DISABLED")
        if marker:
            with open(marker, "a", encoding="utf-8") as file:  # noqa: PTH123 - no Path needed
                file.write("disabled\n")

    def _require_enabled(self) -> None:
        if not self._is_enabled:
            raise RuntimeError("Collector is not enabled. Call enable() first.")


def _refusal(fault: str | None, device_index: int) -> Exception | None:
    """Return what the fault makes `enable` raise."""
    result = binding.Result
    if fault == "needs_context":
        return None if binding.has_context() else binding.cuptiError(result.ERROR_INVALID_CONTEXT)
    if fault == "needs_context_quietly" and binding.has_context():
        return None
    no_nvperf = RuntimeError("CUPTI could not load the nvperf* libraries")
    refusals = {
        "needs_context_quietly": no_nvperf,
        "no_libcuda": binding.NotSupportedError("CUDA driver is not found (libcuda.so.1: ...)"),
        "permission_denied": PermissionError("Insufficient privileges for PM sampling"),
        "already_enabled": RuntimeError("PM sampling is already enabled on this device."),
        "no_nvperf": no_nvperf,
        "no_device": ValueError(f"Invalid device_index: {device_index}"),
        "out_of_memory": MemoryError("Memory allocation failed"),
        "hardware_busy": binding.cuptiError(result.ERROR_HARDWARE_BUSY),
        "virtualised": binding.cuptiError(result.ERROR_VIRTUALIZED_DEVICE_NOT_SUPPORTED),
        "mig": binding.cuptiError(result.ERROR_MIG_DEVICE_NOT_SUPPORTED),
    }
    return refusals.get(fault or "")
