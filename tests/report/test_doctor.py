import pytest

from lpbench.bench.diagnosis import (
    CounterPermission,
    Diagnosis,
    Gpu,
    Machine,
    MeterStatus,
    ModelMemory,
    Package,
    Room,
)
from lpbench.report.doctor import doctor_notes, doctor_tables
from lpbench.report.table import Table

GPU = Gpu(device="cuda:0", name="NVIDIA H200", total_bytes=150 * 10**9, free_bytes=149 * 10**9)
MACHINE = Machine(
    python="3.12.1",
    system="Linux x86_64",
    cpu="A processor",
    cores=4,
    memory_total_bytes=32 * 10**9,
    memory_free_bytes=20 * 10**9,
    driver="580.159",
    cuda="13.0",
    gpus=(GPU,),
    no_gpu=None,
    no_gpu_fix=None,
)
METER = MeterStatus(
    name="nvml",
    method="measured",
    reads="joules",
    available=True,
    code=None,
    reason=None,
    fix=None,
    facts={"driver": "580.159", "gpus": [0, 1]},
)
MODEL = ModelMemory(
    model="some-moe",
    computed=True,
    dtype="bfloat16",
    prompt_tokens=8192,
    needs_bytes=60 * 10**9,
    rooms=(
        Room(device="cpu", has_bytes=18 * 10**9, fits=False),
        Room(device="cuda:0", has_bytes=134 * 10**9, fits=True),
    ),
)
DIAGNOSIS = Diagnosis(
    lpbench_version="1.2.3",
    machine=MACHINE,
    packages=(
        Package(name="torch", version="2.13.0", serves="runs the models", fix=None),
        Package(name="triton", version=None, serves="kernels", fix="get it"),
    ),
    counter_permission=CounterPermission(status="allowed", reason="anyone may", fix=None),
    meters=(METER,),
    models=(MODEL,),
)


def cells(table: Table) -> dict[str, tuple[str, ...]]:
    """Return the rows by their first cell."""
    return {row[0]: row[1:] for row in table.rows}


def test_a_machine_with_a_gpu() -> None:
    """The device with its memory, the driver, the CUDA of torch, and who may read counters."""
    machine = cells(doctor_tables(DIAGNOSIS)[0])
    assert ("1.2.3, Python 3.12.1, Linux x86_64",) == machine["lpbench"]
    assert ("A processor, 4 logical cores",) == machine["CPU"]
    assert ("20.00 GB free of 32.00 GB",) == machine["memory"]
    assert ("NVIDIA H200, 149.00 GB free of 150.00 GB",) == machine["cuda:0"]
    assert ("NVIDIA driver 580.159, torch built for CUDA 13.0",) == machine["driver"]
    assert ("allowed: anyone may",) == machine["counters"]
    assert "GPU" not in machine


def test_a_machine_without_one() -> None:
    """Why there is none, the fix, and no line for a driver that is not there."""
    without = MACHINE.model_copy(
        update={"gpus": (), "driver": None, "cuda": None, "no_gpu": "none", "no_gpu_fix": "buy one"}
    )
    machine = cells(doctor_tables(DIAGNOSIS.model_copy(update={"machine": without}))[0])
    assert ("none: none\nfix: buy one",) == machine["GPU"]
    assert "driver" not in machine


def test_a_driver_without_a_gpu_that_torch_can_use_is_named() -> None:
    """A build of torch without CUDA beside a working driver: both stand there."""
    without = MACHINE.model_copy(
        update={"gpus": (), "cuda": None, "no_gpu": "CPU build", "no_gpu_fix": "another build"}
    )
    machine = cells(doctor_tables(DIAGNOSIS.model_copy(update={"machine": without}))[0])
    assert ("NVIDIA driver 580.159",) == machine["driver"]


def test_a_package_has_a_version_or_a_fix() -> None:
    """Never both."""
    packages = cells(doctor_tables(DIAGNOSIS)[1])
    assert ("2.13.0", "runs the models") == packages["torch"]
    assert ("none", "kernels\nfix: get it") == packages["triton"]


def test_a_meter_says_what_it_found() -> None:
    """Available: what it reads, with the facts of its probe."""
    meters = cells(doctor_tables(DIAGNOSIS)[2])
    assert ("yes", "joules (driver 580.159, gpus 0 1)") == meters["nvml"]


def test_a_meter_that_cannot_says_why_and_the_fix() -> None:
    """Both, on lines of their own."""
    absent = METER.model_copy(
        update={"available": False, "code": "no_driver", "reason": "no driver", "fix": "load it"}
    )
    meters = cells(doctor_tables(DIAGNOSIS.model_copy(update={"meters": (absent,)}))[2])
    assert ("no", "no driver\nfix: load it") == meters["nvml"]


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        ((True, True), "cpu, cuda:0"),
        ((False, True), "cuda:0"),
        ((False, False), "nothing: cpu has 18.00 GB, cuda:0 has 134.00 GB"),
    ],
)
def test_a_model_fits_somewhere_or_the_figures_say_why_not(
    fits: tuple[bool, ...], expected: str
) -> None:
    """Needs X, has Y."""
    rooms = tuple(
        room.model_copy(update={"fits": one}) for room, one in zip(MODEL.rooms, fits, strict=True)
    )
    model = MODEL.model_copy(update={"rooms": rooms})
    (row,) = doctor_tables(DIAGNOSIS.model_copy(update={"models": (model,)}))[3].rows
    assert ("some-moe", "bfloat16", "60.00 GB", expected) == row


def test_a_model_that_is_not_computed_is_modelled_only() -> None:
    """It says so where others have the devices that they fit on, and a note says what it means."""
    model = MODEL.model_copy(update={"computed": False, "rooms": ()})
    diagnosis = DIAGNOSIS.model_copy(update={"models": (MODEL, model)})
    assert ["cuda:0", "modelled only"] == [row[3] for row in doctor_tables(diagnosis)[3].rows]
    assert doctor_notes(diagnosis)[-1].startswith("'modelled only': the engine does not compute")


def test_the_prompt_that_was_planned_for_is_named() -> None:
    """What 'needs' covers is said."""
    assert "8192 tokens" in doctor_notes(DIAGNOSIS)[0]
