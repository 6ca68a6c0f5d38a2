import os
from pathlib import Path

import pytest

from tests.gpu.checkpoints import FAMILIES, Checkpoint


@pytest.fixture(scope="session", params=FAMILIES)
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """Return a tiny checkpoint, of each family in turn; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / request.param
    return Checkpoint(folder=folder, model=FAMILIES[request.param](folder))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return where records go: $LPBENCH_RESULTS where it is set, else a folder of the test's."""
    folder = Path(os.environ.get("LPBENCH_RESULTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
