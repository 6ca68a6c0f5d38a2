import enum
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lpbench.meters.cupti.child import FOLDER_VARIABLE
from lpbench.testing.cupti import MODULES, build_cupti_double, cupti, pm_sampling, profiler_host

OUR_OWN = {
    "cupti": {"SCRIPT", "NotSupportedError", "has_context"},
    "pm_sampling": {"CounterData"},  # the same class with fewer fields
    "profiler_host": set(),
}
"""Public names of the double that the real package has not, or elsewhere."""

DESCRIBE = """
import enum, inspect, json, sys
import cupti

def describe(value):
    if isinstance(value, enum.EnumMeta):
        return {member.name: member.value for member in value}
    if inspect.isclass(value):
        return [name for name in dir(value) if not name.startswith("_")]
    return None

modules = {name: getattr(cupti, name) for name in sys.argv[1:]}
print(json.dumps({
    name: {key: describe(value) for key, value in vars(module).items()}
    for name, module in modules.items()
}))
"""


def public(module: ModuleType) -> dict[str, object]:
    """Return what the double's module defines for others."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and module.__name__ == getattr(value, "__module__", None)
    }


def test_the_double_has_the_real_packages_names_and_values() -> None:
    """Against cupti-python where LPBENCH_CUPTI names it: every name, method and enum value."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        pytest.skip(f"{FOLDER_VARIABLE} names no folder with the real cupti-python")
    library = next(Path(folder).glob("nvidia/cu*/lib"))
    told = subprocess.run(
        (sys.executable, "-P", "-s", "-c", DESCRIBE, *MODULES),
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": folder, "LD_LIBRARY_PATH": str(library)},
    )
    real = json.loads(told.stdout)
    for module in (cupti, pm_sampling, profiler_host):
        short = module.__name__.rpartition(".")[2]
        for name, value in public(module).items():
            if name in OUR_OWN[short]:
                continue
            assert name in real[short], (short, name)
            if isinstance(value, type) and issubclass(value, enum.IntEnum):
                ours = {member.name: member.value for member in value}
                assert ours.items() <= real[short][name].items(), name


def test_the_double_is_a_folder_of_its_own(tmp_path: Path) -> None:
    """A package that imports without lpbench, and says that it is a double."""
    folder = build_cupti_double(tmp_path / "double", chip="AD102", read=[1], written=[2])
    script = (
        "import sys, cupti, importlib.metadata as m; params = cupti.cupti.DeviceGetChipNameParams()"
        "; cupti.cupti.device_get_chip_name(params.ptr); print(params.p_chip_name,"
        " m.version('cupti-python'), [name for name in sys.modules if 'lpbench' in name])"
    )
    told = subprocess.run(
        (sys.executable, "-P", "-s", "-c", script),
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    assert "AD102 0.0+double []\n" == told.stdout
