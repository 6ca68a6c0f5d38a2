"""`lpbench doctor`: what can be measured here, and for what cannot, why and the fix."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from pydantic import ValidationError

from lpbench.bench import cpu, doctor
from lpbench.bench.diagnosis import Diagnosis
from lpbench.errors import UnavailableError
from lpbench.meters.catalogue import METERS
from lpbench.meters.meter import Capability
from lpbench.record.provenance import installed_version
from lpbench.shape.catalogue import find_shape, model_names
from lpbench.shape.device import Device, find_device
from lpbench.shape.precision import PRECISIONS, weight_bytes
from tests.cli.command import (
    BAD_INPUT,
    OK,
    UNAVAILABLE,
    CommandLine,
    contents,
    finish,
    one_line,
    start,
)


def diagnosed(lpbench: CommandLine, *arguments: str, code: int = OK) -> Diagnosis:
    """Return what `lpbench doctor --json -` writes, which is one document and no more."""
    result = lpbench("doctor", "--json", "-", *arguments)
    assert code == result.code, result.err
    return Diagnosis.model_validate_json(result.out)


@pytest.fixture
def no_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every meter but the counting one be absent, whatever machine this is."""

    def probe(name: str) -> Capability:
        if name == "experts":
            return Capability(meter=name, available=True)
        return Capability(
            meter=name, available=False, code="no_one", reason=f"no {name}", fix=f"get {name}"
        )

    monkeypatch.setattr(doctor, "probe_meter", probe)


def test_the_text_fits_a_pipe(lpbench: CommandLine) -> None:
    """At most 80 columns, no escape codes, nothing on stderr, exit 0."""
    result = lpbench("doctor")
    assert (OK, "") == (result.code, result.err)
    assert 80 >= max(len(line) for line in result.out.splitlines())
    assert "\x1b" not in result.out


@pytest.mark.usefixtures("no_instrument")
def test_every_meter_is_there_or_has_reason_and_fix(lpbench: CommandLine) -> None:
    """The text has each of the catalogue's meters, and for those absent both sentences."""
    out = " ".join(lpbench("doctor").out.split())
    for name in METERS.names():
        assert f" {name} " in out
    assert "no rapl fix: get rapl" in out


def test_the_json_follows_its_schema(lpbench: CommandLine) -> None:
    """Every key of the document is a property of the schema, and every required one is there."""
    document = json.loads(lpbench("doctor", "--json", "-").out)
    schema = Diagnosis.model_json_schema()
    assert set(schema["properties"]) == set(document)
    machine = schema["$defs"]["Machine"]
    assert set(machine["required"]) == set(machine["properties"]) == set(document["machine"])
    assert "object" == schema["type"]
    parts = [part for part in schema["$defs"].values() if "properties" in part]
    assert not any(part["additionalProperties"] for part in (schema, *parts))
    assert 1 == document["schema_version"] == schema["properties"]["schema_version"]["const"]


@pytest.mark.parametrize(
    "change", [{"extra": 1}, {"schema_version": 2}, {"machine": None}], ids=str
)
def test_the_schema_refuses_what_it_does_not_know(
    lpbench: CommandLine, change: dict[str, object]
) -> None:
    """A wrong document does not pass for a diagnosis."""
    document = json.loads(lpbench("doctor", "--json", "-").out)
    with pytest.raises(ValidationError):
        Diagnosis.model_validate_json(json.dumps({**document, **change}))


def test_the_machine_is_this_one(lpbench: CommandLine) -> None:
    """Memory and Python as the system has them."""
    machine = diagnosed(lpbench).machine
    assert psutil.virtual_memory().total == machine.memory_total_bytes
    assert 0 < machine.memory_free_bytes <= machine.memory_total_bytes
    assert sys.version.split()[0] == machine.python
    assert bool(machine.gpus) == (machine.no_gpu is None)


def test_nothing_names_the_machine(lpbench: CommandLine) -> None:
    """Neither its host name nor a path of the user's stands in text or JSON."""
    for arguments in ((), ("--json", "-")):
        out = lpbench("doctor", *arguments).out
        words = out.replace('"', " ").split()
        assert os.uname().nodename not in words
        assert str(Path.home()) + "/" not in out
        assert str(Path.cwd()) not in out
        assert "GPU-" not in out


MODELLED_ONLY = {"deepseek-v3", "mixtral-8x7b", "olmoe-1b-7b"}


def test_what_is_modelled_only_fits_nowhere(lpbench: CommandLine) -> None:
    """OLMoE would fit the memory of many machines, but nothing here computes it."""
    rows = [line.split() for line in lpbench("doctor").out.splitlines()]
    found = [" ".join(row[-2:]) for row in rows if row and row[0] == "olmoe-1b-7b"]
    assert ["modelled only"] * 2 == found


