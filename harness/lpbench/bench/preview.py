"""What a schedule would do with one prompt: tiles, segments, closed-form bytes; nothing runs.

Owns: the small simulation behind `lpbench plan`.
Must not know: torch, routers, clocks.
"""

from dataclasses import dataclass

from lpbench.errors import InputError
from lpbench.plan.check import check_plan
from lpbench.plan.grid import Tile
from lpbench.plan.iteration import IterationPlan, Segment
from lpbench.plan.queues import Queues
from lpbench.plan.request import Request, pages_for
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.model import ModelShape
from lpbench.shape.traffic import ModelledBytes, modelled_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewStep:
    """One iteration: its plan, the segments the engine would loop over, expected expert bytes."""

    plan: IterationPlan
    segments: tuple[Segment, ...]
    bytes: ModelledBytes

    @property
    def tile(self) -> Tile:
        """The prompt's tile."""
        return self.plan.prefill[0].tile


def preview(
    schedule: str,
    shape: ModelShape,
    *,
    prompt_tokens: int,
    num_decodes: int,
    bytes_per_value: int,
) -> tuple[PreviewStep, ...]:
    """Return the iterations from the prompt's first tile to its last.

    Args:
        schedule: as typed.
        shape: the model's geometry.
        prompt_tokens: length of the prompt.
        num_decodes: requests that decode all along.
        bytes_per_value: of the weights.

    Raises:
        InputError: a length is out of range or the schedule cannot serve it.
    """
    if prompt_tokens < 1 or num_decodes < 0:
        msg = (
            f"--prompt {prompt_tokens} and --decodes {num_decodes} are out of range; accepted: 1 "
            "or more, 0 or more"
        )
        raise InputError(msg)
    policy = parse_schedule(schedule)
    longest = prompt_tokens * shape.num_layers
    decoding = [
        Request(index=index, prompt_tokens=1, output_tokens=longest + num_decodes)
        for index in range(num_decodes)
    ]
    prompt = Request(
        index=num_decodes, prompt_tokens=prompt_tokens, output_tokens=1, arrival=num_decodes
    )
    requests = [*decoding, prompt]
    policy.refuse(requests, max_num_seqs=len(requests))
    queues = Queues(
        requests,
        num_layers=shape.num_layers,
        num_kv_pages=sum(pages_for(request.kv_tokens) for request in requests),
        max_num_seqs=len(requests),
    )
    steps: list[PreviewStep] = []
    iteration = 0
    while True:
        queues.arrive(iteration)
        view = queues.begin()
        plan = policy.plan(view)
        check_plan(view, plan, policy)
        if plan.prefill and plan.prefill[0].request == prompt.index:
            expected = modelled_bytes([plan], shape, bytes_per_value=bytes_per_value)
            steps.append(
                PreviewStep(plan=plan, segments=plan.segments(shape.num_layers), bytes=expected)
            )
        if prompt.index in queues.settle(plan).finished:
            return tuple(steps)
        iteration += 1
