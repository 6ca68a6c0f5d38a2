"""Doubts about a run's numbers, said where the numbers are read.

Owns: the conditions under which a number is not what it seems, and their codes.
Must not know: how a run is made or shown.
"""

from collections.abc import Mapping

from lpbench.record.schema import Caution, Reading
from lpbench.shape.device import Device
from lpbench.units import BYTES, MILLISECONDS, format_bytes

IMPOSSIBLE = "impossible_bandwidth"
"""Code of bytes over time above the device's peak: one of the two is wrong."""

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


def against(reading: Reading, reason: str) -> Reading:
    """Return the reading with a reason against it; an absent one stays absent."""
    if reason in reading.reasons:
        return reading
    changes: Mapping[str, object] = {
        "validity": "absent" if reading.value is None else "invalid",
        "reasons": (*reading.reasons, reason),
    }
    return reading.model_copy(update=changes)


def is_impossible(num_bytes: float, *, duration_ms: float, device: Device | None) -> bool:
    """Return whether so many bytes in this time are more than the device's DRAM can move.

    A device that is not known, as every CPU, has no peak to hold it to: no check.
    """
    return device is not None and num_bytes * 1e3 > device.memory_bandwidth * duration_ms


def bandwidth_cautions(
    *, impossible: int, expert_bytes: int, device: Device | None
) -> list[Caution]:
    """Return whether an arm's counted bytes and its times contradict each other.

    Where all experts fit into `CACHE_FACTOR` times the last-level cache, it may have served them:
    `fits_in_cache` warns of that, and nothing is impossible; nor where the cache is not known.

    Args:
        impossible: how many of its iterations and windows were impossible.
        expert_bytes: bytes of all experts of the model.
        device: what it ran on; None where it is not known.
    """
    if device is None or not impossible or device.cache_bytes is None:
        return []
    if expert_bytes <= CACHE_FACTOR * device.cache_bytes:
        return []
    return [
        Caution(
            code=IMPOSSIBLE,
            message=(
                f"counted expert bytes over time exceed the peak of {device.name} "
                f"({format_bytes(device.memory_bandwidth)}/s) in {impossible} iterations or "
                "windows: the bytes or the times are wrong"
            ),
        )
    ]


def mark_impossible(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Return an arm's readings, its counted bytes and measured times invalid.

    Both are marked, as their quotient does not say which is wrong.
    """
    doubted = {("counted", BYTES), ("measured", MILLISECONDS)}
    return {
        name: against(one, IMPOSSIBLE) if (one.method, one.unit) in doubted else one
        for name, one in readings.items()
    }
