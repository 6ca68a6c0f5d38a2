"""The kernels' tests run in Triton's interpreter, on any CPU, where what it needs is there.

Kernels become the interpreter's when they are defined, so its switch is set before any is.
"""

import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

LACKING = (
    "the kernels' tests need Triton: nox -s kernels"
    if importlib.util.find_spec("triton") is None
    else "Triton's interpreter needs numpy < 2.4: nox -s kernels"
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0"
    else ""
)

if not LACKING:
    os.environ.setdefault("TRITON_INTERPRET", "1")


class Skipped(pytest.Module):
    """A test file that is not even imported."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Say why."""
        pytest.skip(LACKING)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Skipped | None:
    """Skip every file of this folder where something is lacking, for one reason."""
    return Skipped.from_parent(parent, path=module_path) if LACKING else None


@pytest.fixture(autouse=True)
def loops_end_where_a_kernel_says() -> Iterator[None]:
    """Let Triton 3.6 read the bound of a loop as it does: numpy < 2.4 only warns of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Conversion of an array", DeprecationWarning)
        yield
