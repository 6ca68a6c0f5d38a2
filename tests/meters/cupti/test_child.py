import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from lpbench.meters.cupti.child import FOLDER_VARIABLE, ChildSampler
from lpbench.meters.cupti.fault import SETUP, SamplerError
from lpbench.meters.cupti.names import BESIDE
from lpbench.meters.driver import denial_remedy
from lpbench.testing.cupti import Fault, build_cupti_double

READ = (0, 0, 4096, 8192, 1024, 0, 0)
WRITTEN = (0, 0, 512, 0, 256, 0, 0)

OPENING = {
    "broken_import": "not_set_up",
    "no_libcuda": "no_libcuda",
    "permission_denied": "permission_denied",
    "hardware_busy": "hardware_busy",
    "already_enabled": "hardware_busy",
    "no_nvperf": "no_nvperf",
    "no_device": "no_device",
    "mig": "mig",
    "virtualised": "virtualised",
    "out_of_memory": "out_of_memory",
    "unknown_chip": "unknown_chip",
    "unknown_metric": "unknown_metric",
    "always_multi_pass": "multi_pass",
    "not_supported": "not_supported",
}
"""The code that opening ends with, by fault."""

LIBCUDA = """
static int contexts;
int cuInit(unsigned flags) { return flags; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &contexts; return device; }
int cuCtxSetCurrent(void *context) { contexts += context == &contexts; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int lpbench_contexts_made(void) { return contexts; }
"""

Opened = Callable[..., ChildSampler]


@pytest.fixture
def sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Return a builder of samplers on a double with a fault; all are closed at the end."""
    built: list[ChildSampler] = []

    def build(fault: Fault | None = None, *, chip: str = "GH100", **options: int) -> ChildSampler:
        folder = tmp_path / f"double{len(built)}"
        build_cupti_double(folder, read=READ, written=WRITTEN, chip=chip, fault=fault)
        monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
        built.append(ChildSampler(**options))
        return built[-1]

    yield build
    for each in built:
        each.close()


def pid(sampler: ChildSampler) -> int:
    """Return the running child's process id."""
    assert sampler._child is not None
    return sampler._child._process.pid


