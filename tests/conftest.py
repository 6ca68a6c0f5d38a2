"""What holds for every test: one thread, and no GPU test without a GPU, no browser unless named."""

import os
from pathlib import Path

import pytest

# The tests' tensors are tiny: a second thread only waits, and spins while another process works.
os.environ.setdefault("OMP_NUM_THREADS", "1")

BROWSER = Path(__file__).parent / "browser"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the browser's tests, which take minutes, to those who name them: `nox -s browser`."""
    is_named = any(BROWSER.name in Path(one).parts for one in config.args)
    return True if collection_path == BROWSER and not is_named else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked gpu where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
