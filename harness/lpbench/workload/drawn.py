"""Requests with lengths drawn from a table of percentiles.

Owns: the draw of pairs of lengths that follow a table.
Must not know: when requests arrive, the model.
"""

import math
from typing import Final

import numpy as np

from lpbench.errors import InputError
from lpbench.workload.lengths import LengthTable, Marginal
from lpbench.workload.requests import Line
from lpbench.workload.routing import (
    Floats,
    fold,
    hashed,
    natural_exp,
    natural_log,
    normal_quantile,
    uniform,
)
from lpbench.workload.workload import MOST_REQUESTS, Workload

_LENGTH_STREAM: Final = 6
"""A use of the seed of its own, beside those of `routing`, `tokens` and `arrivals`."""

_WIDEST: Final = 6.0
_SERIES: Final = 80
_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)


def drawn_workload(table: LengthTable, *, num_prompts: int, seed: int) -> Workload:
    """Return requests with lengths drawn from a table, all at once.

    Name and description are those of the table; number and seed stand in the spec of a run.

    Raises:
        InputError: too many requests.
    """
    if num_prompts > MOST_REQUESTS:
        msg = f"--num-prompts {num_prompts} is out of range; accepted: 1 to {MOST_REQUESTS}"
        raise InputError(msg)
    return Workload(
        name=table.name,
        description=table.description,
        lines=tuple(
            Line(prompt=prompt, output_tokens=output)
            for prompt, output in draw_lengths(table, num_prompts, seed=seed)
        ),
    )


def draw_lengths(table: LengthTable, count: int, *, seed: int) -> list[tuple[int, int]]:
    """Return `count` pairs of prompt and output tokens, each a function of (seed, request).

    A Gaussian copula of correlation 2 sin(pi/6 * spearman), which has that rank correlation, gives
    two percentages; each becomes tokens by interpolation between the table's percentiles, linear in
    the logarithm of tokens. A pair longer than the limit gives up as many tokens of its prompt.

    Of the scales and rules tried these stay closest to the tables: means within 0.2 % and standard
    deviations within 0.9 %, where linear in tokens puts means up to 0.3 % too high. 0.6 % of the
    pairs drawn for ShareGPT are too long, though its table has none such. To draw them again would
    take 1.6 % off the mean prompt, as the percentiles are already those of what fits; to shorten
    their prompts takes off 0.1 %.

    Args:
        table: the distribution.
        count: pairs.
        seed: an unsigned 64-bit integer.
    """
    keys = fold(hashed(seed, _LENGTH_STREAM), np.arange(count, dtype=np.uint64))
    share, other = (
        uniform(fold(keys, np.array([use], dtype=np.uint64)))
        for use in (0, 1)  # of the prompt, of what the output has of its own
    )
    # Rounded, so that the last bit of a library's sine cannot matter.
    correlation = round(2.0 * math.sin(math.pi / 6.0 * table.spearman), 12)
    mixed = normal_quantile(share) * correlation
    mixed += normal_quantile(other) * math.sqrt(1.0 - correlation * correlation)
    outputs = _tokens(table.output_tokens, normal_share(mixed))
    prompts = _tokens(table.prompt_tokens, share)
    prompts = np.minimum(prompts, float(table.limit) - outputs)
    return [(int(prompt), int(output)) for prompt, output in zip(prompts, outputs, strict=True)]


def _tokens(marginal: Marginal, share: Floats) -> Floats:
    """Return the whole numbers of tokens at shares in [0, 1] of a distribution, 1 or more.

    One NumPy call per operation, as in `routing`: `numpy.interp` may be fused on some machines.
    """
    percentages, tokens = np.array(marginal.percentiles, dtype=np.float64).T.copy()
    levels, logs = percentages / 100.0, natural_log(tokens)
    below = np.clip(np.searchsorted(levels, share, side="right") - 1, 0, len(levels) - 2)
    part = (share - levels[below]) / (levels[below + 1] - levels[below])
    part *= logs[below + 1] - logs[below]
    part += logs[below]
    whole: Floats = np.maximum(np.rint(natural_exp(part)), 1.0)
    return whole


def normal_share(x: Floats) -> Floats:
    """Return the share of a standard normal distribution that is below x, within 1e-14.

    Marsaglia, Evaluating the normal distribution, Journal of Statistical Software 11 (2004):
    1/2 + phi(x) (x + x^3/3 + x^5/(3*5) + ...). Beyond 6 the share at 6 is taken, 1e-9 from the end.
    """
    x = np.clip(x, -_WIDEST, _WIDEST)
    square = x * x
    term, total = x, x
    for n in range(1, _SERIES):
        term = term * square
        term /= 2.0 * n + 1.0
        total = total + term
    return 0.5 + total * natural_exp(square * -0.5) / _ROOT_TAU
