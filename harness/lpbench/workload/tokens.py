"""Prompt token ids where only a length is given: drawn from the seed.

Owns: the draw of token ids.
Must not know: what the ids mean. Random ids misroute a trained model; the record marks them.
"""

import numpy as np

from lpbench.workload.routing import fold, hashed

_TOKEN_STREAM = 4
"""A use of the seed of its own, beside those of `routing`."""


def draw_ids(*, seed: int, request: int, count: int, vocab_size: int) -> list[int]:
    """Return `count` token ids below `vocab_size`, a function of (seed, request, position)."""
    words = fold(hashed(seed, _TOKEN_STREAM, request), np.arange(count, dtype=np.uint64))
    ids: list[int] = (words % np.uint64(vocab_size)).tolist()
    return ids
