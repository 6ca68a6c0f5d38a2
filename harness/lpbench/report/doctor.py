"""What `lpbench doctor` says: tables of the machine, the packages, the meters and the models.

Owns: the words and the rounding.
Must not know: how a finding came about.
"""

from lpbench.bench.diagnosis import Diagnosis, Machine, MeterStatus, ModelMemory
from lpbench.report.table import Table
from lpbench.shape.device import Device
from lpbench.units import format_bytes

MODELLED_ONLY = "modelled only"
"""What is said of a model that the engine does not compute."""


def doctor_tables(diagnosis: Diagnosis) -> tuple[Table, ...]:
    """Return the tables in the order they are read."""
    return (
        _machine_table(diagnosis),
        Table(
            columns=("package", "version", "serves"),
            rows=tuple(
                (one.name, one.version or "none", _lines(one.serves, fix=one.fix))
                for one in diagnosis.packages
            ),
            left=(0, 1, 2),
        ),
        Table(
            columns=("meter", "here", "reads, or why it cannot"),
            rows=tuple(
                (one.name, "yes" if one.available else "no", _found(one))
                for one in diagnosis.meters
            ),
            left=(0, 1, 2),
        ),
        Table(
            columns=("model", "dtype", "needs", "fits on"),
            rows=tuple(
                (one.model, one.dtype, format_bytes(one.needs_bytes), _rooms(one))
                for one in diagnosis.models
            ),
            left=(0, 1, 3),
        ),
    )


def device_table(device: Device) -> Table:
    """Return what was measured of this CPU."""
    cache = "not known" if device.cache_bytes is None else format_bytes(device.cache_bytes)
    return Table(
        columns=(f"measured: {device.name}", ""),
        rows=(
            ("memory bandwidth", f"{format_bytes(device.memory_bandwidth)}/s"),
            ("float32 products", f"{device.flops('float32') / 1e9:.1f} GFLOP/s"),
            ("bfloat16 products", f"{device.flops('bfloat16') / 1e9:.1f} GFLOP/s"),
            ("memory", format_bytes(device.memory_bytes)),
            ("last-level cache", cache),
            ("power, links", "not known: left out"),
        ),
        left=(0, 1),
    )


def doctor_notes(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Return what the tables leave unsaid."""
    lengths = sorted({one.prompt_tokens for one in diagnosis.models})
    tokens = " or ".join(str(length) for length in lengths)
    return (
        f"'needs' is weights, KV and hidden states of one prompt of {tokens} tokens in one pass.",
        "A run may plan with nine tenths of the free memory.",
        f"'{MODELLED_ONLY}': the engine does not compute the family, its bytes are known.",
    )


def _machine_table(diagnosis: Diagnosis) -> Table:
    machine, permission = diagnosis.machine, diagnosis.counter_permission
    because = f"{permission.status}: {permission.reason}"
    rows = (
        ("lpbench", f"{diagnosis.lpbench_version}, Python {machine.python}, {machine.system}"),
        ("CPU", f"{machine.cpu or 'model not known'}, {machine.cores} logical cores"),
        ("memory", _free(machine.memory_free_bytes, machine.memory_total_bytes)),
        *_gpu_rows(machine),
        ("counters", _lines(because, fix=permission.fix)),
    )
    return Table(columns=("machine", "found"), rows=rows, left=(0, 1))


def _gpu_rows(machine: Machine) -> tuple[tuple[str, str], ...]:
    driver = f"NVIDIA driver {machine.driver or 'not loaded'}"
    cuda = f"torch built for CUDA {machine.cuda}" if machine.cuda else ""
    rows = [
        (gpu.device, f"{gpu.name}, {_free(gpu.free_bytes, gpu.total_bytes)}")
        for gpu in machine.gpus
    ]
    if machine.no_gpu:
        rows.append(("GPU", _lines(f"none: {machine.no_gpu}", fix=machine.no_gpu_fix)))
    if machine.driver or cuda:
        rows.append(("driver", ", ".join(filter(None, (driver, cuda)))))
    return tuple(rows)


def _free(free: int, total: int) -> str:
    return f"{format_bytes(free)} free of {format_bytes(total)}"


def _found(meter: MeterStatus) -> str:
    if not meter.available:
        return _lines(meter.reason or "", fix=meter.fix)
    facts = ", ".join(f"{key} {_words(value)}" for key, value in meter.facts.items())
    return f"{meter.reads} ({facts})" if facts else meter.reads


def _lines(text: str, *, fix: str | None) -> str:
    return f"{text}\nfix: {fix}" if fix else text


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _rooms(model: ModelMemory) -> str:
    """Return where the model fits; where nowhere, what each device has, or that it never runs."""
    if not model.computed:
        return MODELLED_ONLY
    fits = [room.device for room in model.rooms if room.fits]
    if fits:
        return ", ".join(fits)
    have = ", ".join(f"{room.device} has {format_bytes(room.has_bytes)}" for room in model.rooms)
    return f"nothing: {have}"
