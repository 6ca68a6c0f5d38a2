import os
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from select import select

import pytest

from lpbench.errors import RunError, UnavailableError
from lpbench.meters import ncu
from lpbench.meters.cupti.names import PAIRS
from lpbench.meters.ncu import KernelBytes

HEADER = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size",'
    '"Grid Size","Device","CC","dram__bytes_read.sum","dram__bytes_write.sum"'
)
UNITS = '"","","","","","","","","","","","byte","byte"'
ROW = '"{}","7","python3","127.0.0.1","{}","1","7","(128, 1, 1)","(80, 1, 1)","0","9.0","{}","{}"'
OUTPUT = "\n".join(
    [
        "==PROF== Connected to process 7 (/usr/bin/python3)",
        '==PROF== Profiling "grouped_gemm" - 0: 0%....50%....100% - 1 pass',
        HEADER,
        UNITS,
        ROW.format(0, "void grouped_gemm(float *, int)", "2,000,000,000", "1,024"),
        ROW.format(1, "void silu<float, 4>(float *)", "4096", "8192.5"),
        "==PROF== Disconnected from process 7",
    ]
)
"""What `ncu --csv --page raw --print-units base` writes for two launches."""

FAKE = """#!{python}
import sys
if "--version" in sys.argv:
    print("NVIDIA (R) Nsight Compute Command Line Profiler\\nVersion 2026.2.0.0 (build 1)")
    sys.exit()
open({seen!r}, "w").write("\\n".join(sys.argv[1:]))
open(sys.argv[sys.argv.index("--log-file") + 1], "w").write({output!r})
sys.exit({status})
"""


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, output: str = OUTPUT, status: int = 0
) -> Path:
    """Put a double of ncu on PATH; returns where it writes the arguments it got."""
    seen = folder / "arguments"
    program = folder / "ncu"
    program.write_text(
        FAKE.format(python=sys.executable, seen=str(seen), output=output, status=status)
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return seen


def test_kernels_are_read_from_the_csv() -> None:
    """Thousands separated or not, names with commas, the lines around the table left out."""
    expected = (
        KernelBytes(kernel="void grouped_gemm(float *, int)", read=2e9, written=1024),
        KernelBytes(kernel="void silu<float, 4>(float *)", read=4096, written=8192.5),
    )
    assert expected == ncu.parse(OUTPUT)


def test_the_other_pair_of_counters_is_read_by_its_names() -> None:
    """GB202's counters have names of their own."""
    output = OUTPUT.replace("bytes_read", "bytes_op_read").replace("bytes_write", "bytes_op_write")
    assert ncu.parse(OUTPUT) == ncu.parse(output, metrics=PAIRS[1])
    with pytest.raises(RunError, match=r"no column 'dram__bytes_read\.sum'"):
        ncu.parse(output)


@pytest.mark.parametrize("value", ["n/a", "", "nan", "1,5", "-3"])
def test_what_is_no_count_is_none(value: str) -> None:
    """A counter that ncu could not collect is absent, not zero."""
    (found,) = ncu.parse("\n".join([HEADER, UNITS, ROW.format(0, "k", value, "0")]))
    assert (None, 0) == (found.read, found.written)


def test_another_unit_than_bytes_is_refused() -> None:
    """Megabytes would be read as bytes."""
    with pytest.raises(RunError, match="in 'Mbyte' instead of bytes"):
        ncu.parse(OUTPUT.replace('"byte","byte"', '"Mbyte","byte"'))


def test_no_table_has_no_kernels() -> None:
    """There is no table where no kernel matched."""
    assert () == ncu.parse("==WARNING== No kernels were profiled.\n")


def test_a_command_is_profiled_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches not flushed, clocks not locked, base units, one range alone, then the command."""
    seen = install(tmp_path, monkeypatch)
    found = ncu.profile(("lpbench", "traffic", "--csv"), within="experts")
    arguments = seen.read_text().split("\n")
    pairs = dict(pairwise(arguments))
    assert ncu.parse(OUTPUT) == found
    assert ("none", "none", "base", "raw", "off", "experts/") == (
        pairs["--cache-control"],
        pairs["--clock-control"],
        pairs["--print-units"],
        pairs["--page"],
        pairs["--profile-from-start"],
        pairs["--nvtx-include"],
    )
    assert "dram__bytes_read.sum,dram__bytes_write.sum" == pairs["--metrics"]
    assert ["lpbench", "traffic", "--csv"] == arguments[-3:]


def test_denied_counters_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profiler's own error becomes exit 77 with one of the three remedies."""
    install(tmp_path, monkeypatch, output="==ERROR== ERR_NVGPUCTRPERM - denied\n", status=9)
    with pytest.raises(UnavailableError, match=r"\(permission_denied\); \w+"):
        ncu.profile(("true",), within="experts")


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        ("==ERROR== Failed to find metric\n", 1, "status 1: ==ERROR== Failed to find metric"),
        ("", 3, "status 3: no message"),
        ("==WARNING== No kernels were profiled.\n", 0, r"no kernel in the range 'moe'"),
    ],
)
def test_a_failed_run_is_one_line(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, status: int, expected: str
) -> None:
    """The profiler's last error, or that nothing matched."""
    install(tmp_path, monkeypatch, output=output, status=status)
    with pytest.raises(RunError, match=expected):
        ncu.profile(("true",), within="moe")


def test_a_command_that_does_not_end_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ncu, and the program that it runs, which would keep a model in memory."""
    script = f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path / 'pid'}; wait\n"
    (tmp_path / "ncu").write_text(script)
    (tmp_path / "ncu").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RunError, match="ncu did not end within 1 s"):
        ncu.profile(("true",), within="moe", timeout_s=1)
    with suppress(ProcessLookupError):  # it has ended already
        process = os.pidfd_open(int((tmp_path / "pid").read_text()))
        assert [process] == select([process], [], [], 60)[0]


def test_a_probe_tells_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is on PATH."""
    install(tmp_path, monkeypatch)
    found = ncu.probe()
    assert (True, {"version": "2026.2.0.0"}) == (found.available, found.facts)


def test_without_ncu_the_probe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reason and fix; profiling is exit 77."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = ncu.probe()
    assert (False, "no_ncu", "ncu is not on PATH") == (found.available, found.code, found.reason)
    with pytest.raises(UnavailableError, match="ncu is not on PATH; install"):
        ncu.profile(("true",), within="experts")


def test_an_ncu_that_fails_is_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that cannot run is found by the probe, not by the run."""
    (tmp_path / "ncu").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ncu").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert "ncu_failed" == ncu.probe().code
