"""From the lines of a workload to requests with token ids.

Owns: lengths, the ids drawn from the seed, the tokenizer's part, and the refusals that need the
model: an id outside the vocabulary, a prompt longer than the context.
Must not know: schedules, devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from lpbench.errors import InputError, MisfitError
from lpbench.plan.request import Request
from lpbench.record.provenance import digest
from lpbench.shape.model import ModelShape
from lpbench.workload.requests import Line
from lpbench.workload.tokens import draw_ids
from lpbench.workload.workload import Workload

RANDOM_IDS = "random ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """A workload that is ready to run.

    Attributes:
        requests: lengths and arrivals, by iteration or in seconds.
        ids: token ids of each request: context, then prompt; empty where nothing computes them.
        source: where the prompts came from: random ids, token ids, texts.
        by_seconds: whether arrivals are in seconds; else they are iterations.
    """

    requests: tuple[Request, ...]
    ids: Mapping[int, Sequence[int]]
    source: str
    by_seconds: bool = False

    @property
    def digest(self) -> str:
        """Digest of everything that arrives: lengths, arrivals, token ids where there are some."""
        return digest(
            [
                [one.arrival, one.context_tokens, one.output_tokens, self._prompt(one)]
                for one in self.requests
            ]
        )

    def _prompt(self, request: Request) -> JsonValue:
        return list(self.ids[request.index]) if self.ids else request.prompt_tokens


def resolve_prompts(
    workload: Workload,
    shape: ModelShape,
    *,
    folder: Path | None,
    seed: int,
    by_seconds: bool = False,
    has_ids: bool = True,
) -> Prompts:
    """Give every request its length and its token ids.

    Args:
        workload: the lines.
        shape: the model.
        folder: of its checkpoint, for texts.
        seed: of the ids that are drawn.
        by_seconds: whether requests arrive in seconds, or by iteration.
        has_ids: whether token ids are wanted.

    Raises:
        InputError: an arrival on the other clock, an id outside the vocabulary, or a text without
            a tokenizer.
        MisfitError: a request longer than the model's context.
    """
    given = _given_ids(workload, folder)
    requests, ids = [], {}
    for index, line in enumerate(workload.lines):
        where = f"workload {workload.name!r} request {index}"
        _check_clock(line, where=where, by_seconds=by_seconds)
        prompt = given.get(index)
        request = Request(
            index=index,
            prompt_tokens=_length(line, prompt),
            output_tokens=line.output_tokens,
            context_tokens=line.context_tokens,
            arrival=(line.arrival_s if by_seconds else line.arrival_iteration) or 0,
        )
        if not request.prompt_tokens:
            msg = f"{where}: the prompt text has no tokens"
            raise InputError(msg)
        if request.kv_tokens > shape.max_positions:
            msg = (
                f"{where}: context {request.context_tokens} + prompt {request.prompt_tokens} + "
                f"output {request.output_tokens} tokens are more than the "
                f"{shape.max_positions} positions of model {shape.name!r}"
            )
            raise MisfitError(msg)
        requests.append(request)
        if not has_ids:
            continue
        drawn = request.context_tokens + (0 if prompt else request.prompt_tokens)
        own = draw_ids(seed=seed, request=index, count=drawn, vocab_size=shape.vocab_size)
        ids[index] = own + list(prompt or ())
        _check_ids(ids[index], shape, where=where)
    return Prompts(
        requests=tuple(requests), ids=ids, source=_source(workload), by_seconds=by_seconds
    )


def _check_clock(line: Line, *, where: str, by_seconds: bool) -> None:
    """Refuse an arrival on the other clock; one at 0 is on both."""
    if line.arrival_s and not by_seconds:
        msg = (
            f"{where}: arrival_s={line.arrival_s:g}: counts must not depend on a machine's "
            "speed, use arrival_iteration here; arrivals in seconds belong to lpbench latency, or "
            "to --executor roofline, whose clock is virtual"
        )
        raise InputError(msg)
    if line.arrival_iteration and by_seconds:
        msg = (
            f"{where}: arrival_iteration={line.arrival_iteration}: latency under load needs "
            "arrivals in seconds; use arrival_s, or leave them out and give --request-rate"
        )
        raise InputError(msg)


def _given_ids(workload: Workload, folder: Path | None) -> dict[int, Sequence[int]]:
    """Return the token ids of the requests that bring ids or a text."""
    prompts = {index: line.prompt for index, line in enumerate(workload.lines)}
    given: dict[int, Sequence[int]] = {
        index: prompt for index, prompt in prompts.items() if isinstance(prompt, tuple)
    }
    texts = {index: prompt for index, prompt in prompts.items() if isinstance(prompt, str)}
    if texts and folder is None:
        msg = (
            f"workload {workload.name!r} request {min(texts)}: a prompt text needs the tokenizer "
            "of a checkpoint; use --model FOLDER, prompt_tokens or prompt_token_ids"
        )
        raise InputError(msg)
    if texts and folder is not None:
        from lpbench.executors.torch_engine.tokenizer import encode

        given |= zip(texts, encode(folder, tuple(texts.values())), strict=True)
    return given


def _length(line: Line, given: Sequence[int] | None) -> int:
    if isinstance(line.prompt, int):
        return line.prompt
    return len(given or ())


def _check_ids(ids: Sequence[int], shape: ModelShape, *, where: str) -> None:
    for worst in (min(ids), max(ids)):
        if not 0 <= worst < shape.vocab_size:
            msg = (
                f"{where}: token id {worst} is outside the vocabulary of model {shape.name!r}; "
                f"accepted: 0 to {shape.vocab_size - 1}"
            )
            raise InputError(msg)


def _source(workload: Workload) -> str:
    kinds = {int: RANDOM_IDS, tuple: "token ids", str: "texts"}
    return " and ".join(sorted({kinds[type(line.prompt)] for line in workload.lines}))
