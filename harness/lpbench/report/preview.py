"""What `lpbench plan` says: the picture, the table, the sum.

Owns: the words, the rounding, and the same as JSON.
Must not know: how the iterations were planned.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from pydantic import JsonValue

from lpbench.bench.preview import CONTEXT_TOKENS, PreviewStep
from lpbench.report.table import Table
from lpbench.report.tiles import draw_tiles
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS, all_expert_bytes
from lpbench.units import format_bytes


def preview_lines(
    steps: Sequence[PreviewStep],
    shape: ModelShape,
    *,
    schedule: str,
    dtype: str,
    planned_by: Mapping[str, JsonValue] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Return the heading, the tile picture, the sum of bytes, and by whose times it was planned."""
    tokens = max(step.tile.tokens.stop for step in steps)
    decodes = len(steps[0].plan.decodes)
    total = sum(step.bytes.total for step in steps)
    prefill = sum(step.bytes.prefill for step in steps)
    once = all_expert_bytes(shape, PRECISIONS[dtype])
    return (
        (
            f"{schedule}: {tokens} prompt tokens through {shape.num_layers} layers of "
            f"{shape.name}, {decodes} decodes in flight"
        ),
        "",
        draw_tiles(
            [(at, step.tile) for at, step in enumerate(steps)],
            num_tokens=tokens,
            num_layers=shape.num_layers,
        ),
        "",
        (
            f"Expert bytes in {len(steps)} iterations: {format_bytes(total)}, of which prefill "
            f"adds {format_bytes(prefill)}; all experts once are {format_bytes(once)} ({dtype})."
        ),
        *_beside(steps, shape),
        *_planned(planned_by),
        "Modelled: closed form, uniform routing. Marks are iterations: 1 to 9, a to z, A to Z.",
    )


def _planned(planned_by: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield by whose times the tiles were chosen, of a schedule that predicts."""
    if isinstance(by := planned_by.get("predicted_by"), Mapping):
        yield (
            f"Planned by predicted times: {by['coefficients']} coefficients on {by['device']}, "
            f"{by['dtype']}, every decode at {CONTEXT_TOKENS} tokens."
        )


def _beside(steps: Sequence[PreviewStep], shape: ModelShape) -> Iterator[str]:
    """Yield what the sum leaves out, of a model that has it."""
    if shape.dense_layers:
        yield f"The first {shape.dense_layers} layers are dense: they have no experts."
    if shape.shared_experts:
        shared = format_bytes(sum(step.bytes.shared for step in steps))
        yield f"Shared experts, read in every pass through an MoE layer, come on top: {shared}."


def preview_table(steps: Sequence[PreviewStep], *, most: int) -> Table:
    """Return one row per iteration; the middle is left out past `most` of them."""
    numbered = list(enumerate(steps, start=1))
    if len(numbered) > most:
        rows = [_row(at, step) for at, step in numbered[: most // 2]]
        rows.append(("...",) * 5)
        rows += [_row(at, step) for at, step in numbered[-(most // 2) :]]
    else:
        rows = [_row(at, step) for at, step in numbered]
    return Table(
        columns=("iteration", "prompt tokens", "layers", "segments (layers: rows)", "expert GB"),
        rows=tuple(rows),
    )


def _row(at: int, step: PreviewStep) -> tuple[str, ...]:
    tokens, layers = step.tile.tokens, step.tile.layers
    segments = ", ".join(
        f"{one.layers.start}-{one.layers.stop}: {one.num_rows}" for one in step.segments
    )
    return (
        str(at),
        f"{tokens.start}-{tokens.stop}",
        f"{layers.start}-{layers.stop}",
        segments,
        f"{step.bytes.total / 1e9:.2f}",
    )


def preview_json(
    steps: Sequence[PreviewStep],
    shape: ModelShape,
    *,
    schedule: str,
    dtype: str,
    planned_by: Mapping[str, JsonValue] = MappingProxyType({}),
) -> str:
    """Return the iterations, their segments and the modelled bytes as JSON."""
    document: dict[str, object] = {
        "schedule": schedule,
        "model": shape.name,
        "num_layers": shape.num_layers,
        "dense_layers": shape.dense_layers,
        "prompt_tokens": max(step.tile.tokens.stop for step in steps),
        "decodes": len(steps[0].plan.decodes),
        "dtype": dtype,
        **planned_by,
        "expert_bytes": {
            "value": sum(step.bytes.total for step in steps),
            "unit": "B",
            "method": "modelled",
            "source": "closed form, uniform routing",
        },
        "expert_bytes_prefill_marginal": {
            "value": sum(step.bytes.prefill for step in steps),
            "unit": "B",
            "method": "modelled",
            "source": "closed form, uniform routing",
        },
        "shared_expert_bytes": {
            "value": sum(step.bytes.shared for step in steps),
            "unit": "B",
            "method": "modelled",
            "source": "geometry: read in every pass through an MoE layer",
        },
        "iterations": [
            {
                "tokens": [step.tile.tokens.start, step.tile.tokens.stop],
                "layers": [step.tile.layers.start, step.tile.layers.stop],
                "num_groups": step.plan.num_groups,
                "segments": [
                    {
                        "layers": [one.layers.start, one.layers.stop],
                        "prefill_rows": one.num_prefill_rows,
                        "decode_rows": len(one.decodes),
                    }
                    for one in step.segments
                ],
                "expert_bytes": step.bytes.total,
                "shared_expert_bytes": step.bytes.shared,
            }
            for step in steps
        ],
    }
    return json.dumps(document, indent=1) + "\n"
