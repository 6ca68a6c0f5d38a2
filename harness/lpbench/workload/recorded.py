"""The routing that a real run chose, kept for runs that choose none.

Owns: the file, what is refused in it, and the experts that rows touched by it.
Must not know: schedules, how the routing was seen, what is made of it.

The file is NumPy's .npz of three arrays: `experts`, int16 [positions, layers, top_k], all requests
one after the other; `lengths`, int64 [requests, 3], the context, prompt and output tokens of each;
`about`, JSON: whose routing it is. A request has a position for each of its tokens but the last
generated one, which is never fed. -1 stands where no row was: of contexts, as a rule.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from lpbench.errors import InputError
from lpbench.plan.grid import Span
from lpbench.plan.iteration import Segment
from lpbench.plan.request import Request
from lpbench.record.store import write_atomically

SUFFIX = ".npz"

Experts = NDArray[np.int16]

_NOWHERE = -1

_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What NumPy and zipfile make of a file that is none of ours, or was damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What a request asks of the KV cache, in tokens."""

    context: int
    prompt: int
    output: int

    @classmethod
    def of(cls, request: Request) -> "Lengths":
        """Return those of a request."""
        return cls(
            context=request.context_tokens,
            prompt=request.prompt_tokens,
            output=request.output_tokens,
        )

    @property
    def positions(self) -> int:
        """Tokens that are fed."""
        return self.context + self.prompt + self.output - 1

    def __str__(self) -> str:
        """Return them in words."""
        return f"context {self.context} + prompt {self.prompt} + output {self.output} tokens"


@dataclass(frozen=True, kw_only=True)
class RoutingTrace:
    """The experts of every row of a run.

    Attributes:
        name: of its file.
        num_experts: of a layer; ids lie below it.
        lengths: of every request.
        experts: by request, int16 [positions, layers, top_k].
        about: whose routing it is: the model, the workload's hash, what routed.
    """

    name: str
    num_experts: int
    lengths: tuple[Lengths, ...]
    experts: Mapping[int, Experts]
    about: Mapping[str, JsonValue] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Digest of the routing: lengths, ids, and how many experts there are."""
        total = hashlib.sha256(f"{self.num_experts} {self.lengths}".encode())
        for index in range(len(self.lengths)):
            total.update(self.experts[index].astype("<i2").tobytes())
        return total.hexdigest()

    def refuse(
        self, requests: Sequence[Request], *, num_layers: int, num_experts: int, top_k: int
    ) -> None:
        """Refuse another model than the recorded one, or requests of other lengths.

        When a request arrives makes no difference.

        Raises:
            InputError: names the first difference.
        """
        _, layers, k = self.experts[0].shape
        theirs, ours = (layers, self.num_experts, k), (num_layers, num_experts, top_k)
        if theirs != ours:
            said = "{} layers of {} experts, top-{}"
            msg = f"routing {self.name} is of {said.format(*theirs)}; the model has "
            raise InputError(msg + said.format(*ours))
        for request in requests:
            mine = Lengths.of(request)
            known = self.lengths[request.index] if request.index < len(self.lengths) else None
            if known != mine:
                msg = f"routing {self.name} is of another workload: request {request.index} has "
                raise InputError(f"{msg}{mine}, in the trace {known or 'there is none'}")

    def write(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            RunError: the disk is full, or the like.
        """
        lengths = [(one.context, one.prompt, one.output) for one in self.lengths]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            experts=np.concatenate([self.experts[index] for index in range(len(self.lengths))]),
            lengths=np.array(lengths, dtype=np.int64),
            about=np.array(json.dumps({**self.about, "num_experts": self.num_experts})),
        )
        write_atomically(path, buffer.getvalue())


