"""The catalogues as tables.

Owns: what is worth knowing about a model, device, workload, suite, schedule or meter at a glance.
Must not know: how one is chosen.
"""

import inspect

from lpbench.bench.suite import find_suite, suite_names
from lpbench.executors.torch_engine.computed import is_computed
from lpbench.meters.catalogue import METERS
from lpbench.plan.schedules import SCHEDULES, parameters
from lpbench.report.table import Table
from lpbench.shape.catalogue import find_shape, model_names
from lpbench.shape.device import device_names, find_device
from lpbench.shape.precision import PRECISIONS, all_expert_bytes, weight_bytes
from lpbench.units import format_bytes
from lpbench.workload.catalogue import find_workload, workload_names
from lpbench.workload.lengths import DEFAULT_PROMPTS, find_lengths, length_names

_SHOWN = PRECISIONS["bfloat16"]


def models_table() -> Table:
    """Return the shipped geometries."""
    rows = []
    for name in model_names():
        shape, _ = find_shape(name)
        rows.append(
            (
                name,
                shape.family,
                str(shape.num_layers),
                f"{shape.num_experts}/{shape.top_k}",
                format_bytes(all_expert_bytes(shape, _SHOWN)),
                format_bytes(weight_bytes(shape, _SHOWN)),
                "" if is_computed(shape) else "yes",
            )
        )
    return Table(
        columns=(
            "model",
            "family",
            "layers",
            "experts\n/top-k",
            "experts\nbf16",
            "all\nbf16",
            "modelled\nonly",
        ),
        rows=tuple(rows),
        left=(0, 1),
    )


def devices_table() -> Table:
    """Return the shipped devices: peaks as the vendor states them."""
    return Table(
        columns=("device", "memory", "bandwidth", "cache", "dense bf16", "TDP"),
        rows=tuple(
            (
                one.name,
                format_bytes(one.memory_bytes),
                f"{format_bytes(one.memory_bandwidth)}/s",
                "-" if one.cache_bytes is None else format_bytes(one.cache_bytes),
                f"{one.bf16_flops / 1e12:.1f} TFLOP/s",
                "-" if one.tdp_w is None else f"{one.tdp_w:.0f} W",
            )
            for one in map(find_device, device_names())
        ),
    )


def workloads_table() -> Table:
    """Return the shipped workloads."""
    rows = []
    for name in workload_names():
        if name in length_names():
            rows.append((name, f"{DEFAULT_PROMPTS}, drawn", find_lengths(name).description))
        else:
            found = find_workload(name)
            rows.append((name, str(len(found.lines)), found.description))
    return Table(columns=("workload", "requests", "description"), rows=tuple(rows), left=(0, 2))


def suites_table() -> Table:
    """Return the shipped suites."""
    found = map(find_suite, suite_names())
    return Table(
        columns=("suite", "cells", "description"),
        rows=tuple((one.name, str(len(one.cells)), one.description) for one in found),
        left=(0, 2),
    )


def schedules_table() -> Table:
    """Return the schedules, their parameters with defaults, and their rule in a sentence."""
    rows = []
    for name in SCHEDULES.names():
        build = SCHEDULES.get(name)
        defaults = inspect.signature(build).parameters
        listed = "\n".join(_parameter(key, defaults[key].default) for key in parameters(name))
        rows.append((name, listed, (inspect.getdoc(build) or "").splitlines()[0]))
    return Table(
        title="", columns=("schedule", "parameters", "rule"), rows=tuple(rows), left=(0, 1, 2)
    )


def meters_table() -> Table:
    """Return the meters, the method of their readings and what they read."""
    found = [(name, METERS.get(name)) for name in METERS.names()]
    return Table(
        columns=("meter", "method", "reads"),
        rows=tuple((name, meter.method, meter.reads) for name, meter in found),
        left=(0, 1, 2),
    )


def _parameter(key: str, default: object) -> str:
    return f"[{key}=K]" if default is None else f"{key}={default}"
