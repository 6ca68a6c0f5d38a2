"""No pass waits for a compiler: what the sizes of a run need is compiled before it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kernels.needed import MODELS, MOST_ROWS

ROOT = Path(__file__).parents[2]
KERNELS = {
    name
    for file in (ROOT / "harness/lpbench/executors/torch_engine/kernels").glob("*.py")
    for name in re.findall(r"^def (\w+_kernel)\(", file.read_text("utf-8"), re.MULTILINE)
}
"""All there are."""


def test_passes_compile_nothing() -> None:
    """Decodes and prompts, under all schedules, use kernels that building the engine had."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.needed"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert set(MODELS) == set(told)
    for _, added, rows in told.values():
        assert [] == added
        assert MOST_ROWS // 2 < rows <= MOST_ROWS
    assert KERNELS == {kernel for built, _, _ in told.values() for kernel in built}
