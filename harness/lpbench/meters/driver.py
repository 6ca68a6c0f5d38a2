"""What the NVIDIA kernel driver says of itself, and whether this process may read its counters.

Owns: the driver's version, its profiling restriction, the capabilities that lift it.
Must not know: any vendor library; whether a counter works is for its meter to find out.

Source of the rules: NVIDIA, "Permission issue with performance counters" (ERR_NVGPUCTRPERM).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROC = Path("/proc")

CAP_SYS_ADMIN, CAP_PERFMON = 21, 38
"""Bits of capabilities(7)."""

PERFMON_DRIVER = 565
"""The first driver branch to which CAP_PERFMON is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Whether this process may read the GPU's hardware counters.

    Attributes:
        status: unknown where there is no driver to ask.
        reason: why, as one sentence.
        fix: what the user can do about it; None where it is allowed.
    """

    status: Literal["allowed", "denied", "unknown"]
    reason: str
    fix: str | None = None


def driver_version(*, proc: Path = PROC) -> str | None:
    """Return the NVIDIA kernel driver's version, such as "580.159"; None where none is loaded."""
    text = _read(proc / "driver" / "nvidia" / "version")
    found = re.search(r"Kernel Module\s.*?(\d+(?:\.\d+)+)", text)
    return found[1] if found else None


def counter_permission(*, proc: Path = PROC) -> Permission:
    """Return what the driver's setting and this process's capabilities say about counters."""
    restricted = re.search(
        r"^RmProfilingAdminOnly: (\d)", _read(proc / "driver" / "nvidia" / "params"), re.MULTILINE
    )
    if restricted is None:
        return Permission(
            status="unknown",
            reason="no NVIDIA kernel driver to ask",
            fix="run where the driver is loaded; a container needs the GPU given to it",
        )
    if restricted[1] == "0":
        return Permission(status="allowed", reason="the driver lets every user read them")
    enough = {CAP_SYS_ADMIN: "CAP_SYS_ADMIN"}
    if int((driver_version(proc=proc) or "0").partition(".")[0]) >= PERFMON_DRIVER:
        enough[CAP_PERFMON] = "CAP_PERFMON"
    held = [name for bit, name in enough.items() if _capabilities("CapEff", proc=proc) >> bit & 1]
    if held:
        return Permission(status="allowed", reason=f"this process has {held[0]}")
    return Permission(
        status="denied",
        reason=f"the driver keeps them to administrators and this process has no "
        f"{' or '.join(enough.values())}",
        fix=_remedy(list(enough.values()), proc=proc),
    )


def denial_remedy() -> str:
    """Return what to do when a vendor's library denied the counters, as one sentence."""
    return counter_permission().fix or (
        "the driver lets this process read them; ask who runs the machine why the device refuses"
    )


def _remedy(enough: list[str], *, proc: Path) -> str:
    """Return which of the three remedies applies: root, a capability, the module option."""
    option = "or set NVreg_RestrictProfilingToAdminUsers=0 for the host's nvidia module"
    if _capabilities("CapBnd", proc=proc) >> CAP_SYS_ADMIN & 1:
        return f"run as root, {option}"
    adds = " or ".join(f"--cap-add={name.removeprefix('CAP_')}" for name in reversed(enough))
    return f"start the container with {adds}, {option}"


def _capabilities(which: str, *, proc: Path) -> int:
    """Return a set of capabilities(7) of this process as a bit mask; 0 where it is not said."""
    found = re.search(rf"^{which}:\s*([0-9a-f]+)", _read(proc / "self" / "status"), re.MULTILINE)
    return int(found[1], 16) if found else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
