"""How long a pass is expected to take, layer by layer: what a schedule may plan by.

Owns: the protocol and the plain values that cross it.
Must not know: how a prediction is made.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LayerRows:
    """What passes one layer.

    Attributes:
        decodes: rows that are decodes.
        decode_tokens: keys in the KV cache that they see together, each its own included.
        prompts: of each tile the position of its first row, and how many rows.
    """

    decodes: int
    decode_tokens: int
    prompts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Predicted:
    """What something is predicted to cost: seconds, and bytes read."""

    seconds: float
    bytes: float


class Predictor(Protocol):
    """Predicts passes of one model on one device. Pure: the same rows cost the same."""

    @property
    def kinds(self) -> tuple[int, ...]:
        """Of every layer a number; layers that are alike have the same."""

    def layer(self, kind: int, rows: LayerRows) -> Predicted:
        """Return what a layer of this kind costs with at least one row."""

    def overhead(self, sampled: int) -> Predicted:
        """Return what a pass costs besides its layers, when so many tokens are sampled."""
