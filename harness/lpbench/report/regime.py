"""The regime map: who wins where, and by how much.

Owns: the tables, the words and the CSV of a map.
Must not know: how a point was run.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pydantic import JsonValue

from lpbench.analysis.regime import ADAPTIVE, ALIKE, FIXED, Field, Outcome, fields_of
from lpbench.bench.keys import MAP_KEYS
from lpbench.bench.spec import DEFAULT_DEVICE, DEFAULT_MODELLED_DTYPE
from lpbench.bench.summary import Row
from lpbench.plan.schedules import parse_schedule
from lpbench.report.table import Table

AXES = ("num_decodes", "prompt_len", "prompts")
"""The keys of a point that say where on a map it is; the others say which map."""

LETTERS: Mapping[str | None, str] = {"chunked": "C", "layered": "L", "tie": "=", None: "-"}


@dataclass(frozen=True, slots=True)
class Spot:
    """One point of a map under one budget: where it stands, and what is best there."""

    machine: str
    decodes: int
    prompt_len: int
    prompts: int
    field: Field


def spots_of(rows: Iterable[Row]) -> tuple[Spot, ...]:
    """Return the map that the rows of a sweep make."""
    spots = []
    complete = (row for row in rows if row.status == "complete")
    for _, found in groupby(complete, key=lambda row: row.cell):
        of_cell = tuple(found)
        point = of_cell[0].point
        decodes, prompt_len, prompts = (_number(point[key]) for key in AXES)
        spots += [
            Spot(_machine(point), decodes, prompt_len, prompts, field)
            for field in fields_of(map(_outcome, of_cell))
        ]
    return tuple(sorted(spots, key=lambda spot: spot.machine))


def _outcome(row: Row) -> Outcome:
    label = str(row.point["schedule"])
    policy = parse_schedule(label)
    budget = policy.params.get("tbt_budget_ms")
    return Outcome(
        schedule=policy.name,
        label=label,
        ttft_ms=row.value("ttft_ms_mean"),
        tbt_ms=row.value("tbt_ms_p99"),
        budget_ms=budget if isinstance(budget, int) else None,
    )


def _machine(point: Mapping[str, JsonValue]) -> str:
    ranks = point["tensor_parallel_size"]
    device = str(point["device"] or DEFAULT_DEVICE)
    dtype = point["dtype"] or DEFAULT_MODELLED_DTYPE
    others = (
        f"{key} {value}" for key, value in point.items() if key not in (*MAP_KEYS, "schedule")
    )
    named = f"{ranks} x {device}" if ranks != 1 else device
    return ", ".join((str(point["model"]), str(dtype), named, *others))


def regime_tables(spots: Sequence[Spot]) -> tuple[Table, ...]:
    """Return for each model and device who wins of chunked and layered, and what adaptive gains."""
    return tuple(
        table
        for machine, found in groupby(spots, key=lambda spot: spot.machine)
        for table in _tables(machine, tuple(found))
    )


def _tables(machine: str, spots: Sequence[Spot]) -> tuple[Table, Table]:
    columns = sorted({(spot.prompt_len, spot.prompts) for spot in spots})
    lines = sorted({(spot.decodes, spot.field.budget_ms) for spot in spots})
    at = {
        ((spot.decodes, spot.field.budget_ms), (spot.prompt_len, spot.prompts)): spot.field
        for spot in spots
    }
    heads = ("decodes", "TBT\nms", *(f"{prompts} x\n{length}" for length, prompts in columns))

    def table(title: str, draw: Callable[[Field], str]) -> Table:
        return Table(
            title=title,
            columns=heads,
            rows=tuple(
                (
                    str(line[0]),
                    str(line[1]),
                    *(draw(at[line, one]) if (line, one) in at else "" for one in columns),
                )
                for line in lines
            ),
        )

    return (
        table(f"{machine}: chunked (C) or layered (L), by how many %", win_text),
        table(f"{machine}: % that adaptive is faster than the better of them", gain_text),
    )


def win_text(field: Field) -> str:
    """Return who wins of chunked and layered, and by how many per cent: C 12, L 34, L alone."""
    letter, margin = LETTERS[field.winner], field.margin
    if field.winner is None and field.void:
        return "?"
    if field.winner in (None, "tie"):
        return letter
    return f"{letter} alone" if margin is None else f"{letter} {100 * margin:.0f}"


def gain_text(field: Field) -> str:
    """Return by how many per cent adaptive is faster than the better of them: +12, -3, over."""
    gain = field.adaptive_gain
    if ADAPTIVE in field.void:
        return "?"
    if gain is None:
        return "alone" if ADAPTIVE in field.best else "-"
    return "over" if gain == float("-inf") else f"{100 * gain:+.0f}"


def regime_notes(spots: Sequence[Spot]) -> tuple[str, ...]:
    """Return how often each wins, where layered prefill loses, and what adaptive comes to."""
    fields = [spot.field for spot in spots]
    reached = [spot for spot in spots if spot.field.winner is not None]
    won = {name: [one for one in reached if one.field.winner == name] for name in (*FIXED, "tie")}
    gains = [(gain, one) for one in reached if (gain := one.field.adaptive_gain) is not None]
    kept = [(gain, one) for gain, one in gains if gain > float("-inf")]
    good = [gain for gain, _ in kept if gain >= -ALIKE]
    better = [gain for gain, _ in kept if gain > ALIKE]
    void = sum(1 for one in fields if one.void)
    notes = [
        (
            "Each with its best parameters, mean TTFT where the p99 TBT keeps the budget; all "
            "modelled. A letter alone: the other cannot keep the budget; -: neither can; =: within "
            "1 %."
        ),
        (
            f"{len(fields)} fields, {len(reached)} of them within reach of chunked or layered: "
            f"layered wins {len(won['layered'])}, chunked {len(won['chunked'])}, "
            f"{len(won['tie'])} are ties."
        ),
    ]
    notes += [_worst(name, won[name]) for name in FIXED if won[name]]
    if kept:
        (least, worst), (most, best) = (
            choose(kept, key=lambda one: one[0]) for choose in (min, max)
        )
        over = len(gains) - len(kept)
        notes.append(
            f"adaptive is at least as good within 1 % in {len(good)} of {len(reached)} "
            f"({len(good) / len(reached):.1%}), better by more in {len(better)}, over the budget "
            f"in {over}: from {100 * least:+.0f} % ({_place(worst)}) to {100 * most:+.0f} % "
            f"({_place(best)})."
        )
    if void:
        notes.append(
            f"In {void} fields figures of a schedule are left out as not valid: it preempted "
            "decodes, or they ended; ? where nothing valid is left."
        )
    notes.append(
        "adaptive plans by the same model that times it here: what it gains on a device depends on "
        "how well that is predicted."
    )
    return tuple(notes)


def _worst(name: str, spots: Sequence[Spot]) -> str:
    """Return where a schedule wins by most, and the range of decodes in which it wins."""
    both = [one for one in spots if one.field.margin is not None]
    alone = len(spots) - len(both)
    other = FIXED[1 - FIXED.index(name)]
    said = f"{other} loses to {name} in {len(spots)} fields"
    if both:
        most = max(both, key=lambda one: one.field.margin or 0.0)
        said += f", by up to {100 * (most.field.margin or 0.0):.0f} % ({_place(most)})"
    return said + (f"; in {alone} it cannot keep the budget at all." if alone else ".")


def _place(spot: Spot) -> str:
    return (
        f"{spot.machine}: {spot.decodes} decodes, {spot.prompts} x {spot.prompt_len}, "
        f"{spot.field.budget_ms} ms"
    )


def regime_csv(spots: Iterable[Spot]) -> str:
    """Return the map as CSV: a line a point and budget; empty where a schedule is over it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = (*FIXED, ADAPTIVE)
    heads = (part for name in names for part in (f"{name}_ttft_ms", f"{name}_schedule"))
    writer.writerow(("machine", *AXES, "tbt_budget_ms", *heads, "winner", "adaptive_gain"))
    for spot in spots:
        best = [spot.field.best.get(name) for name in names]
        outcome = (
            part
            for one in best
            for part in (("", "") if one is None else (f"{one.ttft_ms:.3f}", one.label))
        )
        gain = spot.field.adaptive_gain
        writer.writerow(
            (
                spot.machine,
                spot.decodes,
                spot.prompt_len,
                spot.prompts,
                spot.field.budget_ms,
                *outcome,
                spot.field.winner or "",
                "" if gain is None else f"{gain:.4f}",
            )
        )
    return out.getvalue()


def _number(value: JsonValue) -> int:
    assert isinstance(value, int), "an axis of the map counts"
    return value
