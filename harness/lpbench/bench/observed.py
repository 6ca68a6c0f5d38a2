"""Passes that were measured, read back from a run's folder: what ran, and how long it took.

Owns: iterations.jsonl and requests.jsonl as input, and every refusal of them.
Must not know: how a pass is modelled, what is fitted to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from lpbench.errors import InputError
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.request import Request
from lpbench.record.schema import Record
from lpbench.record.store import read_record
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import Device, match
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS, Precision

COMMANDS = ("traffic", "energy", "latency")
"""What measures passes one by one."""

SHORTEST_MS, LONGEST_MS = 1e-6, 1e9
"""Of a pass: the clock's tick, and eleven days."""

Index = Annotated[int, Field(ge=0)]
Edges = tuple[Index, Index]


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Tile(_Line):
    request: Index
    tokens: Edges
    layers: Edges


class _Iteration(_Line):
    arm: str
    duration_ms: Annotated[FiniteFloat, Field(ge=SHORTEST_MS, le=LONGEST_MS)]
    decodes: tuple[Index, ...]
    tiles: tuple[_Tile, ...]
    preempted: tuple[Index, ...]
    distinct_experts: tuple[Index, ...] | None = None


class _Request(_Line):
    arm: str
    request: Index
    context_tokens: Index
    prompt_tokens: Annotated[int, Field(ge=1)]
    output_tokens: Annotated[int, Field(ge=1)]


