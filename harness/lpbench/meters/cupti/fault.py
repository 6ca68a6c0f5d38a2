"""What can go wrong with the DRAM sampler, as one error with a code.

Owns: the error and what to do about each code.
Must not know: CUPTI, processes.
"""

from lpbench.errors import UnavailableError

SETUP = "pip install --target DIR cupti-python==13.4.0, then set LPBENCH_CUPTI=DIR"
"""The one line that sets up the sampler's folder, for any empty folder DIR."""

_FIXES = {
    "not_set_up": SETUP,
    "no_nvperf": f"set the sampler's folder up anew: {SETUP}",
    "no_libcuda": "run where NVIDIA's driver is installed; in a container, give it the GPU",
    "no_device": "name a device that nvidia-smi lists and CUDA_VISIBLE_DEVICES does not hide",
    "unknown_chip": "a later cupti-python may know the chip; until then use the gpm meter",
    "unknown_metric": "the chip has no DRAM byte counters of its own; use the gpm meter",
    "multi_pass": "use ncu, which replays kernels",
    "hardware_busy": "stop the other profiler; DCGM lets go with: dcgmi profile --pause",
    "other_profiler": "run without nsys, ncu, cuda-gdb or torch.profiler around it",
    "mig": "use a GPU that is not cut by MIG",
    "virtualised": "ask the provider to allow profiling of the virtual GPU",
    "confidential_computing": "use a GPU that is not in confidential computing mode",
    "overflow": "sample less often: a longer interval, or a shorter window",
    "timeout": "run again; if it stays so, run lpbench doctor and report the driver's version",
}
_UNKNOWN_FIX = "run lpbench doctor, and report the message with the driver's version"


class SamplerError(UnavailableError):
    """The sampler cannot measure, or failed in mid-window.

    Attributes:
        code: a record's reason code, such as "permission_denied".
        reason: what happened, as one sentence.
        fix: what the user can do about it.
    """

    def __init__(self, code: str, reason: str, *, fix: str | None = None) -> None:
        """Say what happened; without a `fix` the code's own one is given."""
        self.reason = " ".join(reason.split())
        self.fix = fix or _FIXES.get(code, _UNKNOWN_FIX)
        super().__init__(f"cupti: {self.reason} ({code}); {self.fix}", code=code)
