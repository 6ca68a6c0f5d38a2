"""The DRAM sampler as a child process: asked, timed, and never left behind.

Owns: the child's environment, the time it may take, what its end means, the order of requests.
Must not know: cupti, what is done with the samples.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from select import select
from typing import IO, Any, cast

import numpy as np
from pydantic import JsonValue

from lpbench.meters.cupti.fault import SamplerError
from lpbench.meters.cupti.names import BESIDE, DramMetrics, resolve, triggers_on_sysclk
from lpbench.meters.cupti.samples import DramSamples
from lpbench.meters.driver import denial_remedy

FOLDER_VARIABLE = "LPBENCH_CUPTI"
"""Names the folder that holds cupti-python and what it needs."""

INTERVAL_NS = 1_000_000
"""Between two samples. Only sums over windows are wanted: long intervals do not overflow."""

_PROGRAM = Path(__file__).with_name("sampler.py")
_BUFFER_BYTES = 512 * 2**20
_MAX_SAMPLES = 10_000
_PATIENCE_S = 10.0  # with a child whose input has ended
_WANTS_CONTEXT = frozenset({"invalid_context", "not_initialized", "cupti_error"})
_MAY_WANT_CONTEXT = frozenset({"no_nvperf", "no_device", "hardware_busy"})
"""What a CUDA context of the child's own may mend. The second ones are what Collector.enable makes
of CUPTI's "no connection to the driver", "invalid parameter" and "unknown", but often just true."""

_FEWER_MAY_MEND = frozenset({"multi_pass", "unknown_metric", "not_supported"})
"""What fewer metrics may mend: a device has fewer counters free than its chip, and says so only
when it is configured."""


class ChildSampler:
    """A `DramSampler` that runs `sampler.py` on the folder that LPBENCH_CUPTI names."""

    def __init__(
        self,
        *,
        device: int = 0,
        interval_ns: int = INTERVAL_NS,
        max_samples: int = _MAX_SAMPLES,
        timeout_s: float = 120,
    ) -> None:
        """Say what to sample; nothing is started yet.

        Args:
            device: CUDA's index of the device, as CUDA_VISIBLE_DEVICES leaves it.
            interval_ns: between two samples; chips that trigger on the SYS clock take it as a
                number of cycles, and their samples' own time stamps count.
            max_samples: decoded at a time.
            timeout_s: after which a silent child is ended.
        """
        self._device = device
        self._interval_ns = interval_ns
        self._max_samples = max_samples
        self._timeout_s = timeout_s
        self._child: _Child | None = None
        self._beside: tuple[str, ...] = ()

    def open(self) -> Mapping[str, JsonValue]:
        """Start the child, without a CUDA context of its own or else with one, and set it up."""
        self.close()
        facts = self._start_either_way()
        try:
            return {**facts, **self._configure(str(facts["chip"]))}
        except SamplerError:
            self.close()
            raise

    def start(self) -> None:
        """Begin to sample."""
        self._ask("start")

    def stop(self) -> DramSamples:
        """Stop, and return what was sampled."""
        series = self._ask("stop", max_samples=self._max_samples)
        if not series["start_ns"]:
            code = "overflow" if series["overflow"] else "no_samples"
            raise SamplerError(code, "the counters gave no sample between start and stop")
        read, written, *beside = (np.array(column, np.float64) for column in series["values"])
        return DramSamples(
            start_ns=np.array(series["start_ns"], np.int64),
            end_ns=np.array(series["end_ns"], np.int64),
            read=read,
            written=written,
            beside=dict(zip(self._beside, beside, strict=True)),
            overflow=series["overflow"],
            truncated=series["truncated"],
        )

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _start_either_way(self) -> dict[str, Any]:
        """Return what a child found, without a context of its own or else with one."""
        try:
            return self._start(create_context=False)
        except SamplerError as first:
            if first.code not in _WANTS_CONTEXT | _MAY_WANT_CONTEXT:
                raise
            try:
                return self._start(create_context=True)
            except SamplerError as second:
                is_no_context = second.code in {"no_context", "no_libcuda"}
                raise (
                    first if is_no_context and first.code in _MAY_WANT_CONTEXT else second
                ) from None

    def _start(self, *, create_context: bool) -> dict[str, Any]:
        self._child = _Child(_folder(), timeout_s=self._timeout_s)
        try:
            facts = self._ask("open", device=self._device, create_context=create_context)
        except SamplerError:
            self.close()
            raise
        return {**facts, "context": "own" if create_context else "none"}

    def _configure(self, chip: str) -> dict[str, Any]:
        """Sample the bytes and, in the same pass where the chip can, what stands beside."""
        metrics = resolve(chip, self._known)
        for beside in (BESIDE, ()):
            try:
                configured = self._set(chip, metrics, beside)
            except SamplerError as error:
                if not beside or error.code not in _FEWER_MAY_MEND:
                    raise
            else:
                break
        self._beside = beside
        names = [metrics.read, metrics.written, *beside]
        return {**configured, "metrics": names, "interval": self._interval_ns}

    def _set(self, chip: str, metrics: DramMetrics, beside: tuple[str, ...]) -> dict[str, Any]:
        return self._ask(
            "configure",
            metrics=[metrics.read, metrics.written, *beside],
            interval=self._interval_ns,
            sysclk=triggers_on_sysclk(chip),
            buffer_bytes=_BUFFER_BYTES,
        )

    def _known(self, names: tuple[str, ...]) -> Collection[str]:
        return cast("list[str]", self._ask("known", names=names)["names"])

    def _ask(self, do: str, **arguments: object) -> dict[str, Any]:
        if self._child is None:
            raise SamplerError("sampler_closed", f"the sampler was asked to {do} but is not open")
        try:
            return self._child.ask({"do": do, **arguments})
        except SamplerError as error:
            if error.code != "permission_denied":
                raise
            raise SamplerError(error.code, error.reason, fix=denial_remedy()) from None


