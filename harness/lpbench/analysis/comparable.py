"""Whether two runs may be compared, and what stands against it by name.

Owns: which keys of a record must agree, for counts and for what was measured.
Must not know: statistics, verdicts.

What the code under test decides may differ: version, revision, packages, kernels. What decides the
work or the machine may not.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import JsonValue

from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.registry import LONGEST_SHOWN

FREE = frozenset({"schedules", "device"})
"""Keys of the spec that do not decide what one arm counts; where it ran, not on what it is a model
of."""

ON_CPU, ON_GPU = ("device", "cpu"), ("device", "device_name", "driver")
"""The machine, by where the work ran: what must be known of it, and agree, for what is measured."""

SHARED = "schedules"
"""What must agree for it besides: arms of one process warm each other's caches and its die."""

CONDITIONS = (*ON_CPU, *ON_GPU, SHARED)


def is_modelled(record: Record) -> bool:
    """Return whether nothing ran: every figure follows from the spec, on any machine."""
    return record.spec.get("executor") == "roofline"


def whose_kernels(record: Record) -> str:
    """Return whose kernels computed the layers; records before there were others have torch's."""
    kernels = record.environment.get("kernels")
    layers = kernels.get("layers") if isinstance(kernels, dict) else None
    return layers if isinstance(layers, str) else "torch"


def differing_kernels(one: Record, other: Record) -> str:
    """Return how the kernels of two runs differ, in words; empty where one engine computed both."""
    first, second = map(whose_kernels, (one, other))
    if first != second:
        return f"on kernels of {first} and of {second}"
    kernels = (each.environment.get("kernels") for each in (one, other))
    tiles = [each.get("tiles") for each in kernels if isinstance(each, dict)]
    is_same = None in tiles or len({str(each) for each in tiles}) < 2  # noqa: PLR2004 - one form
    return "" if is_same else "on other tiles of the experts' kernels (lpbench tune)"


def follows_the_clock(record: Record) -> bool:
    """Return whether the plans of a run depend on how fast it was: requests came in seconds."""
    return record.command == "latency" and not is_modelled(record)


def inexact(record: Record) -> str:
    """Return why counts differ from run to run of an experiment; empty where they do not."""
    if follows_the_clock(record):
        return "requests arrived in seconds, so that the plans followed the machine's speed"
    if record.spec.get("routing") == "model":
        return "routing=model follows float rounding"
    return ""


def refuse_incomparable(
    baseline: Record, candidate: Record, *, allowed: Collection[str] = ()
) -> None:
    """Refuse records of different experiments.

    Raises:
        InputError: names every key that differs, with both values.
    """
    for record, name in ((baseline, "the first record"), (candidate, "the second record")):
        if record.status != "complete":
            msg = f"{name} is of a run that failed ({record.failure}); it cannot be compared"
            raise InputError(msg)
    free = FREE - {"device"} if is_modelled(baseline) or is_modelled(candidate) else FREE
    keys = sorted(({*baseline.spec} | {*candidate.spec}) - free - {*allowed})
    differ = list(_differences(baseline.spec, candidate.spec, keys))
    if differ:
        names = " ".join(f"--allow {key}" for key, _, _ in differ)
        said = ", ".join(f"{key} is {_short(a)} and {_short(b)}" for key, a, b in differ)
        raise InputError(f"not comparable: {said}; {names} compares them all the same")


def differing_conditions(
    baseline: Record, candidate: Record, *, allowed: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the keys that differ and that, for measured figures, may not."""
    if is_modelled(baseline) and is_modelled(candidate):
        return ()
    before, after = ({**one.environment, **one.spec} for one in (baseline, candidate))
    on_cpu = before.get("device") == after.get("device") == "cpu"
    keys = (*(ON_CPU if on_cpu else ON_GPU), SHARED)
    # Two machines of which nothing is known need not be one.
    differ = (key for key in keys if before.get(key) != after.get(key) or not before.get(key))
    return tuple(key for key in differ if key not in allowed)


def refuse_mixed(records: Sequence[Record], *, name: str) -> None:
    """Refuse replicates that are not of one experiment and one pass.

    Raises:
        InputError: names what differs.
    """
    first = records[0]
    for other in records[1:]:
        refuse_incomparable(first, other)
        if other.command != first.command:
            msg = f"{name} mixes runs of {first.command!r} and {other.command!r}"
            raise InputError(msg)
        if differ := differing_conditions(first, other):
            raise InputError(f"{name} mixes runs of which {', '.join(differ)} differ")
        if kernels := differing_kernels(first, other):
            raise InputError(f"{name} mixes runs {kernels}")


def _differences(
    before: Mapping[str, JsonValue], after: Mapping[str, JsonValue], keys: Sequence[str]
) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    for key in keys:
        first, second = before.get(key), after.get(key)
        if first != second:
            yield key, first, second


def _short(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
