"""Why hardware counters are denied, and which of the three remedies applies.

Owns: the rule, and the facts of the machine it needs.
Must not know: who was denied what.

Counters need root or CAP_SYS_ADMIN, or CAP_PERFMON from driver 565 on, or a driver loaded with
NVreg_RestrictProfilingToAdminUsers=0 (developer.nvidia.com/ERR_NVGPUCTRPERM).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PERFMON_DRIVER = 565
"""The first driver that takes CAP_PERFMON for CAP_SYS_ADMIN."""

_OPTION = "NVreg_RestrictProfilingToAdminUsers=0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What decides who may read the counters.

    Attributes:
        admin_only: whether the driver restricts them to administrators; None: not known.
        driver: the driver's major version; None: not known.
        in_container: whether this process runs in a container.
    """

    admin_only: bool | None
    driver: int | None
    in_container: bool

    @classmethod
    def read(cls, root: Path = Path("/")) -> Self:
        """Read the machine's facts below `root`."""
        params = _text(root / "proc/driver/nvidia/params")
        version = _text(root / "proc/driver/nvidia/version")
        restricted = re.search(r"^RmProfilingAdminOnly:\s*(\d+)", params, re.MULTILINE)
        driver = re.search(r"\b(\d{3,})\.\d+", version)
        marks = (root / ".dockerenv", root / "run/.containerenv")
        groups = re.search(r"docker|kubepods|containerd|lxc", _text(root / "proc/1/cgroup"))
        return cls(
            admin_only=None if restricted is None else restricted[1] != "0",
            driver=None if driver is None else int(driver[1]),
            in_container=any(mark.exists() for mark in marks) or groups is not None,
        )

    def remedy(self) -> str:
        """Return what to do about a denial, as one sentence."""
        if self.admin_only is False:
            return (
                "the driver already lets every user read the counters; "
                "ask who runs the machine why the device itself refuses"
            )
        has_perfmon = self.driver is not None and self.driver >= PERFMON_DRIVER
        capability = "PERFMON" if has_perfmon else "SYS_ADMIN"
        if self.in_container:
            return (
                f"start the container with --cap-add={capability}, or have the host load the "
                f"driver with {_OPTION}"
            )
        return f"run as root or with CAP_{capability}, or load the driver with {_OPTION}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
