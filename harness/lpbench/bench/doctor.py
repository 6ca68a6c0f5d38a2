"""What can be measured here: the machine, the packages, the meters, the models that fit.

Owns: the gathering behind `lpbench doctor`.
Must not know: how the findings are shown. torch is imported only where a CUDA driver is, since
nothing but its devices is asked of it.
"""

import ctypes
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict

import psutil

from lpbench import __version__
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
from lpbench.errors import UnavailableError
from lpbench.executors.torch_engine.computed import is_computed
from lpbench.meters.catalogue import METERS, probe_meter
from lpbench.meters.driver import counter_permission, driver_version
from lpbench.plan.request import pages_for
from lpbench.record.provenance import cpu_model, installed_version
from lpbench.shape.catalogue import find_shape, model_names
from lpbench.shape.memory import HEADROOM, Needs, plan_memory
from lpbench.shape.model import DTYPE_BYTES
from lpbench.shape.precision import PRECISIONS

PROMPT_TOKENS = 8192
"""The prompt that a model must have room for, all of it in one pass; shorter where the model ends
earlier."""

UNBOUNDED = 1 << 62
"""Bytes of free memory with which no model is refused: what one needs is asked."""

PACKAGES = {
    "torch": ("runs the models", "pip install 'torch>=2.11'"),
    "triton": ("the GPU's kernels", "comes with torch's CUDA build"),
    "numpy": ("counts and draws", "pip install numpy"),
    "nvidia-ml-py": ("joules of a GPU", "pip install nvidia-ml-py"),
    "tokenizers": ("prompts given as text", "pip install tokenizers"),
    "transformers": ("checks the engine, in tests only", "pip install transformers"),
}
"""By name: what the package serves, and what to do where it is missing."""


def diagnose() -> Diagnosis:
    """Look at everything once; nothing that is missing stops it."""
    machine = _machine()
    return Diagnosis(
        lpbench_version=__version__,
        machine=machine,
        packages=tuple(_package(name) for name in PACKAGES),
        counter_permission=CounterPermission.model_validate(asdict(counter_permission())),
        meters=tuple(_meter(name) for name in METERS.names()),
        models=tuple(_models(machine)),
    )


def check_required(diagnosis: Diagnosis, names: Sequence[str]) -> None:
    """Hold the machine to the meters called `names`.

    Raises:
        UnavailableError: one of them is not available; the message has each with reason and fix.
    """
    found = {one.name: one for one in diagnosis.meters}
    missing = [found[name] for name in dict.fromkeys(names) if not found[name].available]
    if missing:
        raise UnavailableError(
            "; ".join(f"meter {one.name!r}: {one.reason}; {one.fix}" for one in missing)
        )


def _machine() -> Machine:
    memory = psutil.virtual_memory()
    cuda, gpus, problem, fix = _cuda()
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu=cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_total_bytes=memory.total,
        memory_free_bytes=memory.available,
        driver=driver_version(),
        cuda=cuda,
        gpus=gpus,
        no_gpu=problem,
        no_gpu_fix=fix,
    )


def _cuda() -> tuple[str | None, tuple[Gpu, ...], str | None, str | None]:
    """Return torch's CUDA version and devices; where there is none, why and the fix."""
    if not has_cuda_driver():
        fix = "use a machine with one; a container needs the GPU given to it (--gpus all)"
        return None, (), "no NVIDIA driver (libcuda.so.1 is not there)", fix
    if installed_version("torch") is None:
        return None, (), "torch, which would see it, is not installed", PACKAGES["torch"][1]
    try:
        from lpbench.executors.torch_engine.inventory import take_inventory
    except (ImportError, OSError):
        return None, (), "torch is installed but does not load", "python -c 'import torch' says why"
    seen = take_inventory()
    gpus = tuple(
        Gpu(
            device=f"cuda:{one.index}",
            name=one.name,
            total_bytes=one.total_bytes,
            free_bytes=one.free_bytes,
        )
        for one in seen.devices
    )
    if seen.problem is None:
        return seen.cuda, gpus, None, None
    fix = (
        "install torch's CUDA build"
        if seen.cuda is None
        else "see nvidia-smi and CUDA_VISIBLE_DEVICES; the driver must be as new as torch's CUDA"
    )
    return seen.cuda, (), seen.problem, fix


def has_cuda_driver() -> bool:
    """Return whether the CUDA driver's library can be loaded; nothing is called in it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _package(name: str) -> Package:
    version, (serves, fix) = installed_version(name), PACKAGES[name]
    return Package(name=name, version=version, serves=serves, fix=None if version else fix)


def _meter(name: str) -> MeterStatus:
    entry, found = METERS.get(name), probe_meter(name)
    return MeterStatus(
        name=name,
        method=entry.method,
        reads=entry.reads,
        available=found.available,
        code=found.code,
        reason=found.reason,
        fix=found.fix,
        facts=dict(found.facts),
    )


def _models(machine: Machine) -> Iterable[ModelMemory]:
    """Yield what each model needs in each dtype, and where that is free."""
    free = {
        "cpu": machine.memory_free_bytes,
        **{gpu.device: gpu.free_bytes for gpu in machine.gpus},
    }
    has = {device: int(amount * HEADROOM) for device, amount in free.items()}
    for name in model_names():
        shape, _ = find_shape(name)
        computed = is_computed(shape)
        tokens = min(PROMPT_TOKENS, shape.max_positions)
        pages = pages_for(tokens)
        needs = Needs(
            most_rows=tokens, all_pages=pages, least_pages=pages, num_kv_pages=pages, draws=0
        )
        for dtype in sorted(DTYPE_BYTES):
            total = plan_memory(
                shape, needs, precision=PRECISIONS[dtype], available=UNBOUNDED
            ).total
            yield ModelMemory(
                model=name,
                computed=computed,
                dtype=dtype,
                prompt_tokens=tokens,
                needs_bytes=total,
                rooms=tuple(
                    Room(device=device, has_bytes=most, fits=total <= most)
                    for device, most in has.items()
                    if computed
                ),
            )
