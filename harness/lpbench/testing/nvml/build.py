"""Builds the NVML double with the system's C compiler.

Owns: the compiler's command line.
Must not know: what the double answers.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lpbench.errors import RunError, UnavailableError

LIBRARY = "libnvidia-ml.so.1"
"""The name under which pynvml loads the driver's library."""


def build_nvml_double(folder: Path, *, without: Sequence[str] = ()) -> Path:
    """Compile the double into `folder`, which LD_LIBRARY_PATH then names.

    Args:
        folder: an existing folder.
        without: functions that the library must lack, as an old driver lacks them.

    Returns:
        The library.

    Raises:
        UnavailableError: there is no C compiler.
        RunError: the compiler failed.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        msg = "building the NVML double needs a C compiler; install gcc, or name one in CC"
        raise UnavailableError(msg)
    library = folder / LIBRARY
    source = Path(__file__).with_name("double.c")
    renamed = [f"-D{name}=lacking_{name}" for name in without]
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}")
    command = [compiler, *flags, *renamed, "-o", str(library), str(source), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        reason = next(iter(done.stderr.splitlines()), f"exit code {done.returncode}")
        raise RunError(f"{compiler} could not build the NVML double: {reason}")
    return library
