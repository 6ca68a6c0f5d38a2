from pathlib import Path

import pytest

from lpbench.meters.cupti.permission import Permission

VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Release Build\n"
OPTION = "NVreg_RestrictProfilingToAdminUsers=0"


def machine(root: Path, *, admin_only: str = "1", driver: str = "580.159.03") -> Path:
    """Write the driver's two files below `root`."""
    folder = root / "proc/driver/nvidia"
    folder.mkdir(parents=True)
    (folder / "params").write_text(f"EnableMSI: 1\nRmProfilingAdminOnly: {admin_only}\nX: 1\n")
    (folder / "version").write_text(VERSION.format(driver))
    return root


def test_facts_are_read_from_the_drivers_files(tmp_path: Path) -> None:
    """Restricted or not, and the driver's major version."""
    expected = Permission(admin_only=True, driver=580, in_container=False)
    assert expected == Permission.read(machine(tmp_path / "a"))
    expected = Permission(admin_only=False, driver=535, in_container=False)
    assert expected == Permission.read(machine(tmp_path / "b", admin_only="0", driver="535.54.03"))


def test_without_a_driver_nothing_is_assumed(tmp_path: Path) -> None:
    """Unknown stays unknown."""
    expected = Permission(admin_only=None, driver=None, in_container=False)
    assert expected == Permission.read(tmp_path)


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_container_is_known_by_its_mark(tmp_path: Path, mark: str) -> None:
    """Docker and Podman each leave a file."""
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).touch()
    assert Permission.read(tmp_path).in_container


def test_a_pod_is_known_by_its_control_group(tmp_path: Path) -> None:
    """Kubernetes names the group of process 1."""
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text("0::/kubepods/besteffort/pod1\n")
    assert Permission.read(tmp_path).in_container


@pytest.mark.parametrize(
    ("in_container", "driver", "expected"),
    [
        (True, 580, "start the container with --cap-add=PERFMON"),
        (True, 550, "start the container with --cap-add=SYS_ADMIN"),
        (True, None, "start the container with --cap-add=SYS_ADMIN"),
        (False, 565, "run as root or with CAP_PERFMON"),
        (False, 564, "run as root or with CAP_SYS_ADMIN"),
    ],
)
def test_the_remedy_that_applies(in_container: bool, driver: int | None, expected: str) -> None:  # noqa: FBT001 - a table
    """A capability by driver and container; the module option always, as the last resort."""
    found = Permission(admin_only=True, driver=driver, in_container=in_container).remedy()
    assert expected == found[: len(expected)]
    assert found.endswith(OPTION)


def test_an_open_driver_is_not_to_blame() -> None:
    """Where the option is set already, none of the three remedies is offered."""
    found = Permission(admin_only=False, driver=580, in_container=True).remedy()
    assert "already lets every user" in found
    assert OPTION not in found