def is_alive(process: int) -> bool:
    """Return whether a process of this id runs; one that waits to be reaped has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "Z" != stat.rpartition(")")[2].split()[0]


@pytest.mark.parametrize("max_samples", [1, 2, 7, 8, 10_000])
def test_every_sample_arrives_however_it_is_decoded(sampler: Opened, max_samples: int) -> None:
    """Decoding goes on until nothing is left, and each window has its own samples."""
    child = sampler(max_samples=max_samples, interval_ns=500)
    child.open()
    for _ in range(2):
        child.start()
        found = child.stop()
        assert list(READ) == found.read.tolist()
        assert list(WRITTEN) == found.written.tolist()
        assert [500] * len(READ) == (found.end_ns - found.start_ns).tolist()
        assert set(BESIDE) == set(found.beside)
        assert (False, False) == (found.overflow, found.truncated)


def test_it_says_what_serves(sampler: Opened) -> None:
    """Versions, chip, context, metrics and trigger; no path among them."""
    facts = sampler().open()
    assert "0.0+double" == facts["cupti_python"]
    assert ("GH100", "none", 1) == (facts["chip"], facts["context"], facts["passes"])
    assert "GPU_TIME_INTERVAL" == facts["trigger"]
    assert ["dram__bytes_read.sum", "dram__bytes_write.sum", *BESIDE] == facts["metrics"]
    assert not [value for value in facts.values() if str(value).startswith("/")]


def test_a_chip_without_a_timer_triggers_on_the_sys_clock(sampler: Opened) -> None:
    """GA100 refuses the time trigger; it is not asked for it."""
    assert "GPU_SYSCLK_INTERVAL" == sampler(chip="GA100").open()["trigger"]


@pytest.mark.parametrize("fault", ["multi_pass", "few_counters"])
def test_the_pair_alone_is_sampled_where_more_takes_two_passes(
    sampler: Opened, fault: Fault
) -> None:
    """Bytes come before clocks, whether the chip says so or the device when it is configured."""
    child = sampler(fault)
    assert ["dram__bytes_read.sum", "dram__bytes_write.sum"] == child.open()["metrics"]
    child.start()
    assert {} == child.stop().beside


@pytest.mark.parametrize("fault", OPENING)
def test_a_fault_at_opening_is_a_code_and_leaves_no_child(sampler: Opened, fault: Fault) -> None:
    """One line with the code and what to do; the child is gone."""
    child = sampler(fault)
    with pytest.raises(SamplerError) as caught:
        child.open()
    assert (OPENING[fault], 77) == (caught.value.code, caught.value.exit_code)
    assert 1 == len(str(caught.value).splitlines())
    assert caught.value.fix
    assert child._child is None


def test_a_denial_names_the_remedy_of_this_machine(sampler: Opened) -> None:
    """Not a general hint: what the driver and the container here call for."""
    with pytest.raises(SamplerError) as caught:
        sampler("permission_denied").open()
    assert denial_remedy() == caught.value.fix


def test_every_fault_of_the_double_is_tested() -> None:
    """The table above and the tests below leave none out."""
    below = {
        "needs_context",
        "needs_context_quietly",
        "multi_pass",
        "few_counters",
        "overflow",
        "overflow_flag",
        "truncated",
        "no_samples",
        "crash",
        "hang",
    }
    assert set(get_args(Fault)) == {*OPENING, *below}


@pytest.mark.parametrize("fault", ["overflow", "overflow_flag"])
def test_an_overflow_is_told(sampler: Opened, fault: Fault) -> None:
    """By the exception, or by the flag that the Collector does not pass on."""
    child = sampler(fault, max_samples=2)
    child.open()
    child.start()
    assert child.stop().overflow


def test_records_left_behind_are_told(sampler: Opened) -> None:
    """Decoding that stops with records left is `truncated`, however few each decode gave."""
    child = sampler("truncated", max_samples=100)
    child.open()
    child.start()
    found = child.stop()
    assert found.truncated
    assert list(READ[:-1]) == found.read.tolist()


@pytest.mark.parametrize("fault", ["no_samples", "overflow"])
def test_no_sample_at_all_is_a_code(sampler: Opened, fault: Fault) -> None:
    """An empty series is not zero bytes; where all was lost to an overflow that is the reason."""
    child = sampler(fault)
    child.open()
    child.start()
    with pytest.raises(SamplerError) as caught:
        child.stop()
    assert fault == caught.value.code


def test_a_wrong_order_is_a_code_and_not_the_end(sampler: Opened) -> None:
    """Stopping what was not started fails; the same child serves on."""
    child = sampler()
    with pytest.raises(SamplerError) as closed:
        child.start()
    child.open()
    with pytest.raises(SamplerError) as caught:
        child.stop()
    assert ("sampler_closed", "wrong_order") == (closed.value.code, caught.value.code)
    child.start()
    assert len(READ) == len(child.stop())


def test_a_child_that_dies_is_a_code(sampler: Opened) -> None:
    """Its status is told; closing afterwards is quiet, and it can be opened again."""
    child = sampler("crash")
    child.open()
    child.start()
    with pytest.raises(SamplerError, match=f"status -{signal.SIGABRT:d}") as caught:
        child.stop()
    assert "sampler_died" == caught.value.code
    child.close()
    assert "GH100" == child.open()["chip"]


def test_a_child_that_is_killed_is_a_code(sampler: Opened) -> None:
    """Killed between two requests, as for memory: the next request says so."""
    child = sampler()
    child.open()
    os.kill(pid(child), signal.SIGKILL)
    with pytest.raises(SamplerError, match=f"status -{signal.SIGKILL:d}") as caught:
        child.start()
    assert "sampler_died" == caught.value.code


def test_a_child_that_hangs_is_ended(sampler: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence beyond the timeout is a code, and the process is gone."""
    child = sampler("hang")
    child.open()
    process = pid(child)
    assert child._child is not None
    monkeypatch.setattr(child._child, "_timeout_s", 0.05)
    with pytest.raises(SamplerError) as caught:
        child.start()
    assert "timeout" == caught.value.code
    assert not is_alive(process)


