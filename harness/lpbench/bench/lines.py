"""Plans as JSON: what iterations.jsonl shows of them, and what their hashes are taken of.

Owns: the one form in which a plan is written down.
Must not know: what becomes of it.
"""

import json

from pydantic import JsonValue

from lpbench.plan.iteration import IterationPlan


def tiles_of(plan: IterationPlan) -> list[JsonValue]:
    """Return the tiles of a plan, in order of service."""
    return [
        {
            "request": part.request,
            "tokens": [part.tile.tokens.start, part.tile.tokens.stop],
            "layers": [part.tile.layers.start, part.tile.layers.stop],
        }
        for part in plan.prefill
    ]


def plan_line(plan: IterationPlan) -> bytes:
    """Return a plan as a line: who decodes, which tiles."""
    line: list[JsonValue] = [list(plan.decodes), tiles_of(plan)]
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"
