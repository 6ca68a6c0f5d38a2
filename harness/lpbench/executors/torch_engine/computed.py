"""Which models the engine computes; of the other families only the geometry is known.

Owns: the list of families. It stands apart from the code that computes them, and without torch, so
that a listing or the doctor can ask.
Must not know: layers, checkpoints, what a family is.
"""

from lpbench.shape.model import ModelShape

COMPUTED_FAMILIES = ("qwen3_moe", "gpt_oss")


def is_computed(shape: ModelShape) -> bool:
    """Return whether the engine computes the model; otherwise it is modelled only."""
    return shape.family in COMPUTED_FAMILIES
