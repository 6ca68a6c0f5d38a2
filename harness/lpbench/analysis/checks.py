"""Doubts about a run's numbers, said where the numbers are read.

Owns: the conditions under which a number is not what it seems, and their codes.
Must not know: how a run is made or shown.
"""

from lpbench.record.schema import Caution

CACHE_FACTOR = 4
"""Weights below so many times the last-level cache may be read from it (DESIGN.md)."""


def routing_cautions(*, routing: str, drawn_weights: bool, random_ids: bool) -> list[Caution]:
    """Return what is wrong with the router's choices as a picture of a trained model's."""
    if routing != "model":
        return []
    cautions = []
    if drawn_weights:
        cautions.append(
            Caution(
                code="untrained_router",
                message="the weights are drawn: their router is near uniform and hides what a "
                "trained one would show; --routing calibrated draws a trained one's coverage",
            )
        )
    if random_ids:
        cautions.append(
            Caution(
                code="random_prompts",
                message="prompts are random token ids: a trained model routes them unlike text",
            )
        )
    return cautions


def cache_cautions(*, expert_bytes: int, cache_bytes: int | None) -> list[Caution]:
    """Return whether all experts may stay in the last-level cache; unknown caches say nothing."""
    if cache_bytes is None or expert_bytes > CACHE_FACTOR * cache_bytes:
        return []
    return [
        Caution(
            code="fits_in_cache",
            message=(
                f"all experts are {expert_bytes / 1e6:.1f} MB, no more than {CACHE_FACTOR} times "
                f"the last-level cache ({cache_bytes / 1e6:.1f} MB): counted bytes may not reach "
                "DRAM"
            ),
        )
    ]
