"""What separates a kernel from the roofline: shares of the peaks, overheads, watts.

Owns: the coefficients, their file, and what is refused in it.
Must not know: models, plans, which device they are applied to.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.record.toml import read_toml
from lpbench.registry import unknown
from lpbench.shape.operators import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """One set of coefficients, for every cell that is compared with another.

    Attributes:
        name: of the set.
        memory: by operator, the share of the device's memory bandwidth that it reaches.
        compute: by operator, the share of the device's FLOP rate that it reaches.
        ridge: p of (t_memory^p + t_compute^p)^(1/p), the time of an operator that needs so long for
            its bytes and so long for its FLOPs: infinite for the larger of both, 1 for their sum.
        layer_s: seconds that a layer takes besides: launches, norms, routing.
        row_s: seconds that a row takes in a layer besides.
        host_s: seconds of an iteration in which the device waits for the host.
        link: share of the link's bandwidth that an all-reduce reaches.
        all_reduce_s: seconds that an all-reduce takes besides.
        idle_power: watts at rest, as a share of the thermal design power.
        memory_power: watts on top while memory is read at its full bandwidth, as a share of it.
        compute_power: watts on top while FLOPs run at their full rate, as a share of it.
        sources: where each figure is from, by its attribute's name.
    """

    name: str
    memory: Mapping[str, float]
    compute: Mapping[str, float]
    ridge: float
    layer_s: float
    row_s: float
    host_s: float
    link: float
    all_reduce_s: float
    idle_power: float
    memory_power: float
    compute_power: float
    sources: Mapping[str, str]


IDEAL = Coefficients(
    name="ideal",
    memory=dict.fromkeys(KINDS, 1.0),
    compute=dict.fromkeys(KINDS, 1.0),
    ridge=math.inf,
    layer_s=0.0,
    row_s=0.0,
    host_s=0.0,
    link=1.0,
    all_reduce_s=0.0,
    idle_power=0.0,
    memory_power=0.0,
    compute_power=0.0,
    sources={},
)
"""The roofline itself: nothing but bytes over bandwidth and FLOPs over their rate."""

LEAST_SHARE = 1e-6
"""Of a peak: what reaches less is not held back by it, and times stay finite numbers."""

_SHARES = ("memory", "compute")
_SECONDS = ("layer_s", "row_s", "host_s", "all_reduce_s")
_POWERS = ("idle_power", "memory_power", "compute_power")


def coefficient_names() -> tuple[str, ...]:
    """Return the names of the shipped sets."""
    paths = data_folder("workloads", "coefficients").glob("*.toml")
    return tuple(sorted(("ideal", *(path.stem for path in paths))))


def find_coefficients(name: str) -> Coefficients:
    """Return the shipped set of this name, or that of the TOML file at this path.

    Raises:
        InputError: neither is there, or the file is no set of coefficients.
    """
    if name == IDEAL.name:
        return IDEAL
    path = data_folder("workloads", "coefficients") / f"{name}.toml"
    if name not in coefficient_names():
        path = Path(name)
        if path.suffix != ".toml":
            raise InputError(unknown("coefficients", name, known=coefficient_names()))
    entry = read_toml(path, what="coefficients")
    return read_coefficients(entry, name=path.stem)


def read_coefficients(entry: Mapping[str, object], *, name: str) -> Coefficients:
    """Return the coefficients that a parsed file holds.

    Raises:
        InputError: a key is missing, unknown, or out of its range.
    """
    known = (*_SHARES, "ridge", *_SECONDS, "link", *_POWERS, "sources")
    for key in entry:
        if key not in known:
            raise InputError(f"coefficients {name!r}: " + unknown("key", key, known=known))
    sources = _table(entry, "sources", name=name)
    shares = {}
    for key in _SHARES:
        table = _table(entry, key, name=name)
        for kind in table:
            if kind not in KINDS:
                where = f"coefficients {name!r}: {key}: "
                raise InputError(where + unknown("operator", kind, known=KINDS))
        shares[key] = {kind: _number(table, kind, least=LEAST_SHARE, name=name) for kind in KINDS}
    scalars = {key: _number(entry, key, least=0.0, name=name) for key in (*_SECONDS, *_POWERS)}
    return Coefficients(
        name=name,
        memory=shares["memory"],
        compute=shares["compute"],
        ridge=_ridge(entry, name=name),
        layer_s=scalars["layer_s"],
        row_s=scalars["row_s"],
        host_s=scalars["host_s"],
        link=_number(entry, "link", least=LEAST_SHARE, name=name),
        all_reduce_s=scalars["all_reduce_s"],
        idle_power=scalars["idle_power"],
        memory_power=scalars["memory_power"],
        compute_power=scalars["compute_power"],
        sources={key: str(value) for key, value in sources.items()},
    )


def _ridge(entry: Mapping[str, object], *, name: str) -> float:
    value = entry.get("ridge")
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 1:
        raise InputError(f"coefficients {name!r}: ridge is {value!r}; accepted: 1 or more, or inf")
    return float(value)


def _table(entry: Mapping[str, object], key: str, *, name: str) -> Mapping[str, object]:
    value = entry.get(key)
    if not isinstance(value, Mapping):
        raise InputError(f"coefficients {name!r}: has no [{key}]")
    return value


def _number(entry: Mapping[str, object], key: str, *, least: float, name: str) -> float:
    value = entry.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= 1:  # type: ignore[operator]
        msg = f"coefficients {name!r}: {key} is {value!r}; accepted: a number, {least:g} to 1"
        raise InputError(msg)
    return float(value)  # type: ignore[arg-type]
