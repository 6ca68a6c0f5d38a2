"""Where the shipped data lies: catalogues of models and workloads, baselines.

Owns: the search order: the checkout beside the package, else the data inside the wheel.
Must not know: what is in the folders.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_folder(*parts: str) -> Path:
    """Return the folder of shipped data, such as `data_folder("workloads", "models")`."""
    checkout = _PACKAGE.parents[1]
    inside = _PACKAGE / "_data"
    root = checkout if (checkout / "workloads" / "models").is_dir() else inside
    return root.joinpath(*parts)