def read_trace(path: Path) -> RoutingTrace:
    """Return the routing that a file holds.

    Raises:
        InputError: there is no such file, or it is not one of ours.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"routing file {path} does not exist") from None
    except OSError as error:
        raise InputError(f"routing file {path} cannot be read: {error.strerror}") from None
    try:
        return _checked(path.name, *_arrays(content))
    except ValueError as error:
        raise InputError(f"routing file {path} is none of --record-routing: {error}") from None


def _arrays(content: bytes) -> tuple[NDArray[Any], NDArray[Any], object]:
    """Return experts, lengths and what is said about them, as a file holds them.

    Raises:
        ValueError: it is damaged, or another file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return file["experts"], file["lengths"], json.loads(str(file["about"]))
    except _DAMAGED:  # what NumPy says of it is advice to programmers
        msg = "it is damaged, or holds no experts, lengths and about"
        raise ValueError(msg) from None


def _checked(
    name: str, experts: NDArray[Any], lengths: NDArray[Any], about: object
) -> RoutingTrace:
    """Return the trace that these arrays are.

    Raises:
        ValueError: they do not fit together.
    """
    if not isinstance(about, dict) or not isinstance(num_experts := about.get("num_experts"), int):
        raise ValueError("it does not say how many experts there are")  # noqa: TRY004 - of a file
    if lengths.dtype != np.int64 or lengths.ndim != 2 or lengths.shape[1:] != (3,):  # noqa: PLR2004
        raise ValueError("its lengths are no three numbers a request")
    if experts.dtype != np.int16 or experts.ndim != 3 or not experts.size:  # noqa: PLR2004
        raise ValueError("its experts are no ids by position, layer and choice")
    if not len(lengths) or (lengths < (0, 1, 1)).any() or (lengths > len(experts)).any():
        raise ValueError("a request has no tokens, or more than there are positions")
    found = tuple(
        Lengths(context=context, prompt=prompt, output=output)
        for context, prompt, output in lengths.tolist()
    )
    edges = np.cumsum([one.positions for one in found])
    if edges[-1] != len(experts):
        raise ValueError("its lengths do not add up to its positions")
    if experts.min() < _NOWHERE or experts.max() >= num_experts:
        raise ValueError(f"an expert lies outside 0 to {num_experts - 1}")
    parts = np.split(experts, edges[:-1])
    return RoutingTrace(
        name=name,
        num_experts=num_experts,
        lengths=found,
        experts=dict(enumerate(parts)),
        about={key: value for key, value in about.items() if key != "num_experts"},
    )


class RecordedCoverage:
    """The experts that rows touched in the run that was recorded, layer by layer."""

    def __init__(self, trace: RoutingTrace) -> None:
        """Take the trace of the workload's requests."""
        self._trace = trace

    def touched(
        self, segment: Segment, layers: Span, *, first: Mapping[int, int], known: Mapping[int, int]
    ) -> tuple[float, float]:
        """Return the distinct experts of a segment's rows, and those of them that no decode takes.

        Both are counted, and summed over layers.

        Raises:
            InputError: a row was not recorded.
        """
        decodes = self._union(
            [(one, Span(known[one] - 1, known[one])) for one in segment.decodes], layers
        )
        prompts = self._union(
            [
                (rows.request, _moved(rows.tokens, by=first[rows.request]))
                for rows in segment.prompts
            ],
            layers,
        )
        return float((decodes | prompts).sum()), float((prompts & ~decodes).sum())

    def _union(self, rows: Sequence[tuple[int, Span]], layers: Span) -> NDArray[np.bool_]:
        """Return which experts positions of requests take, bool [layers, experts]."""
        found = np.zeros((len(layers), self._trace.num_experts), dtype=np.bool_)
        at = np.arange(len(layers))[:, np.newaxis]
        for request, positions in rows:
            experts = self._trace.experts[request]
            taken = experts[positions.start : positions.stop, layers.start : layers.stop]
            if len(taken) < len(positions) or (taken == _NOWHERE).any():
                msg = (
                    f"routing {self._trace.name} lacks rows of request {request} at positions "
                    f"{positions.start} to {positions.stop - 1}: they did not run when it was "
                    "recorded, as contexts do not"
                )
                raise InputError(msg)
            found[at, taken] = True
        return found


def _moved(span: Span, *, by: int) -> Span:
    return Span(span.start + by, span.stop + by)
