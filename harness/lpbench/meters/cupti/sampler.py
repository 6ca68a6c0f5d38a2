"""The child's program: samples one device's DRAM counters, asked in JSON lines.

Owns: every call into cupti-python, and its exceptions turned into codes.
Must not know: lpbench. It runs by path in an environment of its own: standard library and cupti.

A request is {"do": NAME, ...arguments}, an answer {"ok": {...}} or {"error": {"code", "message"}}.
`open`, `known`, `configure`, then `start` and `stop` as often as wanted, `close`. The end of
standard input closes too, so that it never outlives who started it.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

STATUS = {
    2: "no_device",
    3: "invalid_context",
    8: "out_of_memory",
    15: "not_initialized",
    17: "unknown_metric",
    26: "hardware_busy",
    27: "not_supported",
    33: "virtualised",
    35: "permission_denied",
    39: "other_profiler",
    40: "virtualised",
    41: "confidential_computing",
    42: "cmp_device",
    43: "mig",
    44: "sli",
    45: "wsl",
    46: "unknown_chip",
}
"""Codes by CUptiResult (cupti_result.h); every other one is `cupti_error`."""

FOLDER = Path(os.environ.get("PYTHONPATH", os.curdir))
"""Where cupti-python and what it needs were put."""

COUNTER_DATA_FULL = 1
"""CUpti_PmSampling_DecodeStopReason: records are left in the hardware buffer."""


class Fault(Exception):  # noqa: N818 - it is answered, not raised at a user
    """What is answered instead of a result."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def vendor(**codes: str) -> Iterator[None]:
    """Turn any exception into a Fault: `codes` by the exception's class name."""
    try:
        yield
    except Exception as error:
        name, text = type(error).__name__, str(error)
        status = getattr(error, "status", None)
        if status is not None:
            code = STATUS.get(int(status), "cupti_error")
            text = f"status {int(status)} {text}"
        elif "libcuda.so" in text:
            code = "no_libcuda"
        elif "nvperf" in text:
            code = "no_nvperf"
        else:
            code = codes.get(name, "cupti_error")
        raise Fault(code, f"{name}: {text}") from error


class Sampler:
    """One Collector, for as long as the process lives."""

    def __init__(self) -> None:
        self._collector: Any = None
        self._chip = ""
        self._metrics: list[str] = []

    def open(self, *, device: int, create_context: bool) -> dict[str, Any]:
        """Enable PM sampling; answers the chip and what was loaded."""
        self._cupti = load()
        self._decoding = Decoding(self._cupti.cupti)
        if create_context:
            retain_context(device)
        collector = self._cupti.pm_sampling.Collector(device)
        with vendor(
            PermissionError="permission_denied",
            ValueError="no_device",
            MemoryError="out_of_memory",
            RuntimeError="hardware_busy",
        ):
            collector.enable()
        self._collector = collector
        self._chip = self._chip_name(device)
        return {"chip": self._chip, **loaded()}

    def known(self, *, names: Sequence[str]) -> dict[str, Any]:
        """Answer which of the metrics the chip has."""
        return {"names": [name for name in names if self._image([name]) is not None]}

    def configure(
        self, *, metrics: list[str], interval: int, sysclk: bool, buffer_bytes: int
    ) -> dict[str, Any]:
        """Set what is sampled every `interval` ns, or SYS clock cycles; answers the passes."""
        image = self._image(metrics)
        if image is None:
            raise Fault("unknown_metric", f"{self._chip} lacks one of {', '.join(metrics)}")
        with vendor():
            passes = int(self._cupti.profiler_host.get_num_of_passes(image))
        if passes != 1:
            raise Fault("multi_pass", f"{self._chip} needs {passes} passes for {metrics}")
        sampling = self._cupti.pm_sampling
        trigger = "GPU_SYSCLK_INTERVAL" if sysclk else "GPU_TIME_INTERVAL"
        with vendor(ValueError="not_supported"):
            self._collector.configure(
                metrics=metrics,
                hardware_buffer_size=buffer_bytes,
                sampling_interval=interval,
                trigger_mode=getattr(sampling.TriggerMode, trigger),
                hw_buffer_append_mode=sampling.HardwareBufferAppendMode.KEEP_OLDEST,
            )
        self._metrics = metrics
        return {"passes": passes, "trigger": trigger}

    def start(self) -> dict[str, Any]:
        """Begin to sample."""
        with vendor(RuntimeError="wrong_order"):
            self._collector.start()
        return {}

    def stop(self, *, max_samples: int) -> dict[str, Any]:
        """Stop, decode until nothing is left, evaluate; answers the series by column."""
        with vendor(RuntimeError="wrong_order"):
            self._collector.stop()
        self._decoding.begin()
        parts = []
        overflow = False
        while True:
            try:
                with vendor(MemoryError="overflow"):
                    part = self._collector.decode(max_samples=max_samples)
            except Fault as fault:
                if fault.code not in ("overflow", "out_of_memory"):
                    raise
                overflow = True
                break
            parts.append(part)
            if not part.num_completed_samples or not self._decoding.has_more(part, max_samples):
                break
        with vendor():
            samples = [sample for part in parts for sample in part]
        return {
            "start_ns": [int(sample.start_timestamp) for sample in samples],
            "end_ns": [int(sample.end_timestamp) for sample in samples],
            "values": [
                [float(sample.metric_values[at]) for sample in samples]
                for at in range(len(self._metrics))
            ],
            "overflow": overflow or self._decoding.overflow,
            "truncated": self._decoding.stop_reason == COUNTER_DATA_FULL,
        }

    def close(self) -> dict[str, Any]:
        """Disable PM sampling: explicitly, the finalizer is not relied upon."""
        collector, self._collector = self._collector, None
        if collector is not None:
            with vendor():
                collector.disable()
        return {}

    def _chip_name(self, device: int) -> str:
        binding = self._cupti.cupti
        params = binding.DeviceGetChipNameParams()
        params.struct_size = binding.DEVICE_GET_CHIP_NAME_PARAMS_STRUCT_SIZE
        params.device_index = device
        with vendor():
            binding.device_get_chip_name(params.ptr)
        return str(params.p_chip_name)

    def _image(self, metrics: list[str]) -> Any:  # noqa: ANN401 - the vendor's array
        """Return the configuration image; None where the chip lacks one of the metrics."""
        profiler = self._cupti.profiler_host
        host = profiler.ProfilerHost(self._chip, profiler.ProfilerType.PM_SAMPLING)
        with vendor(ValueError="unknown_chip"):
            host.initialize()
        try:
            with vendor(ValueError="unknown_metric"):
                return host.create_config_image(metrics=metrics)
        except Fault as fault:
            if fault.code != "unknown_metric":
                raise
            return None
        finally:
            host.deinitialize()