def _folder() -> Path:
    """Return the folder with cupti-python.

    Raises:
        SamplerError: the variable is not set, or the folder does not hold it.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        raise SamplerError("not_set_up", f"{FOLDER_VARIABLE} names no folder with cupti-python")
    folder = Path(named).absolute()
    if not (folder / "cupti").is_dir():
        raise SamplerError("not_set_up", f"the folder that {FOLDER_VARIABLE} names lacks cupti")
    return folder


class _Child:
    """A running sampler, one question at a time."""

    def __init__(self, folder: Path, *, timeout_s: float) -> None:
        libraries = [str(path) for path in sorted(folder.glob("nvidia/cu*/lib"))]
        inherited = os.environ.get("LD_LIBRARY_PATH")
        paths = os.pathsep.join([*libraries, *([inherited] if inherited else [])])
        self._timeout_s = timeout_s
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            (sys.executable, "-P", "-s", str(_PROGRAM)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": paths},
        )
        self._pending = b""
        # At the interpreter's end too, so that not even a child that hangs is left behind.
        self._finish = weakref.finalize(self, _finish, self._process, self._errors, _PATIENCE_S)

    def ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Return the answer's value.

        Raises:
            SamplerError: the child answered with a code, died, or was silent too long.
        """
        if not self._finish.alive:
            raise SamplerError("sampler_died", "the sampler has ended")
        deadline = time.monotonic() + self._timeout_s
        with suppress(BrokenPipeError):  # it died: reading finds out
            self._stdin.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._line(str(request["do"]), deadline))
        if "error" in answer:
            raise SamplerError(answer["error"]["code"], answer["error"]["message"])
        return cast("dict[str, Any]", answer["ok"])

    def end(self) -> None:
        """End its input, upon which it lets go of the counters; kill it where it does not."""
        self._finish()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _line(self, do: str, deadline: float) -> bytes:
        """Read up to the end of a line."""
        stdout = self._process.stdout
        assert stdout is not None
        while b"\n" not in self._pending:
            if not select([stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                self._process.kill()
                self._finish()
                raise SamplerError("timeout", f"the sampler did not answer {do!r} in time")
            read = os.read(stdout.fileno(), 1 << 20)
            if not read:
                raise self._death(do)
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _death(self, do: str) -> SamplerError:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "nothing")
        self._finish()
        return SamplerError(
            "sampler_died", f"the sampler ended with status {status} when asked to {do}: {said}"
        )


def _finish(process: subprocess.Popen[bytes], errors: IO[bytes], patience_s: float) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    errors.close()
