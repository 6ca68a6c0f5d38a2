"""The meters over the NVML double, built once a session."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.meters.nvml.faults import Rigs
from tests.meters.nvml.rig import Rig


@pytest.fixture(scope="session")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    """Children over the double, one for each set of missing symbols."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("needs a C compiler")
    rigs = Rigs(tmp_path_factory.mktemp("nvml"))
    yield rigs
    rigs.close()


@pytest.fixture(scope="session")
def rig(rigs: Rigs) -> Rig:
    """The child over the whole double."""
    return rigs.rig()
