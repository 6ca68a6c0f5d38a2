"""What `lpbench bench-engine` says: passes against the roofline, and where their time goes.

Owns: the words and the rounding.
Must not know: how a number was taken.
"""

import re
from collections.abc import Mapping

from lpbench.bench.speed import BANDWIDTH, RATE
from lpbench.bench.timed import ABOVE_BOUND, CALLS, HOST_COMPUTES, MS
from lpbench.record.schema import Arm, Reading, Record, Window
from lpbench.report.table import Table
from lpbench.units import format_bytes

ABSENT = "-"

MOST_KERNELS = 12
"""Rows of a table of kernels; what the others take together stands in one more."""

BETWEEN, OUTSIDE = "(no kernel runs)", "(outside torch's operators)"
"""What is left of a pass: gaps between kernels; on a CPU Python, and MKL's grouped products."""

WIDEST = 44
"""Characters of a kernel's name that fit beside its figures."""

COLUMNS: Mapping[str, tuple[str, str, float]] = {
    "pass_ms_median": ("median\nms", "{:.3f}", 1),
    "pass_ms_p90": ("p90\nms", "{:.3f}", 1),
    "host_ms_median": ("host\nms", "{:.3f}", 1),
    "pass_bytes": ("read\nGB", "{:.3f}", 1e-9),
    "pass_flops": ("\nGFLOP", "{:.1f}", 1e-9),
    "bound_ms": ("bound\nms", "{:.3f}", 1),
    "roofline_share": ("of the\nroofline", "{:.0f} %", 100),
}
"""By metric its heading, how it is written, and what it is multiplied by."""


def speed_tables(record: Record) -> tuple[Table, ...]:
    """Return the passes of all sizes, and the kernels of the largest batch and longest prompt."""
    spec = record.spec
    passes = Table(
        title=(
            f"{spec['model']}, {spec['routing']} routing, {spec['dtype']} on {spec['device']}, "
            f"contexts of {spec['context_len']}"
        ),
        columns=("pass", *(heading for heading, _, _ in COLUMNS.values())),
        rows=tuple(_row(arm) for arm in record.arms),
    )
    by_device = spec["device"] != "cpu"
    shown = (_largest(record, "decode"), _largest(record, "prefill"))
    return (passes, *(_kernels(one, by_device=by_device) for one in shown if one is not None))


def _row(arm: Arm) -> tuple[str, ...]:
    return (
        arm.label,
        *(
            _show(arm.metrics[name], form, scale=scale)
            for name, (_, form, scale) in COLUMNS.items()
        ),
    )


def _show(reading: Reading, form: str, *, scale: float) -> str:
    if reading.value is None:
        return ABSENT
    text = form.format(reading.value * scale)
    return f"({text})" if reading.reasons else text


def _largest(record: Record, kind: str) -> Arm | None:
    """Return the arm of the largest pass of a kind."""
    found = {int(size): arm for arm in record.arms for size in _sizes(arm, kind)}
    return found[max(found)] if found else None


def _sizes(arm: Arm, kind: str) -> tuple[str, ...]:
    name, _, size = arm.label.partition(":")
    return (size,) if name == kind else ()


def _kernels(arm: Arm, *, by_device: bool) -> Table:
    """Return what took longest in the profiled pass, and what of it no kernel took."""
    window = arm.windows[-1]
    times, calls = _by_kernel(window, MS), _by_kernel(window, CALLS)
    first, rest = list(times)[:MOST_KERNELS], list(times)[MOST_KERNELS:]
    rows = [(short_name(name), f"{calls[name]:.0f}", times[name]) for name in first]
    if rest:
        number = sum(calls[name] for name in rest)
        rows.append((f"{len(rest)} more", f"{number:.0f}", sum(times[name] for name in rest)))
    rows.append((BETWEEN if by_device else OUTSIDE, "", window.duration_ms - sum(times.values())))
    return Table(
        title=f"{arm.label} under the profiler, {window.duration_ms:.3f} ms",
        columns=("kernel" if by_device else "operator", "calls", "ms", "share"),
        rows=tuple(
            (name, count, f"{ms:.3f}", f"{ms / window.duration_ms:.1%}") for name, count, ms in rows
        ),
    )


def _by_kernel(window: Window, kind: str) -> dict[str, float]:
    """Return one figure of every kernel, those first that take longest."""
    return {
        name.removeprefix(kind): one.value or 0
        for name, one in window.readings.items()
        if name.startswith(kind)
    }


def short_name(name: str) -> str:
    """Return a kernel's name without its arguments, its templates' and its return type's.

    What is left is cut in the middle, so that the end, which tells tiles apart, stays.
    """
    plain, before = name.removeprefix("void "), ""
    while plain != before:
        before, plain = plain, re.sub(r"<[^<>]*>", "", plain)
    plain = re.sub(r"\(anonymous namespace\)::", "", plain).partition("(")[0].strip() or name
    if len(plain) <= WIDEST:
        return plain
    half = (WIDEST - 3) // 2
    return f"{plain[:half]}...{plain[-half:]}"


def speed_notes(record: Record) -> tuple[str, ...]:
    """Return what the figures rest on."""
    on_host = any(HOST_COMPUTES in arm.metrics["host_ms_median"].reasons for arm in record.arms)
    said = [
        _peaks(record),
        (
            "bound: sum over operators of max(bytes / bandwidth, FLOPs / rate) as measured, the "
            "experts as counted in each pass; weights, keys and values once, activations not."
        ),
    ]
    if on_host:
        said.append(
            "A pass is timed from planning to tokens; the host computes, so that it has no time "
            "of its own."
        )
    else:
        said.append(
            "A pass is timed by CUDA events; host: from planning until all is launched, before "
            "the wait for the tokens."
        )
    if any(arm.metrics["pass_ms_p90"].value is None for arm in record.arms):
        said.append("A p90 needs 64 passes (--repeats).")
    if any(ABOVE_BOUND in arm.metrics["roofline_share"].reasons for arm in record.arms):
        said.append(
            "Shares in brackets are above the roofline: a cache served, or the peaks were "
            "measured too low."
        )
    said.append("Kernels of the other sizes are in the record.")
    seen = dict.fromkeys(one.message for arm in record.arms for one in arm.warnings)
    return (*said, *(f"Warning: {message}" for message in seen))


def _peaks(record: Record) -> str:
    """Return the peaks: measured, and stated where the device is known."""
    found, stated = record.windows[0].readings, record.protocol.get("stated_peaks")
    known = stated if isinstance(stated, dict) else {}

    def beside(key: str) -> str:
        value = known.get(key)
        return f" (stated: {_rate(float(value), key)})" if isinstance(value, int | float) else ""

    parts = (
        f"{word} {_rate(found[key].value or 0, key)}{beside(key)}"
        for word, key in (("memory", BANDWIDTH), ("products", RATE))
    )
    return f"Peaks measured here: {', '.join(parts)}."


def _rate(value: float, key: str) -> str:
    if key == BANDWIDTH:
        return f"{format_bytes(value)}/s"
    return f"{value / 1e12:.3g} TFLOP/s" if value >= 1e12 else f"{value / 1e9:.3g} GFLOP/s"  # noqa: PLR2004 - a tera
