import ctypes
import os
import shutil
from pathlib import Path

import pytest

from lpbench.errors import RunError, UnavailableError
from lpbench.testing.nvml.build import build_nvml_double


def test_without_a_compiler_it_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither cc nor what CC names is there: one line, exit code 77."""
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(UnavailableError, match="needs a C compiler"):
        build_nvml_double(tmp_path)


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of its complaint is in ours."""
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho out of ink >&2\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(RunError, match="out of ink"):
        build_nvml_double(tmp_path)


@pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="needs a C compiler")
def test_named_functions_are_left_out(tmp_path: Path) -> None:
    """The library lacks the symbol, as an old driver's does, and has the others."""
    library = ctypes.CDLL(str(build_nvml_double(tmp_path, without=("nvmlDeviceGetFieldValues",))))
    assert hasattr(library, "nvmlDeviceGetName")
    assert not hasattr(library, "nvmlDeviceGetFieldValues")
