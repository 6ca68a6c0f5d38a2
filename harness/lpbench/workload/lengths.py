"""Lengths of prompts and outputs as they occur in a published data set, by their percentiles.

Owns: the shipped tables.
Must not know: how lengths are drawn from them, when requests arrive, the model.
"""

import tomllib
from dataclasses import dataclass
from typing import Final

from lpbench.data import data_folder
from lpbench.errors import InputError
from lpbench.registry import unknown

DEFAULT_PROMPTS: Final = 100
"""Requests of a drawn workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marginal:
    """How one of the two lengths is distributed.

    Attributes:
        mean: in tokens.
        std: standard deviation, in tokens.
        percentiles: (percentage, tokens), from 0 to 100.
    """

    mean: float
    std: float
    percentiles: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthTable:
    """Lengths of prompts and outputs of one data set.

    Attributes:
        name: the catalogue's name for it.
        description: one line for people.
        n: requests that the table was made from.
        limit: prompt + output at most, in tokens.
        spearman: rank correlation of prompt and output.
        prompt_tokens: how prompts are distributed.
        output_tokens: how outputs are distributed.
    """

    name: str
    description: str
    n: int
    limit: int
    spearman: float
    prompt_tokens: Marginal
    output_tokens: Marginal


def length_names() -> tuple[str, ...]:
    """Return the names of the shipped tables."""
    return tuple(sorted(path.stem for path in data_folder("workloads", "lengths").glob("*.toml")))


def find_lengths(name: str) -> LengthTable:
    """Return the table called `name`.

    Raises:
        InputError: there is none.
    """
    if name not in length_names():
        raise InputError(unknown("table of lengths", name, known=length_names()))
    path = data_folder("workloads", "lengths") / f"{name}.toml"
    entry = tomllib.loads(path.read_text(encoding="utf-8"))
    prompts, outputs = (
        Marginal(**table | {"percentiles": tuple(map(tuple, table["percentiles"]))})
        for table in (entry.pop("prompt_tokens"), entry.pop("output_tokens"))
    )
    return LengthTable(name=name, prompt_tokens=prompts, output_tokens=outputs, **entry)
