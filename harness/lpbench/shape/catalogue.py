"""The models known by name: geometry as config.json facts, no weights.

Owns: the lookup of shipped model geometries.
Must not know: how weights are made or loaded.
"""

import json
from pathlib import Path

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.registry import unknown
from lpbench.shape.model import ModelShape, read_config


def model_names() -> tuple[str, ...]:
    """Return the names of the shipped geometries."""
    return tuple(sorted(path.stem for path in data_folder("workloads", "models").glob("*.json")))


def find_shape(name: str) -> tuple[ModelShape, Path | None]:
    """Return a model's geometry, and its folder where it is a checkpoint's.

    Args:
        name: a catalogue name, or the path of a folder with a config.json.

    Raises:
        InputError: it is neither, or the config.json describes no model that is known.
    """
    if name in model_names():
        path = data_folder("workloads", "models") / f"{name}.json"
        return ModelShape.from_config(json.loads(path.read_text(encoding="utf-8")), name=name), None
    folder = Path(name)
    try:
        nowhere = not folder.exists()
    except (OSError, ValueError):  # a name that no file can have
        nowhere = True
    if nowhere and folder.name == name:
        raise InputError(unknown("model", name, known=model_names()) + "; or give a folder")
    return ModelShape.from_config(read_config(folder), name=folder.resolve().name), folder
