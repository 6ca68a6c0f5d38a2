"""The lines beside a record: what each iteration did, and when each request got its tokens.

Owns: which fields are read, how many lines at most, what becomes of lines that are none.
Must not know: what is drawn of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

MOST_ITERATIONS, MOST_REQUESTS = 200_000, 50_000
"""Lines of a run that are read; what is behind them is left out, and the page says so."""

_Range = Annotated[tuple[NonNegativeInt, NonNegativeInt], Field(strict=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class TileLine(_Line):
    """A tile: tokens and layers of a request, first and behind the last."""

    request: int
    tokens: _Range
    layers: _Range


class IterationLine(_Line):
    """What is read of a line of iterations.jsonl."""

    arm: str
    iteration: int
    start_ms: FiniteFloat
    duration_ms: FiniteFloat
    decodes: tuple[int, ...]
    tiles: tuple[TileLine, ...]
    distinct_experts: tuple[NonNegativeInt, ...] = ()

    @property
    def prompt_rows(self) -> int:
        """Prompt tokens that enter the first layer."""
        return sum(tile.tokens[1] - tile.tokens[0] for tile in self.tiles if tile.layers[0] == 0)


class RequestLine(_Line):
    """What is read of a line of requests.jsonl: milliseconds from the request's arrival."""

    arm: str
    request: int
    prompt_tokens: NonNegativeInt
    token_ms: tuple[FiniteFloat, ...]


@dataclass(frozen=True, slots=True)
class Log:
    """What was read.

    Attributes:
        iterations: by arm, in order.
        requests: by arm.
        notes: what was left out, in words; empty where nothing was.
    """

    iterations: dict[str, list[IterationLine]] = field(default_factory=dict)
    requests: dict[str, list[RequestLine]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_log(folder: Path) -> Log:
    """Return the lines of a run's folder; of a file that is not there none."""
    iterations: dict[str, list[IterationLine]] = {}
    requests: dict[str, list[RequestLine]] = {}
    notes: list[str] = []
    for one in _lines(folder / "iterations.jsonl", IterationLine, MOST_ITERATIONS, notes):
        iterations.setdefault(one.arm, []).append(one)
    for each in _lines(folder / "requests.jsonl", RequestLine, MOST_REQUESTS, notes):
        requests.setdefault(each.arm, []).append(each)
    return Log(iterations, requests, tuple(notes))


Kind = TypeVar("Kind", bound=_Line)


def _lines(path: Path, kind: type[Kind], most: int, notes: list[str]) -> Iterator[Kind]:
    """Yield a file's lines; those that are none are counted in a note."""
    broken = 0
    try:
        with path.open("rb") as file:
            for at, text in enumerate(file):
                if at == most:
                    notes.append(f"{path.name}: drawn are the first {most} lines")
                    break
                try:
                    yield kind.model_validate_json(text)
                except ValidationError:
                    broken += 1
    except FileNotFoundError:
        return
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror}")
    if broken:
        notes.append(f"{path.name}: {broken} lines cannot be read and are left out")