AnyLine = TypeVar("AnyLine", bound=_Line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One iteration that was measured.

    Attributes:
        plan: what ran.
        preempted: requests that lost their pages before it.
        seconds: from planning to tokens, by the host's clock; where a GPU computed and arrivals are
            in iterations, planning lay beside the pass before.
        distinct: by layer, the experts that were counted; None where they were not.
    """

    plan: IterationPlan
    preempted: tuple[int, ...]
    seconds: float
    distinct: tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedArm:
    """The iterations of one arm in order, and the requests that they served."""

    label: str
    requests: tuple[Request, ...]
    passes: tuple[Pass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRun:
    """One measured run.

    Attributes:
        name: of its folder.
        record: its run.json.
        shape: of its model.
        precision: of its weights.
        arms: in the order in which they ran.
    """

    name: str
    record: Record
    shape: ModelShape
    precision: Precision
    arms: tuple[ObservedArm, ...]

    def __str__(self) -> str:
        """Return what it is, without where it lies."""
        passes = tuple(passes_of([self]))
        counted = all(one.distinct is not None for one in passes)
        experts = "counted" if counted else f"as expected of {self.routing} routing"
        return (
            f"{self.name}: lpbench {self.record.command}, {self.shape.name} in "
            f"{self.precision.name} on {self.device}, {len(passes)} passes, experts {experts}"
        )

    @property
    def routing(self) -> str:
        """The routing whose coverage stands in where experts were not counted.

        A model's own router is taken to be as skewed as calibrated routing is.
        """
        return "uniform" if self.record.spec.get("routing") == "uniform" else "calibrated"

    @property
    def device(self) -> str:
        """What it ran on, in words that two runs on one device share."""
        facts = self.record.environment
        if (name := facts.get("device_name")) is not None:
            return str(name)
        return f"{facts.get('cpu')} (threads: {facts.get('torch_threads')})"

    @property
    def cuda_name(self) -> str | None:
        """What CUDA calls the device; None for a CPU."""
        name = self.record.environment.get("device_name")
        return None if name is None else str(name)


def check_once(paths: Sequence[Path]) -> None:
    """Hold runs to be given once each: twice would count double, or hold out what was fitted.

    Raises:
        InputError: one is given again.
    """
    seen: set[Path] = set()
    for path in paths:
        folder = (path if path.is_dir() else path.parent).resolve()
        if folder in seen:
            raise InputError(f"run {path} is given twice; each counts once")
        seen.add(folder)


def read_run(path: Path, *, shapes: Mapping[str, ModelShape]) -> ObservedRun:
    """Return the measured run in a folder, or of the run.json at this path.

    Args:
        path: where it is.
        shapes: models by name that the catalogue does not have.

    Raises:
        InputError: no record, one that failed or measured nothing, a model that is not known, or
            lines that are missing or damaged.
    """
    record = read_record(path)
    folder = path if path.is_dir() else path.parent
    if record.status != "complete":
        raise InputError(f"{path}: the run failed ({record.failure}); give complete runs")
    if record.spec.get("executor") == "roofline":
        raise InputError(f"{path}: the run is modelled: nothing was measured; give runs of torch")
    if record.command not in COMMANDS:
        msg = f"{path} is a run of {record.command!r}; accepted: {', '.join(COMMANDS)}"
        raise InputError(msg)
    model, dtype = str(record.spec.get("model")), str(record.spec.get("dtype"))
    if dtype not in PRECISIONS:
        raise InputError(f"{path}: dtype {dtype!r} is not modelled; known: {', '.join(PRECISIONS)}")
    shape = shapes[model] if model in shapes else _shape(path, model)
    requests = _requests(folder / "requests.jsonl", shape)
    passes: dict[str, list[Pass]] = {}
    checks = {label: _Check(label, known, shape) for label, known in requests.items()}
    for where, line in _lines(folder / "iterations.jsonl", _Iteration):
        check = checks.setdefault(line.arm, _Check(line.arm, {}, shape))
        try:
            passes.setdefault(line.arm, []).append(check.passed(line))
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
    return ObservedRun(
        name=folder.resolve().name.encode(errors="backslashreplace").decode(),
        record=record,
        shape=shape,
        precision=PRECISIONS[dtype],
        arms=tuple(
            ObservedArm(label=label, requests=tuple(requests[label].values()), passes=tuple(found))
            for label, found in passes.items()
        ),
    )


def _shape(path: Path, model: str) -> ModelShape:
    try:
        return find_shape(model)[0]
    except InputError:
        msg = f"{path}: model {model!r} is not in the catalogue; give its folder as --model"
        raise InputError(msg) from None


def _requests(path: Path, shape: ModelShape) -> dict[str, dict[int, Request]]:
    """Return the requests by arm and index.

    Raises:
        InputError: one is longer than the model allows.
    """
    found: dict[str, dict[int, Request]] = {}
    for where, line in _lines(path, _Request):
        request = Request(
            index=line.request,
            prompt_tokens=line.prompt_tokens,
            output_tokens=line.output_tokens,
            context_tokens=line.context_tokens,
        )
        if request.kv_tokens > shape.max_positions:
            msg = f"{where}: request {line.request} is longer than the {shape.max_positions}"
            raise InputError(f"{msg} positions of {shape.name!r}")
        found.setdefault(line.arm, {})[line.request] = request
    return found


def _lines(path: Path, kind: type[AnyLine]) -> Iterator[tuple[str, AnyLine]]:
    """Yield the lines of a file, each with where it stands."""
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                where = f"{path} line {number}"
                try:
                    yield where, kind.model_validate_json(text)
                except ValidationError as error:
                    first = error.errors(include_url=False)[0]
                    place = ".".join(map(str, first["loc"])) or "the line"
                    raise InputError(f"{where}: {place}: {first['msg']}") from None
    except FileNotFoundError:
        msg = f"{path} does not exist; a run with --output DIR leaves it there"
        raise InputError(msg) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


class _Check:
    """Holds the lines of one arm, in order, to its requests and the model."""

    def __init__(self, label: str, requests: Mapping[int, Request], shape: ModelShape) -> None:
        self._label = label
        self._requests = requests
        self._shape = shape
        self._preempted: set[int] = set()

    def passed(self, line: _Iteration) -> Pass:
        """Return a line as a pass.

        Raises:
            ValueError: it is none that the requests can have had on the model.
        """
        if not line.decodes and not line.tiles:
            raise ValueError("nothing ran")
        for one in (*line.decodes, *line.preempted, *(tile.request for tile in line.tiles)):
            if one not in self._requests:
                raise ValueError(f"request {one} of {self._label!r} is not in requests.jsonl")
        self._preempted.update(line.preempted)
        for tile in line.tiles:
            self._check_tile(tile)
        _check_once(line)
        plan = IterationPlan(
            decodes=line.decodes,
            prefill=tuple(
                PromptTile(tile.request, Tile(Span(*tile.tokens), Span(*tile.layers)))
                for tile in line.tiles
            ),
        )
        if line.distinct_experts is not None:
            self._check_experts(line.distinct_experts, plan)
        return Pass(
            plan=plan,
            preempted=line.preempted,
            seconds=line.duration_ms / 1e3,
            distinct=line.distinct_experts,
        )

    def _check_tile(self, tile: _Tile) -> None:
        """Hold a tile to the layers, and to what its request may prefill.

        That is its prompt, and once it was preempted all that it can know by then.
        """
        request = self._requests[tile.request]
        again = tile.request in self._preempted
        most = request.kv_tokens if again else request.prompt_tokens
        (start, stop), (first, last) = tile.tokens, tile.layers
        if not (start < stop <= most and first < last <= self._shape.num_layers):
            msg = (
                f"tokens {start} to {stop}, layers {first} to {last} are no tile of "
                f"{self._shape.name!r} and the {most} tokens of request {tile.request}"
            )
            raise ValueError(msg)

    def _check_experts(self, distinct: Sequence[int], plan: IterationPlan) -> None:
        """Hold the counted experts to those that there are, and to one at least where rows ran."""
        shape = self._shape
        if len(distinct) != shape.num_layers:
            msg = f"distinct_experts has {len(distinct)} values"
            raise ValueError(f"{msg}; {shape.name!r} has {shape.num_layers} layers")
        for segment in plan.segments(shape.num_layers):
            for layer in range(max(segment.layers.start, shape.dense_layers), segment.layers.stop):
                if not distinct[layer]:
                    raise ValueError(f"distinct_experts is 0 in layer {layer}, which had rows")
        if (most := max(distinct)) > shape.num_experts:
            msg = f"distinct_experts has {most}; {shape.name!r} has {shape.num_experts} experts"
            raise ValueError(msg)


def _check_once(line: _Iteration) -> None:
    """Hold a pass to one row a decode, and to no token twice in a layer.

    Raises:
        ValueError: a request decodes twice, or beside its prefill, or a part of it runs twice.
    """
    decodes = set(line.decodes)
    if len(decodes) < len(line.decodes):
        raise ValueError("a request decodes twice")
    tiles: dict[int, list[_Tile]] = {}
    for tile in line.tiles:
        if tile.request in decodes:
            raise ValueError(f"request {tile.request} decodes and is in prefill")
        before = tiles.setdefault(tile.request, [])
        if any(_meet(tile.tokens, one.tokens) and _meet(tile.layers, one.layers) for one in before):
            raise ValueError(f"tiles of request {tile.request} run a token through a layer twice")
        before.append(tile)


def _meet(one: Edges, other: Edges) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def passes_of(runs: Sequence[ObservedRun]) -> Iterator[Pass]:
    """Yield all passes of runs, in order."""
    for run in runs:
        for arm in run.arms:
            yield from arm.passes


def find_run_device(runs: Sequence[ObservedRun]) -> Device:
    """Return the catalogue's entry for the device that all runs ran on.

    Raises:
        InputError: it has none.
    """
    name = runs[0].cuda_name
    found = None if name is None else match(name)
    if found is not None:
        return found
    if name is not None:
        raise InputError(f"device {name!r} is not in the catalogue; give its file as --device")
    raise InputError(
        "the runs are of a CPU, which no catalogue has: lpbench doctor --measure FILE.toml "
        "measures it; give that file as --device"
    )


def check_device(runs: Sequence[ObservedRun], device: Device) -> None:
    """Hold all runs to one device, and that to be this one.

    Raises:
        InputError: it is not.
    """
    names = list(dict.fromkeys(run.device for run in runs))
    if len(names) > 1:
        msg = f"the runs are of several devices: {', '.join(names)}; calibrate one at a time"
        raise InputError(msg)
    name = runs[0].cuda_name
    if device.cuda_names and name not in device.cuda_names:
        raise InputError(f"the runs are of {names[0]}, --device {device.name} is another device")
