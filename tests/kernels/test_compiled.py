"""What the compiler makes of every kernel, for GPUs that need not be there.

Kernels are compiled in processes of their own: in this one they are the interpreter's.
"""

import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from tools.compiled import TARGETS, Compiled, Target

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "harness/lpbench/executors/torch_engine/kernels"

SPILLS = {("sm_100", "prompts window 128"): 16}
"""Bytes a thread of what still spills, by chip and launch: GPT-OSS's window, in Triton 3.6."""


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.name)
def target(request: pytest.FixtureRequest) -> Target:
    """Return each chip in turn."""
    found: Target = request.param
    return found


@pytest.fixture(scope="module")
def compiled(target: Target, tmp_path_factory: pytest.TempPathFactory) -> list[Compiled]:
    """Return everything, compiled for the chip."""
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
        "TRITON_INTERPRET": "0",
    }
    done = subprocess.run(
        [sys.executable, "tools/compiled.py", "--target", target.name, "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    return [Compiled(**fields) for fields in json.loads(done.stdout)]


def experts(compiled: list[Compiled]) -> list[Compiled]:
    """Return the experts' kernels; the last word of a launch's name is the rows of a block."""
    return [one for one in compiled if one.kernel in {"gate_up_kernel", "down_kernel"}]


def test_every_kernel_compiles(compiled: list[Compiled]) -> None:
    """All that the sources define; a new one needs its line in tools/compiled.py."""
    defined = {
        name
        for file in KERNELS.glob("*.py")
        for name in re.findall(r"^def (\w+_kernel)\(", file.read_text(), re.MULTILINE)
    }
    assert defined == {one.kernel for one in compiled}


def test_shared_memory_is_what_a_program_can_have(compiled: list[Compiled], target: Target) -> None:
    """More would not launch."""
    assert [] == [one for one in compiled if one.shared > target.shared]


def test_kernels_stay_in_registers(compiled: list[Compiled], target: Target) -> None:
    """No value goes to memory, in the experts' kernels at any block and in float32 too."""
    spilled = [one for one in compiled if one.spills]
    assert [] == [one for one in spilled if one.local > SPILLS.get((target.name, one.launch), 0)]


def test_experts_use_the_chips_own_units(compiled: list[Compiled], target: Target) -> None:
    """Its tensor cores at any block, but in float32, and the copy engine where there is one."""
    unit = {"sm_80": "HMMA", "sm_90a": "HGMMA", "sm_100": "UTCHMMA"}[target.name]
    copies = "UTMALDG" if target.has_tma else "LDGSTS"
    fast = [one for one in experts(compiled) if "float32" not in one.launch]
    forms = {tuple(one.launch.split()[1:]) for one in fast}
    assert set(product(("bf16", "mxfp4"), ("16", "32", "64", "128"))) == forms
    assert [] == [one for one in fast if not one.counts[unit] or not one.counts[copies]]
