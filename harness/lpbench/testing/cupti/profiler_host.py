"""The double of cupti.profiler_host: which metrics there are, and their passes.

Owns: the answers about metrics.
Must not know: lpbench; it is copied into a folder of its own.
"""

import enum
from collections.abc import Sequence

from . import cupti as binding

_EVERYWHERE = frozenset(
    {
        "dram__cycles_elapsed.avg.per_second",
        "gpc__cycles_elapsed.avg.per_second",
        "sm__cycles_active.avg",
        "gpu__time_duration.sum",
    }
)
_PAIR = 2


class ProfilerType(enum.IntEnum):
    """What the metrics are for."""

    RANGE_PROFILER = 0
    PM_SAMPLING = 1


class ProfilerHost:
    """Builds configuration images: here the metrics' names, one a line."""

    def __init__(self, chip_name: str, profiler_type: ProfilerType) -> None:
        assert profiler_type is ProfilerType.PM_SAMPLING
        self._chip_name = chip_name
        self._is_ready = False

    def initialize(self) -> None:
        """Begin."""
        if binding.SCRIPT["fault"] == "unknown_chip":
            raise ValueError(f"Invalid chip_name {self._chip_name!r}")
        self._is_ready = True

    def deinitialize(self) -> None:
        """End."""
        self._is_ready = False

    def create_config_image(self, metrics: Sequence[str]) -> bytes:
        """Return the image of known metrics."""
        if not self._is_ready:
            raise RuntimeError("Call initialize() before using this object.")
        known = {*binding.SCRIPT["metrics"], *_EVERYWHERE}
        if binding.SCRIPT["fault"] == "unknown_metric" or not known.issuperset(metrics):
            raise ValueError(f"One or more metrics in {metrics!r} are invalid")
        return "\n".join(metrics).encode()


def get_num_of_passes(config_image: bytes) -> int:
    """Return the passes of an image."""
    is_more = len(config_image.splitlines()) > _PAIR
    fault = binding.SCRIPT["fault"]
    return 2 if fault == "always_multi_pass" or (fault == "multi_pass" and is_more) else 1
