"""The workloads known by name.

Owns: the lookup of shipped workloads: files, and tables of lengths to draw from.
Must not know: what is in a workload file.
"""

from pathlib import Path

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.registry import unknown
from lpbench.workload.lengths import DEFAULT_PROMPTS, find_lengths, length_names
from lpbench.workload.workload import Workload, read_workload


def workload_names() -> tuple[str, ...]:
    """Return the names of the shipped workloads."""
    return tuple(sorted((*_file_names(), *length_names())))


def find_workload(name: str, *, num_prompts: int | None = None, seed: int = 0) -> Workload:
    """Return the workload called `name`, or that of the TOML file at this path.

    Args:
        name: a shipped workload, or a path.
        num_prompts: its first so many requests; None for all of a file, for the default number of
            a workload that is drawn.
        seed: of the lengths of a workload that is drawn.

    Raises:
        InputError: neither is there, the file is no workload, or it has fewer requests.
    """
    if name in length_names():
        # Lengths are drawn with NumPy, which the catalogues do without.
        from lpbench.workload.drawn import drawn_workload  # noqa: PLC0415

        drawn = DEFAULT_PROMPTS if num_prompts is None else num_prompts
        return drawn_workload(find_lengths(name), num_prompts=drawn, seed=seed)
    workload = _read(name)
    return workload if num_prompts is None else workload.first(num_prompts)


def _file_names() -> tuple[str, ...]:
    return tuple(path.stem for path in data_folder("workloads").glob("*.toml"))


def _read(name: str) -> Workload:
    if name in _file_names():
        return read_workload(data_folder("workloads") / f"{name}.toml")
    try:
        is_file = Path(name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_file = False
    if is_file or name.endswith(".toml"):
        return read_workload(Path(name))
    raise InputError(unknown("workload", name, known=workload_names()))
