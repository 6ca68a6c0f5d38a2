"""DRAM bytes by kernel from Nsight Compute: a cross-check on a few configurations.

Owns: the command that profiles another command, and the reading of its CSV.
Must not know: what the command runs.

Read and written bytes are one pass, so no kernel is replayed. ncu runs one kernel at a time, so
reuse across kernels is lost, and a kernel's late writes may count for the next one. Its defaults
would flush caches and lock clocks: both are switched off. Seen are the kernels that the command
launches between cudaProfilerStart and Stop within an NVTX range, whatever they are called.
"""

import csv
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lpbench.errors import RunError, UnavailableError
from lpbench.meters.cupti.names import PAIRS, DramMetrics
from lpbench.meters.driver import denial_remedy
from lpbench.meters.meter import Capability

NAME = "ncu"
_FIX = "install Nsight Compute (part of the CUDA toolkit), or put its folder on PATH"
_FAILED = "==the command said=="
_NUMBER = re.compile(r"\d+(,\d{3})*(\.\d+)?")
_UNKNOWN_METRIC = "Failed to find metric"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBytes:
    """One launch of a kernel, in the order of launches.

    Attributes:
        kernel: its name, with its signature as ncu prints it.
        read: bytes read from DRAM; None where ncu gave none.
        written: bytes written to DRAM; None where ncu gave none.
    """

    kernel: str
    read: float | None
    written: float | None


def probe() -> Capability:
    """Return whether ncu is on PATH, and its version."""
    found = shutil.which("ncu")
    if found is None:
        return Capability(
            meter=NAME, available=False, code="no_ncu", reason="ncu is not on PATH", fix=_FIX
        )
    try:
        told = subprocess.run(  # noqa: S603 - found on PATH, fixed arguments
            (found, "--version"), capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Capability(
            meter=NAME,
            available=False,
            code="ncu_failed",
            reason=f"ncu --version failed ({type(error).__name__})",
            fix=_FIX,
        )
    version = re.search(r"\bVersion (\S+)", told)
    return Capability(
        meter=NAME, available=True, facts={"version": version[1] if version else None}
    )


def profile(
    command: Sequence[str], *, within: str, timeout_s: float = 3600
) -> tuple[KernelBytes, ...]:
    """Run a command under ncu and return the DRAM bytes of its kernels in an NVTX range.

    The names of the counters, which differ by chip, are tried in turn.

    Args:
        command: the program and its arguments; the last line it prints is told where it fails.
        within: name of the range, pushed and popped.
        timeout_s: after which it is ended.

    Raises:
        UnavailableError: ncu is not there, or may not read the counters.
        RunError: ncu or the command failed, or the range held no kernel.
    """
    ncu = shutil.which("ncu")
    if ncu is None:
        raise UnavailableError(f"ncu is not on PATH; {_FIX}", code="no_ncu")
    for metrics in PAIRS:
        status, text = _run(ncu, command, within=within, metrics=metrics, timeout_s=timeout_s)
        if _UNKNOWN_METRIC not in text:
            break
    if "ERR_NVGPUCTRPERM" in text:
        message = f"ncu may not read the counters (permission_denied); {denial_remedy()}"
        raise UnavailableError(message, code="permission_denied")
    if status:
        raise RunError(f"ncu ended with status {status}: {_last_words(text)}")
    found = parse(text, metrics=metrics)
    if not found:
        raise RunError(f"ncu saw no kernel in the range {within!r}")
    return found


def _run(
    ncu: str, command: Sequence[str], *, within: str, metrics: DramMetrics, timeout_s: float
) -> tuple[int, str]:
    """Return ncu's status and what it wrote; the command's own last words stand behind.

    Nothing is left running, whatever ends this.
    """
    with tempfile.TemporaryDirectory() as folder:
        log, said = Path(folder, "ncu.csv"), Path(folder, "said")
        arguments = (ncu, *_options(log, within=within, metrics=metrics), *command)
        with said.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - the caller's own command
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            status = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise RunError(f"ncu did not end within {timeout_s:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return status, "\n".join((_read(log), _FAILED * bool(status), _read(said)))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _last_words(text: str) -> str:
    """Return ncu's own last error, and what the command said last."""
    table, _, rest = text.partition(_FAILED)
    errors = [line for line in table.splitlines() if line.startswith("==ERROR==")]
    spoken = [line.strip() for line in rest.splitlines() if line.strip()]
    return "; ".join((*errors[-1:], *spoken[-1:])) or "no message"


def parse(text: str, *, metrics: DramMetrics = PAIRS[0]) -> tuple[KernelBytes, ...]:
    """Return the kernels of ncu's output (`--csv --page raw --print-units base`).

    A header row, a row of units, a row a launch; lines of other kinds stand before and after.

    Raises:
        RunError: a column is missing, or not in bytes.
    """
    rows = csv.reader(line for line in text.splitlines() if line.startswith('"'))
    header = next(rows, None)
    if header is None:
        return ()
    units = next(rows, [])
    columns = {}
    for name in ("Kernel Name", metrics.read, metrics.written):
        if name not in header:
            raise RunError(f"ncu's output has no column {name!r}")
        columns[name] = header.index(name)
    for name in (metrics.read, metrics.written):
        unit = units[columns[name]] if columns[name] < len(units) else ""
        if unit not in ("byte", "bytes"):
            raise RunError(f"ncu gives {name} in {unit!r} instead of bytes")
    return tuple(
        KernelBytes(
            kernel=row[columns["Kernel Name"]],
            read=_number(row[columns[metrics.read]]),
            written=_number(row[columns[metrics.written]]),
        )
        for row in rows
        if len(row) == len(header)
    )


def _options(log: Path, *, within: str, metrics: DramMetrics) -> Iterator[str]:
    yield from ("--csv", "--page", "raw", "--print-units", "base", "--log-file", str(log))
    yield from ("--metrics", f"{metrics.read},{metrics.written}")
    yield from ("--cache-control", "none", "--clock-control", "none")
    yield from ("--target-processes", "all", "--profile-from-start", "off")
    yield from ("--nvtx", "--nvtx-include", f"{within}/")  # the slash: a range pushed and popped


def _number(text: str) -> float | None:
    """Return a number as ncu prints it, thousands separated; None for "n/a" and the like."""
    return float(text.replace(",", "")) if _NUMBER.fullmatch(text) else None
