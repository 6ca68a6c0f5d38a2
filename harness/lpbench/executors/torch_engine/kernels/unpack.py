"""Packed weights become values in registers, in Triton: mxfp4's four bits, scaled.

Owns: the bits of the formats.
Must not know: what is multiplied by the values.
"""

import triton
import triton.language as tl

GROUP = tl.constexpr(32)
"""Values that share a scale."""

_NO_NUMBER = tl.constexpr(255)
"""The scale that stands for none."""


@triton.jit
def unpack(blocks, scales, DTYPE: tl.constexpr):
    """Return values exactly, [rows, 2 * bytes].

    Args:
        blocks: uint8 [rows, bytes], two E2M1 values each, the one in the low half first.
        scales: uint8 [rows, bytes / 16], E8M0.
        DTYPE: of the values, bfloat16 or float32.
    """
    ROWS: tl.constexpr = blocks.shape[0]
    GROUPS: tl.constexpr = scales.shape[1]
    values = unpack_e2m1(blocks, DTYPE).reshape(ROWS, GROUPS, GROUP)
    scaled = values * power_of_e8m0(scales, DTYPE)[:, :, None]
    return scaled.reshape(ROWS, GROUPS * GROUP)


@triton.jit
def unpack_e2m1(blocks, DTYPE: tl.constexpr):
    """Return the two values of every byte, [.., 2]: sign, two bits of exponent, one of mantissa."""
    # Exponent and mantissa go to the low end of a wider format's: 0.5, E2M1's subnormal, becomes
    # one there too, and one power of two makes up for both formats' biases. The two values of a
    # byte share a word, as tensor cores take them: per word two multiplications and two masks.
    byte = blocks.to(tl.uint32)
    word = (byte * 0x00040040 & 0x01C001C0) | (byte * 0x01001000 & 0x80008000)
    if DTYPE == tl.float32:
        small = tl.join(word << 16, word & 0xFFFF0000).to(tl.float32, bitcast=True)
    else:
        halves = tl.join(word.to(tl.uint16), (word >> 16).to(tl.uint16))
        small = halves.to(tl.bfloat16, bitcast=True)
    return small * tl.full((), 2.0**126, DTYPE)


@triton.jit
def power_of_e8m0(scales, DTYPE: tl.constexpr):
    """Return 2^(scale - 127), and not-a-number for 255."""
    # The exponent's own bits, but for the two ends: 2^-127 is subnormal.
    bits = scales.to(tl.uint32) << 7
    bits = tl.where(scales == 0, 0x0040, tl.where(scales == _NO_NUMBER, 0x7FC0, bits))
    if DTYPE == tl.float32:
        power = (bits << 16).to(tl.uint32).to(tl.float32, bitcast=True)
    else:
        power = bits.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return power
