"""Rotary position embedding: plain and YaRN.

Owns: the inverse frequencies and the rotation.
Must not know: which model asks, where keys are kept.
"""

import math
from dataclasses import dataclass

import torch

from lpbench.shape.model import ModelShape, Rope, Yarn


@dataclass(frozen=True, slots=True)
class Rotary:
    """cos and sin of a set of rows, each [rows, 1, head_dim] in the run's dtype.

    Both hold every angle twice, once per half of a head; the first half of sin is negated.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    def at(self, positions: torch.Tensor) -> "Rotary":
        """Return the rows of a table for these positions, int64 on its device."""
        return Rotary(self.cos.index_select(0, positions), self.sin.index_select(0, positions))

    def turn_(self, heads: torch.Tensor) -> None:
        """Rotate [rows, heads, head_dim] in place: the first half of each head against the second.

        (a, b) becomes (a cos - b sin, b cos + a sin).
        """
        swapped = heads.roll(heads.shape[-1] // 2, -1)
        heads.mul_(self.cos).addcmul_(swapped, self.sin)


def rotary_table(
    shape: ModelShape, num_positions: int, *, dtype: torch.dtype, device: torch.device
) -> Rotary:
    """Return cos and sin for positions 0..num_positions, each [positions, 1, head_dim].

    Angles are float32, as in the published model code; only the result is cast to `dtype`.
    """
    frequencies, attention_scale = _frequencies(shape.rope, shape.head_dim)
    angles = torch.arange(num_positions, dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos() * attention_scale, angles.sin() * attention_scale
    return Rotary(
        torch.cat((cos, cos), dim=-1).to(device, dtype)[:, None],
        torch.cat((-sin, sin), dim=-1).to(device, dtype)[:, None],
    )


def _frequencies(rope: Rope, head_dim: int) -> tuple[torch.Tensor, float]:
    """Return the angle per position of each pair of dimensions, and the scale of cos and sin.

    Plain: theta^(-2i/d). YaRN (arXiv 2309.00071): dimensions that turn often keep their frequency,
    slow ones are divided by `factor`, with a linear ramp between the two edges.
    """
    pair = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    plain = 1.0 / rope.theta**pair
    yarn = rope.yarn
    if yarn is None:
        return plain, 1.0

    def edge(turns: float, yarn: Yarn = yarn) -> float:
        """Return the dimension pair that turns this often over the original length."""
        wavelength = yarn.original_max_positions / (turns * 2 * math.pi)
        return head_dim * math.log(wavelength) / (2 * math.log(rope.theta))

    low, high = edge(yarn.beta_fast), edge(yarn.beta_slow)
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    index = torch.arange(head_dim // 2, dtype=torch.float32)
    ramp = ((index - low) / max(high - low, 0.001)).clamp(0, 1)
    return plain * (1 - ramp) + plain / yarn.factor * ramp, yarn.attention_factor
