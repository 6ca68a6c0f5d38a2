from pathlib import Path

import pytest

from lpbench.meters.driver import counter_permission, driver_version

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder)\n"
    "GCC version:  gcc version 12.3.0\n"
)
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Sat Mar 23 2024\nGCC version:  12\n"

NONE = 0
SYS_ADMIN = 1 << 21
PERFMON = 1 << 38


def lay(
    proc: Path,
    *,
    restricted: int = 1,
    version: str = "580.159",
    held: int = NONE,
    bound: int = NONE,
) -> Path:
    """Lay what the kernel and the driver say under a /proc of the test's own."""
    (proc / "driver" / "nvidia").mkdir(parents=True)
    (proc / "self").mkdir()
    (proc / "driver" / "nvidia" / "version").write_text(OPEN.format(version))
    (proc / "driver" / "nvidia" / "params").write_text(
        f"ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: {restricted}\nDmaRemapPeerMmio: 1\n"
    )
    (proc / "self" / "status").write_text(
        f"Name:\tpython\nCapEff:\t{held:016x}\nCapBnd:\t{bound:016x}\n"
    )
    return proc


@pytest.mark.parametrize("text", [OPEN, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("version", ["580.159", "550.54.15"])
def test_the_driver_names_its_version(tmp_path: Path, text: str, version: str) -> None:
    """Both kernel modules say it, in different words."""
    proc = lay(tmp_path)
    (proc / "driver" / "nvidia" / "version").write_text(text.format(version))
    assert version == driver_version(proc=proc)


def test_no_driver_no_answer(tmp_path: Path) -> None:
    """Where none is loaded there is no version, and permission is unknown rather than denied."""
    assert None is driver_version(proc=tmp_path)
    assert "unknown" == counter_permission(proc=tmp_path).status


@pytest.mark.parametrize(
    ("restricted", "version", "held", "expected"),
    [
        (0, "580.159", NONE, "allowed"),
        (1, "580.159", NONE, "denied"),
        (1, "580.159", SYS_ADMIN, "allowed"),
        (1, "580.159", PERFMON, "allowed"),
        (1, "565.57.01", PERFMON, "allowed"),
        (1, "560.35", PERFMON, "denied"),
        (1, "560.35", SYS_ADMIN, "allowed"),
        (1, "580.159", ~(SYS_ADMIN | PERFMON) & ((1 << 41) - 1), "denied"),
    ],
)
def test_who_may_read_counters(
    tmp_path: Path, restricted: int, version: str, held: int, expected: str
) -> None:
    """Anyone where the driver says so, else CAP_SYS_ADMIN, or CAP_PERFMON from driver 565 on."""
    proc = lay(tmp_path, restricted=restricted, version=version, held=held)
    found = counter_permission(proc=proc)
    assert expected == found.status
    assert (found.fix is None) == (expected == "allowed")


@pytest.mark.parametrize(
    ("version", "bound", "expected"),
    [
        ("580.159", SYS_ADMIN, "run as root"),
        ("580.159", NONE, "--cap-add=PERFMON or --cap-add=SYS_ADMIN"),
        ("560.35", NONE, "start the container with --cap-add=SYS_ADMIN"),
    ],
)
def test_the_remedy_is_the_one_that_works(
    tmp_path: Path, version: str, bound: int, expected: str
) -> None:
    """A process that can never get the capability must be started anew; the option always works."""
    fix = counter_permission(proc=lay(tmp_path, version=version, bound=bound)).fix or ""
    assert expected in fix
    assert "NVreg_RestrictProfilingToAdminUsers=0" in fix
