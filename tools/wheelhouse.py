"""Gathers the wheels with which lpbench runs, and is tested, on a node without a network.

Owns: the closure of dependencies without what the node has, for another Python than this one, and
the bound on its size. Run by `nox -s wheelhouse -- [--python 3.12] [--without torch,numpy]`.
Must not know: what lpbench depends on (pyproject.toml says it) or which versions (constraints.txt).

pip resolves for another Python too, but it can leave nothing out: so each round downloads, without
dependencies, what the last round's wheels ask for, and the end is checked for what is unmet.
The sampler's packages go to a folder of their own: they clash with those that torch pins.
"""

import argparse
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Sequence
from email.parser import BytesHeaderParser
from pathlib import Path
from zipfile import ZipFile

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

MOST_BYTES = 45_000_000
"""What can be carried to such a node."""

NEWEST_GLIBC = 28
"""Wheels for glibc 2.28 and older serve: any distribution that a current driver supports."""

ROOT = Path(__file__).resolve().parents[1]


def requirements(wheel: Path, *, python: str) -> tuple[Requirement, ...]:
    """Return what a wheel asks for on 64-bit Linux with this Python, extras aside.

    Raises:
        ValueError: it asks for an extra of another package, which is not followed.
    """
    with ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = BytesHeaderParser().parsebytes(archive.read(name))
    target: dict[str, str] = {
        **{key: str(value) for key, value in default_environment().items()},
        "extra": "",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    every = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    found = tuple(one for one in every if one.marker is None or one.marker.evaluate(target))
    if extras := [str(one) for one in found if one.extras]:
        raise ValueError(f"{wheel.name} asks for extras: {', '.join(extras)}")
    return found


def unmet(wheels: Iterable[Path], *, python: str, without: Collection[str]) -> tuple[str, ...]:
    """Return a line for each requirement of a wheel that no wheel of the same folder meets."""
    found = list(wheels)
    parsed = [parse_wheel_filename(wheel.name) for wheel in found]
    versions: dict[str, Version] = {name: version for name, version, *_ in parsed}
    return tuple(
        f"{wheel.name} asks for {need}"
        for wheel in found
        for need in requirements(wheel, python=python)
        if (name := canonicalize_name(need.name)) not in without
        and (name not in versions or not need.specifier.contains(versions[name], prereleases=True))
    )


def gather(
    wanted: Sequence[Requirement], *, folder: Path, python: str, without: Collection[str]
) -> None:
    """Download what is wanted and what it asks for, round by round.

    Raises:
        SystemExit: a package is not to be had, or two want different versions of one.
    """
    known: set[str] = set(without)
    while new := [one for one in wanted if canonicalize_name(one.name) not in known]:
        known |= {canonicalize_name(one.name) for one in new}
        before = set(folder.glob("*.whl"))
        _download(new, folder=folder, python=python)
        fresh = set(folder.glob("*.whl")) - before
        wanted = [need for wheel in fresh for need in requirements(wheel, python=python)]
    if missing := unmet(folder.glob("*.whl"), python=python, without=without):
        sys.exit("wheelhouse: unmet: " + "; ".join(missing))


def size_lines(sizes: Sequence[tuple[str, int]], *, most: int) -> tuple[str, ...]:
    """Return the sizes, largest first, and their sum against the bound."""
    listed = sorted(sizes, key=lambda one: -one[1])
    total = sum(size for _, size in sizes)
    verdict = "of at most" if total <= most else "is MORE than"
    return (
        *(f"{size / 1e6:8.2f} MB  {name}" for name, size in listed),
        f"{total / 1e6:8.2f} MB  {verdict} {most / 1e6:.0f} MB, {len(listed)} wheels",
    )


def _download(wanted: Iterable[Requirement], *, folder: Path, python: str) -> None:
    platforms = ["manylinux2014_x86_64"]
    platforms += [f"manylinux_2_{minor}_x86_64" for minor in range(5, NEWEST_GLIBC + 1)]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--python-version", python, "--dest", str(folder)),
            *("--constraint", str(ROOT / "constraints.txt")),
            *(f"--platform={name}" for name in platforms),
            *(f"{one.name}{one.specifier}" for one in wanted),
        ],
        check=True,
    )


def main() -> None:
    """Build lpbench's wheel, gather around it, and hold the folder to its bound."""
    options = _options()
    without = {canonicalize_name(name) for name in options.without.split(",") if name}
    folder: Path = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    build = (sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT))
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    (own,) = folder.glob("*.whl")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = groups["dependency-groups"]
    tested = map(Requirement, ("nox", *groups["tests-light"]))  # for `nox -s tests_gpu` there
    wanted = [*requirements(own, python=options.python), *tested]
    gather(wanted, folder=folder, python=options.python, without=without)
    sampler = list(map(Requirement, groups["sampler"]))
    (folder / "sampler").mkdir()
    gather(sampler, folder=folder / "sampler", python=options.python, without=without)
    sizes = [
        (str(wheel.relative_to(folder)), wheel.stat().st_size) for wheel in folder.rglob("*.whl")
    ]
    lines = size_lines(sizes, most=MOST_BYTES)
    sys.stdout.write("\n".join(lines) + "\n")
    if sum(size for _, size in sizes) > MOST_BYTES:
        sys.exit("wheelhouse: too large to carry; see the sizes above, and --without")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Gather wheels for a node without a network.")
    parser.add_argument("--python", default="3.12", help="the node's Python (default 3.12)")
    parser.add_argument("--without", default="", help="names, by comma, that the node has")
    parser.add_argument("--folder", type=Path, default=ROOT / "dist" / "wheelhouse")
    return parser.parse_args()


if __name__ == "__main__":
    main()