def test_every_model_is_weighed_against_what_is_free(lpbench: CommandLine) -> None:
    """Each model in both dtypes; it needs more than its weights, and fits in nine tenths.

    One that the engine does not compute has no room anywhere, be there as much memory as it likes.
    """
    found = diagnosed(lpbench)
    expected = [(name, dtype) for name in model_names() for dtype in ("bfloat16", "float32")]
    assert expected == [(one.model, one.dtype) for one in found.models]
    room = int(found.machine.memory_free_bytes * 0.9)
    for one in found.models:
        weights = weight_bytes(find_shape(one.model)[0], PRECISIONS[one.dtype])
        assert weights < one.needs_bytes < 3 * weights
        assert one.computed == (one.model not in MODELLED_ONLY)
        if not one.computed:
            assert () == one.rooms
            continue
        cpu = one.rooms[0]
        assert ("cpu", room) == (cpu.device, cpu.has_bytes)
        assert cpu.fits == (one.needs_bytes <= room)


def test_json_goes_to_a_file_too(lpbench: CommandLine, tmp_path: Path) -> None:
    """The file holds a diagnosis and the text is printed besides."""
    result = lpbench("doctor", "--json", tmp_path / "doctor.json")
    assert OK == result.code
    assert "rapl" in result.out
    found = Diagnosis.model_validate_json((tmp_path / "doctor.json").read_text())
    assert METERS.names() == tuple(one.name for one in found.meters)


def test_what_is_required_and_there_changes_nothing(lpbench: CommandLine) -> None:
    """Exit 0 with the findings."""
    result = lpbench("doctor", "--require", "experts")
    assert (OK, "") == (result.code, result.err)