class Decoding:
    """What the decodes of a window said that `Collector.decode` does not pass on.

    It listens at the binding's call. Where that cannot be listened to both stay unknown, and
    counting the samples must do.
    """

    def __init__(self, binding: Any) -> None:  # noqa: ANN401 - the vendor's module
        self.overflow = False
        self.stop_reason: int | None = None
        decode = binding.pm_sampling_decode_data

        def listening(pointer: int) -> Any:  # noqa: ANN401 - passed through
            result = decode(pointer)
            with suppress(AttributeError, TypeError):
                params = binding.PmSamplingDecodeDataParams.from_ptr(pointer)
                self.overflow = self.overflow or bool(params.overflow)
                self.stop_reason = int(params.decode_stop_reason)
            return result

        with suppress(AttributeError, TypeError):
            binding.pm_sampling_decode_data = listening

    def begin(self) -> None:
        """Forget the window before."""
        self.overflow = False
        self.stop_reason = None

    def has_more(self, part: Any, max_samples: int) -> bool:  # noqa: ANN401 - CounterData
        """Return whether records may be left: the image was full, by either account."""
        is_full = part.num_completed_samples >= max_samples
        return is_full or self.stop_reason == COUNTER_DATA_FULL


def load() -> Any:  # noqa: ANN401 - the vendor's package
    """Import cupti, or say what is missing.

    The folder's own libcupti is loaded ahead: another one that stands in the interpreter's
    environment, such as torch's, would be found first and be too old.
    """
    for path in sorted(FOLDER.glob("nvidia/cu*/lib/libcupti.so.*")):
        with vendor(OSError="not_set_up"):
            ctypes.CDLL(str(path))
    with vendor(ImportError="not_set_up", ModuleNotFoundError="not_set_up"):
        import cupti  # type: ignore[import-not-found] # noqa: PLC0415 - its failure is an answer
    return cupti


def retain_context(device: int) -> None:
    """Make the device's primary context current: it stays until the process ends."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise Fault("no_libcuda", str(error)) from error
    handle, context = ctypes.c_int(), ctypes.c_void_p()
    for call, *arguments in (
        ("cuInit", ctypes.c_uint(0)),
        ("cuDeviceGet", ctypes.byref(handle), ctypes.c_int(device)),
        ("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle),
        ("cuCtxSetCurrent", context),
    ):
        status = getattr(driver, str(call))(*arguments)
        if status:
            raise Fault("no_context", f"{call} returned {status}")


def loaded() -> dict[str, Any]:
    """Return the versions of what serves; null where it cannot be told. No paths."""
    found: dict[str, Any] = {
        "cupti_python": installed("cupti-python"),
        "nvidia_cuda_cupti": installed("nvidia-cuda-cupti"),
        "libcupti": None,
        "libcupti_in_folder": None,
        "cuda_driver": call_for_version("libcuda.so.1", "cuDriverGetVersion"),
    }
    paths = mapped("libcupti.so")
    if paths:
        found["libcupti"] = call_for_version(paths[0], "cuptiGetVersion")
        found["libcupti_in_folder"] = Path(paths[0]).is_relative_to(FOLDER.resolve())
    return found


def installed(package: str) -> str | None:
    """Return the version of a package, the sampler's folder first."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def mapped(name: str) -> list[str]:
    """Return the paths of the loaded libraries with that name."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if name in line}
    return sorted(path for path in paths if Path(path).name.startswith(name))


def call_for_version(library: str, function: str) -> int | None:
    """Return what a library says of its version; None where it does not say."""
    found = ctypes.c_int()
    try:
        status = getattr(ctypes.CDLL(library), function)(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    return None if status else found.value


def answer(sampler: Sampler, line: str) -> dict[str, Any]:
    """Return the answer to one request."""
    try:
        request = json.loads(line)
        return {"ok": getattr(sampler, request.pop("do"))(**request)}
    except Fault as fault:
        return {"error": {"code": fault.code, "message": str(fault)}}
    except Exception as error:  # noqa: BLE001 - whatever it is, who asked must hear of it
        message = f"{type(error).__name__}: {error}"
        return {"error": {"code": "sampler_failed", "message": message}}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until they end; then let go of the counters."""
    sampler = Sampler()
    try:
        for line in requests:
            answers.write(json.dumps(answer(sampler, line)) + "\n")
            answers.flush()
    finally:
        sampler.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it: input ends then
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)  # a library that prints must not print among the answers
        serve(sys.stdin, stdout)
