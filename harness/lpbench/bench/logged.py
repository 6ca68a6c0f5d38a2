"""What a run has logged, read back line by line: the whole lines, and how many are not.

Owns: iterations.jsonl, requests.jsonl and samples/*.jsonl as something to look at, failed runs'
included.
Must not know: what is made of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from lpbench.errors import InputError
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.record.schema import LARGEST

LONGEST_MS = 1e12
"""Of a time: thirty years, which in nanoseconds fit 63 bits many times over."""

MOST_LAYERS = 10_000

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Edges = tuple[Count, Count]
Layer = Annotated[int, Field(ge=0, le=MOST_LAYERS)]
Milliseconds = Annotated[FiniteFloat, Field(ge=0, le=LONGEST_MS)]
Amount = Count | Annotated[FiniteFloat, Field(ge=0)]


def in_ns(milliseconds: float) -> int:
    """Return the nanoseconds that a line's milliseconds were made from."""
    return round(milliseconds * 1e6)


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    arm: str


class _Tile(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    request: Count
    tokens: Edges
    layers: tuple[Layer, Layer]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.tokens[0] < self.tokens[1] and self.layers[0] < self.layers[1]):
            raise ValueError("a tile has a token and a layer at least")
        return self


class Iteration(_Line):
    """A line of iterations.jsonl.

    Attributes:
        arm: label of the arm.
        iteration: its number.
        start_ms: from the start of the arm.
        duration_ms: from planning to tokens.
        device_ms: of it, what the device's pass took; None where that was not timed.
        decodes: requests that decode.
        tiles: of prompts, in order of service.
        num_groups: layer groups that the tiles' batch is cut into; None where there are none.
        preempted: requests that lost their pages before it.
        distinct_experts: by layer, what was counted; None where nothing was.
        distinct_experts_decode: of them, those that decodes touch.
        expert_bytes: read of the experts' weights: counted with `distinct_experts`, else modelled.
        bytes: all that is read, modelled.
        flops: modelled.
        joules: modelled.
    """

    iteration: Count
    start_ms: Milliseconds
    duration_ms: Milliseconds
    device_ms: Milliseconds | None = None
    decodes: tuple[Count, ...]
    tiles: tuple[_Tile, ...]
    num_groups: Count | None = None
    preempted: tuple[Count, ...]
    distinct_experts: tuple[Count, ...] | None = None
    distinct_experts_decode: tuple[Count, ...] | None = None
    expert_bytes: Amount | None = None
    bytes: Amount | None = None
    flops: Amount | None = None
    joules: Amount | None = None

    @property
    def start_ns(self) -> int:
        """From the start of the arm."""
        return in_ns(self.start_ms)

    @property
    def stop_ns(self) -> int:
        """From the start of the arm."""
        return self.start_ns + in_ns(self.duration_ms)

    @property
    def num_layers(self) -> int:
        """Layers that it tells of: all of the model's where experts were counted."""
        edges = (one.layers[1] for one in self.tiles)
        return max((len(self.distinct_experts or ()), *edges))

    def plan(self) -> IterationPlan:
        """Return what ran."""
        return IterationPlan(
            decodes=self.decodes,
            prefill=tuple(
                PromptTile(one.request, Tile(Span(*one.tokens), Span(*one.layers)))
                for one in self.tiles
            ),
            num_groups=self.num_groups,
        )


class Served(_Line):
    """A line of requests.jsonl.

    Attributes:
        arm: label of the arm.
        request: its number.
        context_tokens: that stood in the cache before it.
        prompt_tokens: of its prompt.
        output_tokens: that it asks for.
        arrival_ms: from the start of the arm.
        queue_ms: from its arrival until it is scheduled.
        token_ms: from its arrival, of every token, in order.
    """

    request: Count
    context_tokens: Count
    prompt_tokens: Count
    output_tokens: Count
    arrival_ms: Milliseconds
    queue_ms: Milliseconds
    token_ms: tuple[Milliseconds, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(after < before for before, after in pairwise((self.queue_ms, *self.token_ms))):
            raise ValueError("its times are not in order")
        return self


class Sample(BaseModel):
    """A line of samples/*.jsonl.

    Attributes:
        arm: label of the arm; None between arms.
        window: its number in an energy campaign, its name in a counter pass.
        block: of the window.
        runs: of the workload in the window.
        sample: what the meter read, as the meter has it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    arm: str | None
    window: int | str
    block: int | None = None
    runs: int | None = None
    sample: tuple[FiniteFloat, ...]


AnyLine = TypeVar("AnyLine", bound=BaseModel)


def read_lines(path: Path, kind: type[AnyLine]) -> Iterator[tuple[int, AnyLine | None]]:
    """Yield the lines of a file, each with its length in bytes; None for one that is damaged.

    Raises:
        InputError: the file is not there, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            for text in file:
                try:
                    yield len(text), kind.model_validate_json(text)
                except ValidationError:
                    yield len(text), None
    except FileNotFoundError:
        msg = f"{path} does not exist; a run with --output DIR leaves it there"
        raise InputError(msg) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def read_iterations(path: Path) -> Iterator[tuple[int, Iteration | None]]:
    """Yield the iterations as `read_lines` does; damaged is also what begins before its time.

    Raises:
        InputError: the file is not there, or cannot be read.
    """
    stopped: dict[str, int] = {}
    for size, line in read_lines(path, Iteration):
        if line is None or line.start_ns < stopped.get(line.arm, 0):
            yield size, None
            continue
        stopped[line.arm] = line.stop_ns
        yield size, line


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What iterations.jsonl holds.

    Attributes:
        iterations: whole lines by arm, in the order in which the arms ran.
        damaged: lines that are not whole, or begin before their time.
        num_layers: of the model, as far as the lines tell.
    """

    iterations: Mapping[str, int]
    damaged: int
    num_layers: int


def survey(lines: Iterable[Iteration | None]) -> Survey:
    """Return what the lines of iterations.jsonl are."""
    iterations: dict[str, int] = {}
    damaged = num_layers = 0
    for line in lines:
        if line is None:
            damaged += 1
            continue
        iterations[line.arm] = iterations.get(line.arm, 0) + 1
        num_layers = max(num_layers, line.num_layers)
    return Survey(iterations=iterations, damaged=damaged, num_layers=num_layers)