@pytest.mark.usefixtures("no_instrument")
def test_what_is_required_and_absent_is_77(lpbench: CommandLine) -> None:
    """The findings on stdout all the same, and one line with the meter, its reason and its fix."""
    result = lpbench("doctor", "--require", "rapl", "--require", "experts", "--require", "rapl")
    assert UNAVAILABLE == result.code
    assert "meter 'rapl': no rapl; get rapl" == one_line(result.err)
    assert "get rapl" in result.out
    meters = diagnosed(lpbench, "--require", "rapl", code=UNAVAILABLE).meters
    assert {"experts"} == {one.name for one in meters if one.available}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--require", "rappl"), "did you mean 'rapl'"),
        (("--require", "rapl", "--require", "nothing"), "unknown meter 'nothing'"),
        (("--require",), "--require"),
        (("--json", "/dev/null/doctor.json"), "doctor.json"),
        (("rapl",), "rapl"),
    ],
    ids=str,
)
def test_bad_input(
    lpbench: CommandLine, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """One line, exit code 2, nothing printed, nothing written."""
    result = lpbench("doctor", "--json", tmp_path / "doctor.json", *arguments)
    assert (BAD_INPUT, "") == (result.code, result.out), result.err
    assert says in one_line(result.err)
    assert {} == contents(tmp_path)


CUDA = "13.0"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what gives torch, which runs here without CUDA, devices of the test's own."""
    import torch

    def give(
        *, version: str | None = CUDA, devices: int = 1, error: RuntimeError | None = None
    ) -> None:
        def free_and_total(index: int) -> tuple[int, int]:
            if error is not None:
                raise error
            return (index + 1) * 70 * 10**9, 150 * 10**9

        fake = SimpleNamespace(
            is_available=lambda: devices > 0,
            device_count=lambda: devices,
            mem_get_info=free_and_total,
            get_device_name=lambda index: f"GPU number {index}",
        )
        monkeypatch.setattr(doctor, "has_cuda_driver", lambda: True)
        monkeypatch.setattr(torch.version, "cuda", version)
        monkeypatch.setattr(torch, "cuda", fake)

    return give


def test_the_gpus_are_those_of_torch(lpbench: CommandLine, cuda: Callable[..., None]) -> None:
    """Each with its name and memory, and the models weighed against what is free on it."""
    cuda(devices=2)
    found = diagnosed(lpbench)
    expected = [("cuda:0", "GPU number 0", 70 * 10**9), ("cuda:1", "GPU number 1", 140 * 10**9)]
    assert expected == [(gpu.device, gpu.name, gpu.free_bytes) for gpu in found.machine.gpus]
    assert (CUDA, None) == (found.machine.cuda, found.machine.no_gpu)
    qwen = next(one for one in found.models if one.model == "qwen3-30b-a3b")
    assert [("cuda:0", 63 * 10**9, True), ("cuda:1", 126 * 10**9, True)] == [
        (room.device, room.has_bytes, room.fits) for room in qwen.rooms[1:]
    ]


@pytest.mark.parametrize(
    ("given", "reason", "fix"),
    [
        ({"version": None}, "built without CUDA", "CUDA build"),
        ({"devices": 0}, "sees no CUDA device", "CUDA_VISIBLE_DEVICES"),
        ({"error": RuntimeError("CUDA error: lost\nmore")}, "CUDA error: lost", "nvidia-smi"),
    ],
    ids=["cpu-build", "none-visible", "lost"],
)
def test_a_gpu_that_torch_cannot_use_is_explained(
    lpbench: CommandLine,
    cuda: Callable[..., None],
    given: dict[str, object],
    reason: str,
    fix: str,
) -> None:
    """A driver is there and yet no device: why, and what to do."""
    cuda(**given)
    result = lpbench("doctor")
    machine = diagnosed(lpbench).machine
    assert (OK, ()) == (result.code, machine.gpus)
    assert reason in (machine.no_gpu or "")
    assert fix in (machine.no_gpu_fix or "")


def test_no_driver_is_explained(lpbench: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver's library torch is not even asked."""
    monkeypatch.setattr(doctor, "has_cuda_driver", lambda: False)
    machine = diagnosed(lpbench).machine
    assert "libcuda.so.1" in (machine.no_gpu or "")
    assert "container" in (machine.no_gpu_fix or "")


def test_without_torch_it_says_so(lpbench: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 0 on a machine that has a driver and no torch; the fix is a line to type."""
    monkeypatch.setattr(doctor, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(
        doctor,
        "installed_version",
        lambda name: None if name == "torch" else installed_version(name),
    )
    found = diagnosed(lpbench)
    assert "torch, which would see it, is not installed" == found.machine.no_gpu
    (torch,) = (one for one in found.packages if one.name == "torch")
    assert (None, "pip install 'torch>=2.11'") == (torch.version, torch.fix)


WITHOUT = """
import sys
for name in ("numpy", "torch", "transformers", "tokenizers", "safetensors", "pynvml"):
    sys.modules[name] = None
from lpbench.cli.app import main
main()
"""


@pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json", "-"), ("list", "meters")])
def test_it_runs_where_little_is_installed(arguments: tuple[str, ...]) -> None:
    """Neither torch nor NumPy nor a vendor's library is needed to be told what is missing."""
    result = finish(start(*arguments, program=("-c", WITHOUT)))
    assert OK == result.code, result.err


def test_a_command_that_needs_more_sends_to_the_doctor() -> None:
    """Where a package is missing, exit code 77 and one line that names it."""
    result = finish(start("traffic", program=("-c", WITHOUT)))
    assert (UNAVAILABLE, "") == (result.code, result.out)
    assert "package 'numpy' is not installed" in (line := one_line(result.err))
    assert "lpbench doctor" in line


def test_several_absent_meters_make_one_line() -> None:
    """Each is named once, with its reason and fix."""
    found = doctor.diagnose()
    absent = found.meters[0].model_copy(
        update={"available": False, "code": "x", "reason": "why", "fix": "how"}
    )
    meters = (absent, absent.model_copy(update={"name": "other"}))
    with pytest.raises(UnavailableError) as caught:
        doctor.check_required(
            found.model_copy(update={"meters": meters}), ["experts", "other", "experts"]
        )
    assert "meter 'experts': why; how; meter 'other': why; how" == str(caught.value)


@pytest.fixture
def quick_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the CPU's rates be given, instead of measuring for ten seconds."""

    def measure_cpu(*, name: str) -> Device:
        return Device(
            name=name,
            cuda_names=(),
            memory_bandwidth=41.2e9,
            memory_bytes=25 * 10**9,
            bf16_flops=2.2e11,
            fp32_flops=1.05e11,
            sources={"memory_bandwidth": "measured"},
        )

    monkeypatch.setattr(cpu, "measure_cpu", measure_cpu)


@pytest.mark.usefixtures("quick_cpu")
def test_the_cpu_is_measured_at_will(lpbench: CommandLine, tmp_path: Path) -> None:
    """Into a file that is a device, shown above the findings; with --json - these stay alone."""
    result = lpbench("doctor", "--measure", tmp_path / "mine.toml")
    assert OK == result.code, result.err
    assert "measured: mine" in result.out
    assert "41.20 GB/s" in result.out
    assert "105.0 GFLOP/s" in result.out
    device = find_device(str(tmp_path / "mine.toml"))
    assert (None, 1.05e11) == (device.tdp_w, device.fp32_flops)
    diagnosed(lpbench, "--measure", str(tmp_path / "other.toml"))
    assert (tmp_path / "other.toml").exists()


@pytest.mark.usefixtures("quick_cpu")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("there.toml", "--measure"),
        ("h200.toml", "'h200' is one that ships"),
        ("mine", "ends in .toml"),
        ("no/mine.toml", "cannot be written"),
    ],
)
def test_a_device_file_is_a_new_one(
    lpbench: CommandLine, tmp_path: Path, name: str, says: str
) -> None:
    """Nothing is overwritten, and no name borrowed: one line before anything is measured."""
    (tmp_path / "there.toml").write_text("x = 1\n", encoding="utf-8")
    before = contents(tmp_path)
    result = lpbench("doctor", "--measure", tmp_path / name)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert before == contents(tmp_path)
