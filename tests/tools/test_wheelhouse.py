from pathlib import Path
from zipfile import ZipFile

import pytest

from tools.wheelhouse import requirements, size_lines, unmet


def write_wheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    """Write a wheel that holds nothing but what it asks for."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}" for need in needs]
    with ZipFile(path, "w") as archive:
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n\nText.\n")
    return path


@pytest.mark.parametrize(
    ("need", "python", "asked"),
    [
        ("rich>=14", "3.12", ["rich"]),
        ("tomli; python_version < '3.12'", "3.11", ["tomli"]),
        ("tomli; python_version < '3.12'", "3.12", []),
        ("late; python_full_version >= '3.12.0'", "3.12", ["late"]),
        ("colorama; sys_platform == 'win32'", "3.12", []),
        ("uvloop; platform_system == 'Linux'", "3.12", ["uvloop"]),
        ("neon; platform_machine == 'aarch64'", "3.12", []),
        ("pytest; extra == 'dev'", "3.12", []),
    ],
)
def test_a_wheel_asks_for_what_the_node_needs(
    tmp_path: Path, need: str, python: str, asked: list[str]
) -> None:
    """Markers are those of the node: its Python, Linux, 64 bits; extras are not wanted."""
    wheel = write_wheel(tmp_path, "some", "1.0", need)
    assert asked == [one.name for one in requirements(wheel, python=python)]


def test_an_extra_of_another_package_is_not_passed_over(tmp_path: Path) -> None:
    """What it would bring is not followed, so it is refused."""
    wheel = write_wheel(tmp_path, "some", "1.0", "other[fast]>=2")
    with pytest.raises(ValueError, match="other"):
        requirements(wheel, python="3.12")


def test_a_folder_that_is_whole_has_nothing_unmet(tmp_path: Path) -> None:
    """Names are compared as pip compares them, and what the node has is not asked for."""
    wheels = [
        write_wheel(tmp_path, "first", "1.0", "Second_Part>=2", "torch>=2.11"),
        write_wheel(tmp_path, "second_part", "2.1"),
    ]
    assert () == unmet(wheels, python="3.12", without={"torch"})


@pytest.mark.parametrize("second", [None, "1.9"])
def test_what_is_missing_or_too_old_is_named(tmp_path: Path, second: str | None) -> None:
    """The wheel that asks, and what for."""
    wheels = [write_wheel(tmp_path, "first", "1.0", "second>=2")]
    if second:
        wheels.append(write_wheel(tmp_path, "second", second))
    expected = ("first-1.0-py3-none-any.whl asks for second>=2",)
    assert expected == unmet(wheels, python="3.12", without=())


def test_sizes_are_listed_largest_first() -> None:
    """With their sum, and whether it is too much."""
    sizes = [("a.whl", 1_000_000), ("b.whl", 2_500_000)]
    assert (
        "    2.50 MB  b.whl",
        "    1.00 MB  a.whl",
        "    3.50 MB  of at most 45 MB, 2 wheels",
    ) == size_lines(sizes, most=45_000_000)
    assert "    3.50 MB  is MORE than 3 MB, 2 wheels" == size_lines(sizes, most=3_000_000)[-1]
