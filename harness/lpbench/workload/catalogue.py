"""The workloads known by name.

Owns: the lookup of shipped workloads.
Must not know: what is in a workload file.
"""

from pathlib import Path

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.registry import unknown
from lpbench.workload.workload import Workload, read_workload


def workload_names() -> tuple[str, ...]:
    """Return the names of the shipped workloads."""
    return tuple(sorted(path.stem for path in data_folder("workloads").glob("*.toml")))


def find_workload(name: str) -> Workload:
    """Return the workload called `name`, or that of the TOML file at this path.

    Raises:
        InputError: neither is there, or the file is no workload.
    """
    if name in workload_names():
        return read_workload(data_folder("workloads") / f"{name}.toml")
    try:
        is_file = Path(name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_file = False
    if is_file or name.endswith(".toml"):
        return read_workload(Path(name))
    raise InputError(unknown("workload", name, known=workload_names()))