def test_closing_disables_explicitly(
    sampler: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, on request and not by a finalizer; closing twice is quiet."""
    marker = tmp_path / "disabled"
    monkeypatch.setenv("LPBENCH_CUPTI_DOUBLE_DISABLED", str(marker))
    child = sampler()
    child.open()
    process = pid(child)
    child.close()
    child.close()
    assert "disabled\n" == marker.read_text()
    assert not is_alive(process)


@pytest.mark.parametrize("fault", ["needs_context", "needs_context_quietly"])
def test_a_context_of_its_own_is_tried_second(
    sampler: Opened, tmp_path: Path, fault: Fault
) -> None:
    """Where PM sampling refuses a process without a context, one is made, and the record says so.

    The driver's library is a double in C: the four calls that make a context, and its version.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler for the double of libcuda")
    child = sampler(fault)
    libraries = tmp_path / "double0/nvidia/cu13/lib"
    libraries.mkdir(parents=True)
    (tmp_path / "cuda.c").write_text(LIBCUDA)
    build = (compiler, "-shared", "-fPIC", "-o", libraries / "libcuda.so.1", tmp_path / "cuda.c")
    subprocess.run(build, check=True)
    facts = child.open()
    assert ("own", 13000) == (facts["context"], facts["cuda_driver"])


def test_without_a_driver_no_context_can_be_made(sampler: Opened) -> None:
    """The second try's reason is the one that is told."""
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("a driver is here")
    with pytest.raises(SamplerError) as caught:
        sampler("needs_context").open()
    assert "no_libcuda" == caught.value.code


@pytest.mark.parametrize("named", [None, "", "empty"])
def test_a_folder_that_is_not_set_up_tells_the_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    """No variable, an empty one, or a folder without cupti: nothing is started."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(FOLDER_VARIABLE, named and str(tmp_path))
    with pytest.raises(SamplerError) as caught:
        ChildSampler().open()
    assert ("not_set_up", SETUP) == (caught.value.code, caught.value.fix)


PARENT = """
import os, signal
from lpbench.meters.cupti import child as module

module._PATIENCE_S = {patience}
child = module.ChildSampler()
child.open()
print(child._child._process.pid, flush=True)
{ending}
"""
ENDINGS = {
    "interrupted": "os.killpg(0, signal.SIGINT); signal.pause()",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "ended": "",
    "hanging": "os.kill(child._child._process.pid, signal.SIGSTOP)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_orphan_is_left(tmp_path: Path, ending: str) -> None:
    """Ctrl-C for the whole group, a killed parent, its plain end, a child that does not answer.

    The child lets go of the counters itself, but for the one that hangs: that is killed.
    """
    folder = build_cupti_double(tmp_path / "double")
    marker = tmp_path / "disabled"
    patience = 0.05 if "hanging" == ending else 60
    parent = subprocess.run(
        (sys.executable, "-c", PARENT.format(ending=ENDINGS[ending], patience=patience)),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        env=os.environ
        | {
            FOLDER_VARIABLE: str(folder),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "LPBENCH_CUPTI_DOUBLE_DISABLED": str(marker),
        },
    )
    process = int(parent.stdout)
    deadline = time.monotonic() + 30
    while is_alive(process) and time.monotonic() < deadline:  # a killed parent waits for nobody
        os.sched_yield()
    assert not is_alive(process)
    assert ("hanging" != ending) == marker.exists()
